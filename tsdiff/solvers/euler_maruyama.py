"""Euler-Maruyama for the time-reversed stochastic differential equation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from tsdiff.random import Randomness, standard_normal
from tsdiff.solvers.base import Field, Solver


@dataclass(frozen=True)
class EulerMaruyama(Solver):
    r"""One member of the family of samplers with the same marginals.

    In the direction of falling ``t``, with ``τ = -t``,
    ``dx = [-v + ½ g̃² s] dτ + g̃ dw`` for any ``g̃(t) ≥ 0``; ``g̃ = g``, the default, is the time
    reversal of the forward process (Anderson 1982; Song et al. 2021, eq. 6).

    Parameters
    ----------
    diffusion
        ``g̃``: a function of ``t`` ``[1, 1, 1]``; None takes the process' own.
    """

    diffusion: Callable[[Tensor], Tensor] | None = None

    order: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("velocity", "score", "diffusion")

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
        h = t - t_next
        g = (self.diffusion or field.diffusion)(t)
        drift = 0.5 * g * g * field.score(x, t) - field.velocity(x, t)
        return x + h * drift + g * h.sqrt() * standard_normal(x, generator), None
