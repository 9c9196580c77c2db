r"""Ancestral and DDIM sampling: exact Gaussian transitions given the data prediction.

Given ``x_t`` and a prediction of ``x_0``, the forward process has the Gaussian posterior

.. math:: x_s \mid x_t, x_0
   \sim N\bigl(a_s x_0 + \sqrt{b_s^2 - \varsigma^2}\,\hat ε,\ \varsigma^2 I\bigr),
   \qquad \hat ε = \frac{x_t - a_t x_0}{b_t},
   \qquad \varsigma^2 = η^2\, b_s^2 \Bigl(1 - \frac{a_t^2 b_s^2}{a_s^2 b_t^2}\Bigr)

for ``s < t`` (Song et al. 2021, *DDIM*, eqs. 12 and 16, written for any affine path). ``η = 1``
is the ancestral step of DDPM (Ho et al. 2020, eq. 7), ``η = 0`` a first-order ODE solver.
Unlike Euler-Maruyama it is safe where ``a(1) = 0``.

A prediction of ``x_0`` is its conditional mean only, and steps that take it for the truth end too
narrow. With ``v_t = Var(x_0 | x_t)`` the step that keeps the variance adds to the noise (Bao et al.
2022, *Analytic-DPM*, thm. 1)

.. math:: γ^2 v_t, \qquad γ = a_s - \frac{a_t}{b_t}\sqrt{b_s^2 - \varsigma^2}.
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
        share, keep, variance = self.transition(field, t, t_next)
        x = share * field.data(x, t) + keep * x
        if self.eta > 0.0:
            level = self._level(field, t, variance, share)
            x = x + level * standard_normal(x, generator)
        return x, None

    def transition(self, field: Field, t: Tensor, t_next: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``share, keep, variance`` of ``x_s = share x_0 + keep x_t + √variance ε``, like ``t``."""
        (a, b), (a_next, b_next) = field.signal_noise(t), field.signal_noise(t_next)  # type: ignore[misc]
        kept = (a * b_next) / (a_next * b)
        variance = (self.eta * b_next) ** 2 * (1.0 - kept**2).clamp_min(0.0)
        noise_level = (b_next**2 - variance).clamp_min(0.0).sqrt()
        return a_next - a * noise_level / b, noise_level / b, variance

    def _level(self, field: Field, t: Tensor, variance: Tensor, share: Tensor) -> Tensor:
        """Standard deviation of the noise of a step."""
        return variance.sqrt()


@dataclass(frozen=True)
class Ancestral(DDIM):
    """DDPM's own sampler: a draw from the posterior at every step."""

    eta: float = 1.0


@dataclass(frozen=True)
class Analytic(Ancestral):
    """The ancestral step with the variance that the data prediction leaves open.

    Exact at any number of steps where data are Gaussian.
    """

    needs: ClassVar[tuple[str, ...]] = ("data", "signal_noise", "data_variance")

    def _level(self, field: Field, t: Tensor, variance: Tensor, share: Tensor) -> Tensor:
        return (variance + share.square() * field.data_variance(t)).sqrt()
