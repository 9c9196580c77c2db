"""Adaptive steps, from torchdiffeq."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tsdiff.random import Randomness
from tsdiff.solvers.base import Field, Solver
from tsdiff.solvers.exponential import leave_point

# Of the time after a source that is a point: what is left to an exponential step.
_FIRST = 0.01


@dataclass(frozen=True)
class DormandPrince(Solver):
    """Dormand and Prince's method of order 5 for the probability-flow ODE, as exact as is asked.

    It takes as many steps as it needs between two times of the grid, of which ``num_steps=1`` has
    none but the ends. The error is measured on all rows together: what one row comes to depends
    on the others, within the tolerances.

    Parameters
    ----------
    rtol, atol
        Tolerances of a step's local error, relative and absolute.
    """

    rtol: float = 1e-4
    atol: float = 1e-5

    order: ClassVar[int] = 5
    needs: ClassVar[tuple[str, ...]] = ("velocity",)
    adaptive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (self.rtol > 0.0 and self.atol > 0.0):
            raise ValueError(
                f"tolerances must be positive, got rtol={self.rtol} and atol={self.atol}"
            )

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
        from torchdiffeq import odeint

        def slope(now: Tensor, at: Tensor) -> Tensor:
            return field.velocity(at, now.to(x.dtype).view(1, 1, 1))  # type: ignore[misc]

        inside = torch.maximum(t_next, t - _FIRST)
        beyond = leave_point(field, t, inside, x)
        if beyond is not None:
            t, x = inside, beyond
            if not bool(t > t_next):
                return x, None
        ends = torch.cat([t.flatten(), t_next.flatten()])
        path = odeint(slope, x, ends, rtol=self.rtol, atol=self.atol, method="dopri5")
        return path[-1], None  # type: ignore[return-value]
