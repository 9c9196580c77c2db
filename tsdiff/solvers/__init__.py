"""From the source (t = 1) to data (t = 0): one loop, interchangeable steps and time grids.

A solver sees a :class:`Field` and nothing of networks or time series. It declares its order
and what it needs; asking it to run on a field that lacks a need is an error naming both.
"""

from __future__ import annotations

from tsdiff.solvers.base import Field, MissingFieldError, Solver, integrate
from tsdiff.solvers.ddim import DDIM, Ancestral
from tsdiff.solvers.euler import Euler
from tsdiff.solvers.euler_maruyama import EulerMaruyama
from tsdiff.solvers.grids import GRIDS, Grid, PowerGrid, UniformGrid
from tsdiff.solvers.heun import Heun

SOLVERS: dict[str, Solver] = {
    "euler": Euler(),
    "heun": Heun(),
    "euler_maruyama": EulerMaruyama(),
    "ancestral": Ancestral(),
    "ddim": DDIM(),
}
"""Solvers by the names that ``predict(solver=...)`` and the command line understand."""


def as_solver(solver: str | Solver) -> Solver:
    """A solver from its name, or the solver itself.

    Raises
    ------
    ValueError
        If there is no solver of that name.
    TypeError
        If it is neither a name nor a :class:`Solver`.
    """
    if isinstance(solver, Solver):
        return solver
    if not isinstance(solver, str):
        raise TypeError(f"solver must be a name or a Solver, got {type(solver).__name__}")
    if solver not in SOLVERS:
        raise ValueError(f"unknown solver {solver!r}: expected one of {', '.join(SOLVERS)}")
    return SOLVERS[solver]


def as_grid(grid: str | Grid) -> Grid:
    """A time grid from its name, or the grid itself; errors as for :func:`as_solver`."""
    if isinstance(grid, Grid):
        return grid
    if not isinstance(grid, str):
        raise TypeError(f"grid must be a name or a Grid, got {type(grid).__name__}")
    if grid not in GRIDS:
        raise ValueError(f"unknown time grid {grid!r}: expected one of {', '.join(GRIDS)}")
    return GRIDS[grid]


__all__ = [
    "DDIM",
    "GRIDS",
    "SOLVERS",
    "Ancestral",
    "Euler",
    "EulerMaruyama",
    "Field",
    "Grid",
    "Heun",
    "MissingFieldError",
    "PowerGrid",
    "Solver",
    "UniformGrid",
    "as_grid",
    "as_solver",
    "integrate",
]
