r"""Gaussians that are observed, tilted and truncated, in closed form.

Everything that guides a sampler is, for a Gaussian law of the values, an operation with a known
result and a known normaliser:

* a linear observation ``y = H v + η`` conditions it (Matheron's rule turns a draw of the prior
  into one of the posterior);
* an exponential tilt ``exp(gᵀ x)`` moves its mean by ``V g``;
* a box truncates it, dimension after dimension (Geweke 1991; Hajivassiliou & McFadden 1998: GHK).

Shapes: ``N`` samples of ``D`` dimensions, ``m`` observations; float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_HALF_LOG_TAU = 0.5 * math.log(2.0 * math.pi)
# Of a deviation: what an exact observation leaves of it by rounding.
_NOTHING = 1e-5
_FAR = 1e6


class Observation:
    """``y = G x + η`` of ``x ~ N(μ, V)``, ``η ~ N(0, diag noise²)``.

    Parameters
    ----------
    matrix
        ``G [m, D]``.
    prior
        ``V [D, D]``.
    noise
        Standard deviations ``[m]``; 0 for what is known exactly.

    Attributes
    ----------
    gain
        ``K [D, m]``.
    posterior
        Covariance of ``x`` given ``y``, ``[D, D]``.
    """

    def __init__(self, matrix: Tensor, prior: Tensor, noise: Tensor):
        spread = matrix @ prior
        covariance = spread @ matrix.mT + torch.diag(noise.square())
        # Observations that repeat one another would leave it singular.
        jitter = 1e-12 * covariance.diagonal() + torch.finfo(covariance.dtype).tiny
        self._factor = torch.linalg.cholesky(covariance + torch.diag(jitter))
        self.gain = torch.cholesky_solve(spread, self._factor).mT
        self.posterior = prior - self.gain @ spread
        self._log_size = self._factor.diagonal().log().sum()

    def log_evidence(self, residual: Tensor) -> Tensor:
        """``log N(y; G μ, C)`` of ``y - G μ``, ``[N, m]`` to ``[N]``."""
        white = torch.linalg.solve_triangular(self._factor, residual.mT, upper=False)
        constant = _HALF_LOG_TAU * residual.shape[-1] + self._log_size
        return -0.5 * white.square().sum(0) - constant


def lower_factor(covariance: Tensor) -> Tensor:
    """Lower triangular ``S`` with ``S Sᵀ`` the covariance ``[D, D]``, which may be singular."""
    values, vectors = torch.linalg.eigh(0.5 * (covariance + covariance.mT))
    root = vectors * values.clamp_min(0.0).sqrt()
    _, upper = torch.linalg.qr(root.mT)
    signs = upper.diagonal().sign()
    return upper.mT * torch.where(signs == 0.0, 1.0, signs)


def log_interval(lower: Tensor, upper: Tensor) -> Tensor:
    """``log(Φ(upper) - Φ(lower))``, accurate in both tails; -inf where the interval is empty."""
    # Of an infinite bound the derivative would be undefined.
    lower, upper = lower.clamp(-_FAR, _FAR), upper.clamp(-_FAR, _FAR)
    flip = lower > 0.0
    low, high = torch.where(flip, -upper, lower), torch.where(flip, -lower, upper)
    log_high, log_low = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    share = torch.exp(log_low - log_high).clamp(max=1.0)
    return log_high + torch.log1p(-share)


def truncated_normal(lower: Tensor, upper: Tensor, uniform: Tensor) -> Tensor:
    """Standard normal between bounds, by inversion of ``uniform`` in (0, 1)."""
    flip = lower > 0.0
    low, high = torch.where(flip, -upper, lower), torch.where(flip, -lower, upper)
    log_below = torch.special.log_ndtr(low)
    log_mass = torch.logaddexp(log_below, uniform.log() + log_interval(low, high))
    drawn = torch.where(flip, -1.0, 1.0) * _inverse_log_ndtr(log_mass)
    return drawn.maximum(lower).minimum(upper)


def _inverse_log_ndtr(log_mass: Tensor) -> Tensor:
    """``Φ^{-1}(exp(log_mass))``, also where the mass has no digits."""
    inside = torch.special.ndtri(log_mass.exp())
    x = -(-2.0 * log_mass).clamp_min(0.0).sqrt()
    for _ in range(6):  # Newton's method on log Φ, which is concave
        log_here = torch.special.log_ndtr(x)
        log_density = -0.5 * x.square() - _HALF_LOG_TAU
        x = x - (log_here - log_mass) * torch.exp(log_here - log_density)
    return torch.where(log_mass > -30.0, inside, x)


def draw_in_box(
    mean: Tensor, factor: Tensor, lower: Tensor, upper: Tensor, uniform: Tensor, unit: Tensor
) -> tuple[Tensor, Tensor]:
    """``N(mean, S Sᵀ)`` within a box, by drawing each dimension given the ones before it.

    Parameters
    ----------
    mean
        ``[N, D]``.
    factor
        ``S [D, D]``, lower triangular; next to nothing on its diagonal is a value that the ones
        before it determine.
    lower, upper
        ``[D]``.
    uniform
        In (0, 1), ``[N, D]``.
    unit
        What is much, ``[D]``: a deviation before anything was observed.

    Returns
    -------
    values, log_weights
        ``[N, D]``, all within the box where the weight isn't 0, and ``[N]``: the density of the
        Gaussian over that of the draw. (Exact: its mean is the mass of the box.)
    """
    noise = torch.zeros_like(mean)
    log_weights = torch.zeros_like(mean[:, 0])
    slack = _NOTHING * unit
    for d, (low, high) in enumerate(zip(lower, upper, strict=True)):
        before = mean[:, d] + noise @ factor[d]
        spread = factor[d, d]
        if spread <= slack[d]:
            kept = (before >= low - slack[d]) & (before <= high + slack[d])
            log_weights = log_weights + torch.where(kept, 0.0, -torch.inf)
            continue
        bounds = (low - before) / spread, (high - before) / spread
        noise[:, d] = truncated_normal(*bounds, uniform[:, d])
        log_weights = log_weights + log_interval(*bounds)
    return mean + noise @ factor.mT, log_weights
