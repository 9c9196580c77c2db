"""DeepVAR: an LSTM that conditions a low-rank Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

from tsdiff.decoders import LowRankGaussian
from tsdiff.estimators.base import GenerativeEstimator
from tsdiff.networks import NETWORKS, Network


@dataclass(kw_only=True, eq=False)
class LowRankGaussianEstimator(GenerativeEstimator):
    """Autoregressive Gaussian with a low-rank covariance (DeepVAR, Salinas et al. 2019).

    No generative model but what one has to beat: encoder, coordinates and training are those of all
    others, and one evaluation gives mean, diagonal and factor of the next step's law. Trained by
    likelihood, with an exact ``log_prob``. There is no process: ``solver``, ``num_steps`` and
    ``grid`` can't be chosen, and forecasts can't be guided but by ``ClassifierFree``.

    Parameters
    ----------
    rank
        Columns of the covariance's factor.
    **parameters
        See :class:`GenerativeEstimator`.
    """

    rank: int = 8

    def make_decoder(self, network: Network, target_dim: int) -> LowRankGaussian:
        """``network`` has ``target_dim * (2 + rank)`` outputs."""
        if chosen := self.sampler_defaults():
            raise ValueError(
                f"{', '.join(chosen)}: a Gaussian is sampled at once, by no solver: leave it out"
            )
        return LowRankGaussian(
            network, target_dim, rank=self.rank, preconditioned=self.preconditioned
        )

    def _decoder_around_network(self, target_dim: int, context_dim: int) -> LowRankGaussian:
        if isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 1:
            raise ValueError(f"rank must be a positive integer, got {self.rank!r}")
        width = target_dim * (2 + self.rank)
        network = NETWORKS[self.network](width, context_dim, **(self.network_kwargs or {}))
        return self.make_decoder(network, target_dim)


DeepVAREstimator = LowRankGaussianEstimator
"""The name under which the literature knows it."""
