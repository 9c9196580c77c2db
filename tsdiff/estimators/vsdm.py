"""Variational Schrödinger diffusion conditioned by an LSTM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tsdiff.decoders import VSDM
from tsdiff.estimators.base import GenerativeEstimator
from tsdiff.networks import Network
from tsdiff.processes import VariancePreserving


@dataclass(kw_only=True, eq=False)
class VSDMEstimator(GenerativeEstimator):
    """Autoregressive Variational Schrödinger Diffusion Model (Deng et al. 2024).

    One variational score serves the whole series: its trajectories are simulated under contexts of
    the training windows at hand, and their moments pooled over contexts and steps. Seventeen
    network evaluations per step by default, along the probability-flow ODE; the reverse SDE is
    ``solver="analytic", num_steps=50``.

    Parameters
    ----------
    beta_min, beta_max, exponent
        ``β(t) = β_min + t^r (β_max - β_min)``.
    structure, rank
        What the drift matrix ``A`` looks like: ``"auto"``, ``"principal"``, ``"low_rank"`` of the
        given rank, ``"diagonal"`` or ``"full"``; see :class:`tsdiff.decoders.VSDM`.
    zeta
        1 is the bridge within linear drifts, less stays closer to the score-based process.
    method
        ``"exact"`` or ``"gradient"``: how the variational score is found.
    stage, num_stages
        Updates between two moves of ``A``, and how many moves there are before it rests.
    step_size, averaging
        Of the stochastic approximation.
    num_paths, path_steps
        Simulated trajectories per stage, and steps of each.
    decoder_kwargs
        Further arguments of :class:`tsdiff.decoders.VSDM`, such as ``loss_prior``.
    **parameters
        See :class:`GenerativeEstimator`.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    exponent: float = 1.0
    structure: str = "auto"
    rank: int | None = None
    zeta: float = 0.75
    method: str = "exact"
    stage: int = 50
    num_stages: int = 20
    step_size: float = 0.5
    averaging: str = "polyak"
    num_paths: int = 256
    path_steps: int = 16
    decoder_kwargs: dict[str, Any] | None = None

    @classmethod
    def title(cls) -> str:
        return "VSDM"

    def make_decoder(self, network: Network, target_dim: int) -> VSDM:
        options: dict[str, Any] = {
            "schedule": VariancePreserving(self.beta_min, self.beta_max, self.exponent),
            "structure": self.structure,
            "rank": self.rank,
            "zeta": self.zeta,
            "method": self.method,
            "stage": self.stage,
            "num_stages": self.num_stages,
            "step_size": self.step_size,
            "averaging": self.averaging,
            "num_paths": self.num_paths,
            "path_steps": self.path_steps,
            "preconditioned": self.preconditioned,
            **self.sampler_defaults(),
        }
        further = self.decoder_kwargs or {}
        if twice := sorted(options.keys() & further.keys()):
            raise ValueError(
                f"decoder_kwargs names {', '.join(twice)}, which the estimator sets by a parameter "
                "of its own: use that"
            )
        return VSDM(network, target_dim, **options, **further)
