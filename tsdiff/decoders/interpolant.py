"""Stochastic interpolants from a point source, and the Föllmer process.

Chen, Goldstein, Hua, Albergo, Boffi & Vanden-Eijnden (2024), *Probabilistic forecasting with
stochastic interpolants and Föllmer processes*, algorithms 1 and 2.

Events are measured *from the source point*, which lies at their origin: forecasts from the last
value are differences from it. Nothing is lost by that. ``I_s - α_s y`` is a known translation of
``I_s``, and what a network has to learn of it doesn't depend on ``y``; where the future depends on
``y`` it is part of the context.
"""

from __future__ import annotations

from torch import Tensor

from tsdiff.decoders.axes import Axes
from tsdiff.decoders.base import AffineDecoder, Weighting
from tsdiff.networks import Network
from tsdiff.processes import PointSource
from tsdiff.solvers import Grid, Solver


class Interpolant(AffineDecoder):
    """The drift from a known point to the data, with any diffusion coefficient in sampling.

    The drift is regressed on ``β' x_0 + σ' √s ε`` without any simulation; it determines the score
    (eq. 12), so that the diffusion coefficient is chosen when samples are drawn:

    ==========================================  ====================================================
    solver                                      diffusion coefficient
    ==========================================  ====================================================
    ``"analytic"``, ``"ancestral"``             Föllmer's, in Gaussian transitions; the default
    ``"euler_maruyama"``                        Föllmer's
    ``EulerMaruyama("volatility")``             the interpolant's own ``σ_s``
    ``EulerMaruyama(diffusion=...)``            any function of ``t``
    any ODE solver                              0
    ==========================================  ====================================================

    Sampling begins at ``s = 1e-6``, with the noise that the path has there (a thousandth of σ).

    Parameters
    ----------
    network, target_dim, prediction, preconditioned, weighting, axes
        As in :class:`AffineDecoder`. ``prediction`` may also be ``"drift"``.
    path
        Weights and noise of the interpolant; None is ``PointSource()``.
    solver, num_steps, grid
        Default sampler: sixteen transitions of the Föllmer process.
    """

    path: PointSource

    def __init__(
        self,
        network: Network,
        target_dim: int,
        *,
        path: PointSource | None = None,
        prediction: str = "drift",
        solver: str | Solver = "analytic",
        num_steps: int = 16,
        grid: str | Grid = "uniform",
        preconditioned: bool = True,
        weighting: Weighting | None = None,
        axes: str | Axes | None = None,
    ):
        super().__init__(
            network,
            PointSource() if path is None else path,
            target_dim,
            prediction=prediction,
            solver=solver,
            num_steps=num_steps,
            grid=grid,
            preconditioned=preconditioned,
            weighting=weighting,
            axes=axes,
        )

    def restore(self, x: Tensor, t: Tensor) -> Tensor:
        """The interpolant at ``t`` in the data's units, from what solvers carry.

        It begins at the source point, the origin; solvers carry it about the data's mean.
        """
        return self.axes.leave(x) - (1.0 - self.path.coefficients(t).a) * self.axes.mean
