"""Euler's method for the probability-flow ODE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from tsdiff.random import Randomness
from tsdiff.solvers.base import Field, Solver


@dataclass(frozen=True)
class Euler(Solver):
    """``x ← x + (t_next - t) v(x, t)``."""

    order: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("velocity",)

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
        return x + (t_next - t) * field.velocity(x, t), None
