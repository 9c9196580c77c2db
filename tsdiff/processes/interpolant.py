r"""Stochastic interpolants from a point source.

The clock ``s = 1 - t`` runs from a known point ``y`` (``s = 0``) to data ``x_0`` (``s = 1``):

.. math:: I_s = α_s\, y + β_s\, x_0 + σ_s W_s, \qquad α_s = 1 - s,\; β_s = s^p,\; σ_s = σ (1 - s),

with a Brownian motion ``W`` (Chen, Goldstein, Hua, Albergo, Boffi & Vanden-Eijnden 2024,
*Probabilistic forecasting with stochastic interpolants and Föllmer processes*, eq. 1). At each
time ``W_s`` is ``√s ε``, so that in the clock of this package, less the known ``c(t) y``, it is an
affine path with ``a = β_s`` and ``b = √s σ_s``. What tells it from others is that *both* vanish at
``t = 1``: noise is injected on the way, by the stochastic differential equation
``dX = drift ds + g̃ dW``. For ``g̃ = σ_s``, the *volatility*, the drift is that of the interpolant,
``E[α' y + β' x_0 + σ' W | I_s]``, bounded and regressed as it is. The native ``g̃`` is the Föllmer
coefficient ``|2 s σ² d/ds log(β/(√s σ))|^½``, for which a learned drift errs least (the path-wise
Kullback-Leibler divergence; Chen & Vanden-Eijnden 2026, *Variational optimality of Föllmer
processes*).
"""

from __future__ import annotations

import math

from torch import Tensor

from tsdiff.processes.affine import AffinePath, Coefficients, PathSample
from tsdiff.random import Randomness

# In s. There the law is all but known: N(α y + β E x_0, s σ²), to within √s of its spread.
_INSIDE = 1e-6


class PointSource(AffinePath):
    """``a = s^p``, ``b = σ √s (1 - s)`` with ``s = 1 - t``, around a source point.

    The path begins at ``s = 1e-6``, where its law is a Gaussian of standard deviation ``σ/1000``
    about the source: the ODE needs some noise to begin with, and the score is finite there.

    Parameters
    ----------
    scale
        ``σ``, in the units that the path runs in: events have about unit variance.
    power
        ``p ≥ 1``: 1 or 2 in the paper. With 1 the drift of the Föllmer process is bounded.
    """

    t_max = 1.0 - _INSIDE
    smooth = False

    def __init__(self, scale: float = 1.0, power: float = 1.0):
        super().__init__()
        if not 0.0 < scale < math.inf:
            raise ValueError(f"scale must be positive and finite, got {scale}")
        if not 1.0 <= power < math.inf:
            raise ValueError(f"power must be at least 1 and finite, got {power}")
        self.scale, self.power = scale, power

    def coefficients(self, t: Tensor) -> Coefficients:
        s = self._clock(t)
        root, power = s.sqrt(), self.power
        signal = s**power
        noise_slope = self.scale * (0.5 * (1.0 - s) / root - root)
        return Coefficients(
            signal,
            self.scale * root * (1.0 - s),
            -power * signal / s,
            -noise_slope,
            self.volatility(t),
        )

    def sample(
        self,
        x0: Tensor,
        t: Tensor,
        *,
        source: Tensor | None = None,
        generator: Randomness = None,
    ) -> PathSample:
        """Draw ``x_t`` given data ``[B, T, D]`` and a source point of that shape; None is 0."""
        drawn = super().sample(x0, t, generator=generator)
        if source is None:
            return drawn
        moved = drawn.x + self.source_weight(t) * source
        return PathSample(moved, drawn.noise, drawn.velocity + source)

    def source_weight(self, t: Tensor) -> Tensor:
        """``c(t) = α_s``, the weight of the source point; shaped like ``t``."""
        return 1.0 - self._clock(t)

    def volatility(self, t: Tensor) -> Tensor:
        """``σ_s``, the diffusion coefficient of the interpolant itself; shaped like ``t``."""
        return self.scale * (1.0 - self._clock(t))

    @staticmethod
    def _clock(t: Tensor) -> Tensor:
        return (1.0 - t).clamp_min(_INSIDE)
