"""Explicit Runge-Kutta methods for the probability-flow ODE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from tsdiff.random import Randomness
from tsdiff.solvers.base import Field, Solver
from tsdiff.solvers.exponential import leave_point


@dataclass(frozen=True)
class RungeKutta(Solver):
    """``x ← x + h Σ weights_i k_i`` with slopes ``k_i = v(x + h nodes_i k_{i-1}, t + h nodes_i)``.

    In all methods here a slope depends on the one before it alone. Out of a source that is all
    but a point the first step is an exponential one.
    """

    nodes: ClassVar[tuple[float, ...]]
    weights: ClassVar[tuple[float, ...]]
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
        beyond = leave_point(field, t, t_next, x, self.evaluations)
        if beyond is not None:
            return beyond, None
        h = t_next - t
        slope, total = x, 0.0
        for node, weight in zip(self.nodes, self.weights, strict=True):
            at = x + (h * node) * slope if node else x
            # Both ends themselves, which fields and their callers tell by identity.
            when = t if node == 0.0 else t_next if node == 1.0 else t + h * node
            slope = field.velocity(at, when)  # type: ignore[misc]
            if weight:
                total = total + weight * slope
        return x + h * total, None


@dataclass(frozen=True)
class Euler(RungeKutta):
    """``x ← x + h v(x, t)``."""

    order: ClassVar[int] = 1
    nodes: ClassVar[tuple[float, ...]] = (0.0,)
    weights: ClassVar[tuple[float, ...]] = (1.0,)


@dataclass(frozen=True)
class Midpoint(RungeKutta):
    """The slope at half of an Euler step."""

    order: ClassVar[int] = 2
    evaluations: ClassVar[int] = 2
    nodes: ClassVar[tuple[float, ...]] = (0.0, 0.5)
    weights: ClassVar[tuple[float, ...]] = (0.0, 1.0)


@dataclass(frozen=True)
class Heun(RungeKutta):
    """The mean of the slopes at both ends of an Euler step (Karras et al. 2022, algorithm 1)."""

    order: ClassVar[int] = 2
    evaluations: ClassVar[int] = 2
    nodes: ClassVar[tuple[float, ...]] = (0.0, 1.0)
    weights: ClassVar[tuple[float, ...]] = (0.5, 0.5)


@dataclass(frozen=True)
class RK4(RungeKutta):
    """The classical method of order four."""

    order: ClassVar[int] = 4
    evaluations: ClassVar[int] = 4
    nodes: ClassVar[tuple[float, ...]] = (0.0, 0.5, 0.5, 1.0)
    weights: ClassVar[tuple[float, ...]] = (1 / 6, 1 / 3, 1 / 3, 1 / 6)
