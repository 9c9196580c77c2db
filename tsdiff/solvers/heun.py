"""Heun's method (explicit trapezoidal rule) for the probability-flow ODE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from tsdiff.random import Randomness
from tsdiff.solvers.base import Field, Solver


@dataclass(frozen=True)
class Heun(Solver):
    """An Euler step, corrected with the mean of the velocities at both of its ends.

    Karras et al. (2022), algorithm 1.
    """

    order: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("velocity",)
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
    ) -> tuple[Tensor, None]:
        h = t_next - t
        slope = field.velocity(x, t)
        slope_next = field.velocity(x + h * slope, t_next)
        return x + 0.5 * h * (slope + slope_next), None
