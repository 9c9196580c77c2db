"""The Schrödinger bridge conditioned by an LSTM."""

from __future__ import annotations

from dataclasses import dataclass

from tsdiff.decoders import SchrodingerBridge
from tsdiff.estimators.base import GenerativeEstimator
from tsdiff.networks import Network
from tsdiff.processes import VariancePreserving


@dataclass(kw_only=True, eq=False)
class SchrodingerBridgeEstimator(GenerativeEstimator):
    """Autoregressive Schrödinger bridge by iterative proportional fitting.

    De Bortoli et al. (2021). There is one bridge for each context, and two networks for all of
    them. Twenty network evaluations per step by default, along the bridge's own stochastic
    equation; the probability-flow ODE is ``solver="heun"``, and takes both networks.

    Training simulates: after the warm-up an update costs some ``path_steps`` network evaluations
    more. Where the time for that is not to be had, VSDM's linear drift is the cheap approximation.

    Parameters
    ----------
    beta_min, beta_max, exponent
        ``β(t) = β_min + t^r (β_max - β_min)`` of the reference.
    method
        ``"endpoints"`` or ``"trajectories"``: what halves are regressed on; see
        :class:`tsdiff.decoders.SchrodingerBridge`.
    warm_up
        Updates of the first half, a score-based model.
    stage, num_stages
        Updates of each other half, and how many pairs of halves there are. The last half, which
        runs backward, is trained to the end.
    path_steps
        Steps of simulated trajectories.
    **parameters
        See :class:`GenerativeEstimator`.
    """

    beta_min: float = 0.1
    beta_max: float = 10.0
    exponent: float = 1.0
    method: str = "endpoints"
    warm_up: int | None = 200
    stage: int = 100
    num_stages: int = 3
    path_steps: int = 12

    @classmethod
    def title(cls) -> str:
        return "Schrödinger bridge"

    def make_decoder(self, network: Network, target_dim: int) -> SchrodingerBridge:
        return SchrodingerBridge(
            network,
            target_dim,
            schedule=VariancePreserving(self.beta_min, self.beta_max, self.exponent),
            method=self.method,
            warm_up=self.warm_up,
            stage=self.stage,
            num_stages=self.num_stages,
            path_steps=self.path_steps,
            preconditioned=self.preconditioned,
            **self.sampler_defaults(),
        )
