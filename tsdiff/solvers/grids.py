"""Time grids: where between source and data the steps are taken."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsdiff.solvers.base import check_steps, times_from


@dataclass(frozen=True)
class Grid:
    """``grid(num_steps)`` gives ``num_steps + 1`` falling times from 1 to 0, float64."""

    def __call__(self, num_steps: int) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} defines no times")


@dataclass(frozen=True)
class UniformGrid(Grid):
    """Equal steps in ``t``."""

    def __call__(self, num_steps: int) -> Tensor:
        return times_from(torch.linspace(1.0, 0.0, check_steps(num_steps) + 1, dtype=torch.float64))


@dataclass(frozen=True)
class PowerGrid(Grid):
    """``t = u^exponent`` for equally spaced ``u``: finer near the data for exponents above 1.

    Exponent 2 is DDIM's quadratic grid (Song et al. 2021, app. D.2).
    """

    exponent: float = 2.0

    def __post_init__(self) -> None:
        if not self.exponent > 0.0:
            raise ValueError(f"exponent must be positive, got {self.exponent}")

    def __call__(self, num_steps: int) -> Tensor:
        uniform = torch.linspace(1.0, 0.0, check_steps(num_steps) + 1, dtype=torch.float64)
        return times_from(uniform**self.exponent)


GRIDS: dict[str, Grid] = {"uniform": UniformGrid(), "quadratic": PowerGrid(2.0)}
"""Grids by the names that ``predict(grid=...)`` understands."""
