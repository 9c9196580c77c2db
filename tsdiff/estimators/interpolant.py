"""Stochastic interpolants from a point source, conditioned by an LSTM."""

from __future__ import annotations

from dataclasses import dataclass

from tsdiff.decoders import Interpolant
from tsdiff.estimators.base import GenerativeEstimator
from tsdiff.networks import Network
from tsdiff.processes import PointSource


@dataclass(kw_only=True, eq=False)
class InterpolantEstimator(GenerativeEstimator):
    """Autoregressive stochastic interpolant from a known point (Chen et al. 2024).

    The point is the simple forecast that ``scaling`` names: the last observation for increments,
    the value a season ago for seasonal coordinates. Sixteen network evaluations per step by
    default, transitions of the Föllmer process; ``solver`` chooses the diffusion coefficient, see
    :class:`tsdiff.decoders.Interpolant`.

    Parameters
    ----------
    noise
        ``σ`` of ``σ_s = σ (1 - s)``, for events of unit variance.
    power
        ``p`` of the data's weight ``s^p``, at least 1.
    prediction
        What the loss is the error of: ``"drift"``, ``"velocity"``, ``"noise"`` or ``"data"``.
    **parameters
        See :class:`GenerativeEstimator`.
    """

    noise: float = 1.0
    power: float = 1.0
    prediction: str = "drift"

    def make_decoder(self, network: Network, target_dim: int) -> Interpolant:
        return Interpolant(
            network,
            target_dim,
            path=PointSource(self.noise, self.power),
            prediction=self.prediction,
            preconditioned=self.preconditioned,
            **self.sampler_defaults(),
        )
