"""Flow matching conditioned by an LSTM."""

from __future__ import annotations

from dataclasses import dataclass

from tsdiff.decoders import FlowMatching
from tsdiff.estimators.base import GenerativeEstimator
from tsdiff.networks import Network


@dataclass(kw_only=True, eq=False)
class FlowMatchingEstimator(GenerativeEstimator):
    """Autoregressive flow matching on straight lines (Lipman et al. 2023; Liu et al. 2023).

    Twelve network evaluations per step by default.

    Parameters
    ----------
    **parameters
        See :class:`GenerativeEstimator`.
    """

    def make_decoder(self, network: Network, target_dim: int) -> FlowMatching:
        return FlowMatching(
            network,
            target_dim,
            preconditioned=self.preconditioned,
            **self.sampler_defaults(),
        )
