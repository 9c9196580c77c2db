"""DeepVAR: an LSTM that conditions a low-rank Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

from tsdiff.decoders import LowRankGaussian
from tsdiff.estimators.base import GenerativeEstimator
from tsdiff.estimators.checks import positive_integer
from tsdiff.networks import Network


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

    def num_outputs(self, target_dim: int) -> int:
        """Mean, scale and ``rank`` factors of each dimension."""
        positive_integer("rank", self.rank)
        return target_dim * (2 + self.rank)


DeepVAREstimator = LowRankGaussianEstimator
"""The name under which the literature knows it."""
