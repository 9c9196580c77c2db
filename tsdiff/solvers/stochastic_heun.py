"""Heun's method for the time-reversed stochastic differential equation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from tsdiff.random import Randomness, standard_normal
from tsdiff.solvers.base import Field
from tsdiff.solvers.euler_maruyama import EulerMaruyama


@dataclass(frozen=True)
class StochasticHeun(EulerMaruyama):
    """:class:`EulerMaruyama`, corrected with the mean of the drifts at both ends of a step.

    Noise is additive and its level taken at the middle of the step, so that the weak order is 2
    (Kloeden & Platen 1992, sec. 14.1).
    """

    order: ClassVar[int] = 2
    evaluations: ClassVar[int] = 2

    def step(
        self,
        field: Field,
        t: Tensor,
        t_next: Tensor,
        x: Tensor,
        state: Any,
        *,
        generator: Randomness = None,
    ) -> tuple[Tensor, Any]:
        if self._diverges(field, t):
            return super().step(field, t, t_next, x, state, generator=generator)
        h = t - t_next
        noise = self._level(field)(0.5 * (t + t_next)) * h.sqrt() * standard_normal(x, generator)
        first = self._drift(field, x, t)
        ahead = x + h * first + noise
        return x + 0.5 * h * (first + self._drift(field, ahead, t_next)) + noise, None
