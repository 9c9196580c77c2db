"""Flow matching conditioned by an LSTM."""

from __future__ import annotations

from dataclasses import dataclass

from tsdiff.decoders import FlowMatching
from tsdiff.estimators.base import GenerativeEstimator
from tsdiff.networks import Network


@dataclass(kw_only=True, eq=False)
class FlowMatchingEstimator(GenerativeEstimator):
    """Autoregressive flow matching (Lipman et al. 2023; Liu et al. 2023).

    Twelve network evaluations per step by default.

    Parameters
    ----------
    path
        ``"linear"``, straight lines; ``"cosine"``; ``"vp"``; or ``"lipschitz"``, whose velocity is
        least steep for the spectrum of the data.
    prediction
        What the loss is the error of: ``"velocity"``, ``"noise"`` or ``"data"``. (The score's,
        ``-ε/b``, has no finite mean near the data.)
    coupling
        Which noise goes with which data: ``"independent"``, or ``"optimal_transport"`` within a
        batch, with a cost on moving between contexts; see :mod:`tsdiff.processes.couplings`.
    times
        How training times are drawn: ``"uniform"`` or ``"logit_normal"``.
    **parameters
        See :class:`GenerativeEstimator`.
    """

    path: str = "linear"
    prediction: str = "velocity"
    coupling: str = "independent"
    times: str = "uniform"

    def make_decoder(self, network: Network, target_dim: int) -> FlowMatching:
        return FlowMatching(
            network,
            target_dim,
            path=self.path,
            prediction=self.prediction,
            coupling=self.coupling,
            times=self.times,
            preconditioned=self.preconditioned,
            **self.sampler_defaults(),
        )
