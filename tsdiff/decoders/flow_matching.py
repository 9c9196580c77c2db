"""Flow matching on straight lines (Lipman et al. 2023, eq. 23; Liu et al. 2023, eq. 1)."""

from __future__ import annotations

from tsdiff.decoders.base import AffineDecoder, Weighting
from tsdiff.networks import Network
from tsdiff.processes import AffinePath, Linear
from tsdiff.solvers import Grid, Solver


class FlowMatching(AffineDecoder):
    """Velocity prediction along ``x_t = (1 - t) x_0 + t ε``, sampled by an ODE solver.

    Parameters
    ----------
    network, target_dim, preconditioned, weighting
        As in :class:`AffineDecoder`.
    path
        Any affine path; None is the straight line.
    solver, num_steps, grid
        Default sampler: six steps of Heun's method, twelve network evaluations.
    """

    def __init__(
        self,
        network: Network,
        target_dim: int,
        *,
        path: AffinePath | None = None,
        solver: str | Solver = "heun",
        num_steps: int = 6,
        grid: str | Grid = "uniform",
        preconditioned: bool = True,
        weighting: Weighting | None = None,
    ):
        super().__init__(
            network,
            Linear() if path is None else path,
            target_dim,
            prediction="velocity",
            solver=solver,
            num_steps=num_steps,
            grid=grid,
            preconditioned=preconditioned,
            weighting=weighting,
        )
