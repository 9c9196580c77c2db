"""From the source (t = 1) to data (t = 0): one loop, interchangeable steps and time grids.

A solver sees a :class:`Field` and nothing of networks or time series. It declares its order
and what it needs; asking it to run on a field that lacks a need is an error naming both.
"""

from __future__ import annotations

from typing import TypeVar

from tsdiff.solvers.adaptive import DormandPrince
from tsdiff.solvers.base import Field, MissingFieldError, Solver, integrate
from tsdiff.solvers.ddim import DDIM, Analytic, Ancestral
from tsdiff.solvers.dpm import DPMSolver2M, DPMSolver2S, DPMSolver3M, DPMSolverSDE
from tsdiff.solvers.euler_maruyama import EulerMaruyama
from tsdiff.solvers.exponential import ExponentialAdams, ExponentialHeun
from tsdiff.solvers.grids import (
    GRIDS,
    AngleGrid,
    Grid,
    KarrasGrid,
    LogSNRGrid,
    PowerGrid,
    UniformGrid,
)
from tsdiff.solvers.multistep import Multistep
from tsdiff.solvers.runge_kutta import RK4, Euler, Heun, Midpoint
from tsdiff.solvers.stochastic_heun import StochasticHeun

T = TypeVar("T")

SOLVERS: dict[str, Solver] = {
    "euler": Euler(),
    "midpoint": Midpoint(),
    "heun": Heun(),
    "rk4": RK4(),
    "dopri5": DormandPrince(),
    "exponential_adams": ExponentialAdams(),
    "exponential_heun": ExponentialHeun(),
    "dpm++2s": DPMSolver2S(),
    "dpm++2m": DPMSolver2M(),
    "dpm++3m": DPMSolver3M(),
    "dpm++sde": DPMSolverSDE(),
    "euler_maruyama": EulerMaruyama(),
    "stochastic_heun": StochasticHeun(),
    "ancestral": Ancestral(),
    "analytic": Analytic(),
    "ddim": DDIM(),
    "consistency": Multistep(),
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
    return _named(solver, Solver, SOLVERS, "solver")


def as_grid(grid: str | Grid) -> Grid:
    """A time grid from its name, or the grid itself; errors as for :func:`as_solver`."""
    return _named(grid, Grid, GRIDS, "time grid")


def _named(given: str | T, kind: type[T], known: dict[str, T], what: str) -> T:
    if isinstance(given, kind):
        return given
    if not isinstance(given, str):
        raise TypeError(
            f"{kind.__name__.lower()} must be a name or a {kind.__name__}, got "
            f"{type(given).__name__}"
        )
    if given not in known:
        raise ValueError(f"unknown {what} {given!r}: expected one of {', '.join(known)}")
    return known[given]


__all__ = [
    "DDIM",
    "GRIDS",
    "RK4",
    "SOLVERS",
    "Analytic",
    "Ancestral",
    "AngleGrid",
    "DPMSolver2M",
    "DPMSolver2S",
    "DPMSolver3M",
    "DPMSolverSDE",
    "DormandPrince",
    "Euler",
    "EulerMaruyama",
    "ExponentialAdams",
    "ExponentialHeun",
    "Field",
    "Grid",
    "Heun",
    "KarrasGrid",
    "LogSNRGrid",
    "Midpoint",
    "MissingFieldError",
    "Multistep",
    "PowerGrid",
    "Solver",
    "StochasticHeun",
    "UniformGrid",
    "as_grid",
    "as_solver",
    "integrate",
]
