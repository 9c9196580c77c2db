r"""Ancestral and DDIM sampling: exact Gaussian transitions given the data prediction.

Given ``x_t`` and a prediction of ``x_0``, the forward process has the Gaussian posterior

.. math:: x_s \mid x_t, x_0
   \sim N\bigl(a_s x_0 + \sqrt{b_s^2 - \varsigma^2}\,\hat ε,\ \varsigma^2 I\bigr),
   \qquad \hat ε = \frac{x_t - a_t x_0}{b_t},
   \qquad \varsigma^2 = η^2\, b_s^2 \Bigl(1 - \frac{a_t^2 b_s^2}{a_s^2 b_t^2}\Bigr)

for ``s < t`` (Song et al. 2021, *DDIM*, eqs. 12 and 16, written for any affine path). ``η = 1``
is the ancestral step of DDPM (Ho et al. 2020, eq. 7), ``η = 0`` a first-order ODE solver.
Unlike Euler-Maruyama it is safe where ``a(1) = 0``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from tsdiff.random import Randomness, standard_normal
from tsdiff.solvers.base import Field, Solver


@dataclass(frozen=True)
class DDIM(Solver):
    """The transition above with noise share ``eta`` in [0, 1]."""

    eta: float = 0.0

    order: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("data", "signal_noise")

    def __post_init__(self) -> None:
        if not 0.0 <= self.eta <= 1.0:
            raise ValueError(f"eta must lie in [0, 1], got {self.eta}")

    def step(
        self,
        field: Field,
        t: Tensor,
        t_next: Tensor,
        x: Tensor,
        state: Any,
        *,
        generator: Randomness = None,
    ) -> tuple[Tensor, None]:
        (a, b), (a_next, b_next) = field.signal_noise(t), field.signal_noise(t_next)
        data = field.data(x, t)
        kept = (a * b_next) / (a_next * b)
        variance = (self.eta * b_next) ** 2 * (1.0 - kept**2).clamp_min(0.0)
        noise_level = (b_next**2 - variance).clamp_min(0.0).sqrt()
        x = a_next * data + (noise_level / b) * (x - a * data)
        if self.eta > 0.0:
            x = x + variance.sqrt() * standard_normal(x, generator)
        return x, None


@dataclass(frozen=True)
class Ancestral(DDIM):
    """DDPM's own sampler: a draw from the posterior at every step."""

    eta: float = 1.0
