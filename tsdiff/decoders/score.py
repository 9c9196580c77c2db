"""Score-based generative models (Song et al. 2021), the baseline that VSDM adapts."""

from __future__ import annotations

from tsdiff.decoders.axes import Axes
from tsdiff.decoders.base import AffineDecoder, PathMaker, Weighting, path_maker
from tsdiff.networks import Network
from tsdiff.processes import AffinePath, SubVP, VarianceExploding, VariancePreserving
from tsdiff.solvers import Grid, PowerGrid, Solver

SDES: dict[str, PathMaker] = {
    "vp": VariancePreserving,
    "sub_vp": SubVP,
    "ve": VarianceExploding,
}
"""The processes of Song et al. (2021), by name, with their usual parameters."""


class ScoreSDE(AffineDecoder):
    """Denoising score matching along a diffusion, as noise prediction.

    The score is ``-ε / b``, and the loss is that of Song et al. (2021), eq. 7, weighted by ``b²``.

    Parameters
    ----------
    network, target_dim, preconditioned, weighting, axes, source
        As in :class:`AffineDecoder`.
    path
        An affine path, or a name in :data:`SDES`.
    solver, num_steps, grid
        Default sampler: eight steps of Heun's method on the probability-flow ODE; twenty for the
        exploding process, whose noise level spans orders of magnitude. The reverse SDE is
        ``solver="analytic"`` with fifty steps.
    """

    def __init__(
        self,
        network: Network,
        target_dim: int,
        *,
        path: str | AffinePath = "vp",
        solver: str | Solver = "heun",
        num_steps: int | None = None,
        grid: str | Grid | None = None,
        preconditioned: bool = True,
        weighting: Weighting | None = None,
        axes: str | Axes | None = None,
        source: str = "matched",
    ):
        if isinstance(path, str):
            path = path_maker(path, SDES, "process")()
        usual = (20, PowerGrid(0.5)) if isinstance(path, VarianceExploding) else (8, "quadratic")
        super().__init__(
            network,
            path,
            target_dim,
            prediction="noise",
            solver=solver,
            num_steps=usual[0] if num_steps is None else num_steps,
            grid=usual[1] if grid is None else grid,
            preconditioned=preconditioned,
            weighting=weighting,
            axes=axes,
            source=source,
        )
