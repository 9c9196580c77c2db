"""Score-based generative models conditioned by an LSTM."""

from __future__ import annotations

from dataclasses import dataclass

from tsdiff.decoders import ScoreSDE
from tsdiff.decoders.base import path_maker
from tsdiff.decoders.score import SDES
from tsdiff.estimators.base import GenerativeEstimator
from tsdiff.networks import Network


@dataclass(kw_only=True, eq=False)
class ScoreEstimator(GenerativeEstimator):
    """Autoregressive score-based diffusion (SGM; Song et al. 2021, Yan et al. 2021).

    Sixteen network evaluations per step by default, forty for ``"ve"``, along the probability-flow
    ODE; the reverse SDE is ``solver="analytic", num_steps=50``.

    Parameters
    ----------
    sde
        ``"vp"``, ``"sub_vp"`` or ``"ve"``: variance preserving, sub-VP or exploding.
    sde_kwargs
        Parameters of the process: ``beta_min``, ``beta_max`` and ``exponent``, or ``sigma_min`` and
        ``sigma_max``; events have unit variance.
    **parameters
        See :class:`GenerativeEstimator`.
    """

    sde: str = "vp"
    sde_kwargs: dict[str, float] | None = None

    @classmethod
    def title(cls) -> str:
        return "SGM"

    def make_decoder(self, network: Network, target_dim: int) -> ScoreSDE:
        return ScoreSDE(
            network,
            target_dim,
            path=path_maker(self.sde, SDES, "process")(**(self.sde_kwargs or {})),
            preconditioned=self.preconditioned,
            **self.sampler_defaults(),
        )
