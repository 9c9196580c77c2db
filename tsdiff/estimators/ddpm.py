"""TimeGrad: an LSTM that conditions a denoising diffusion model."""

from __future__ import annotations

from dataclasses import dataclass

from tsdiff.decoders import DDPM
from tsdiff.estimators.base import GenerativeEstimator
from tsdiff.networks import Network


@dataclass(kw_only=True, eq=False)
class DDPMEstimator(GenerativeEstimator):
    """Autoregressive denoising diffusion (TimeGrad, Rasul et al. 2021).

    By default with the parts that this package prefers: whitened coordinates, a residual MLP,
    preconditioning. The published model is ``scaling="mean", network="dilated",
    preconditioned=False, hidden_size=40``.

    Parameters
    ----------
    diffusion_steps
        Length N of the noise chain.
    beta_min, beta_max
        First and last variance of its linear schedule.
    **parameters
        See :class:`GenerativeEstimator`.
    """

    diffusion_steps: int = 100
    beta_min: float = 1e-4
    beta_max: float = 0.1

    def make_decoder(self, network: Network, target_dim: int) -> DDPM:
        return DDPM(
            network,
            target_dim,
            diffusion_steps=self.diffusion_steps,
            beta_min=self.beta_min,
            beta_max=self.beta_max,
            preconditioned=self.preconditioned,
            **self.sampler_defaults(),
        )


TimeGradEstimator = DDPMEstimator
"""The name under which the literature knows it."""
