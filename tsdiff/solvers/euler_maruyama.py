"""Euler-Maruyama for the time-reversed stochastic differential equation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from tsdiff.random import Randomness, standard_normal
from tsdiff.solvers.base import Field, Solver
from tsdiff.solvers.ddim import Ancestral

# Below this ratio of signal to noise, the native diffusion is as good as infinite.
_NO_SIGNAL = 1e-3


@dataclass(frozen=True)
class EulerMaruyama(Solver):
    r"""One member of the family of samplers with the same marginals.

    In the direction of falling ``t``, with ``τ = -t``,
    ``dx = [-v + ½ g̃² s] dτ + g̃ dw`` for any ``g̃(t) ≥ 0``; ``g̃ = g``, the default, is the time
    reversal of the forward process (Anderson 1982; Song et al. 2021, eq. 6). Where ``a(t) = 0``
    the native ``g`` is infinite: there, the exact Gaussian transition is taken instead
    (:class:`~tsdiff.solvers.Ancestral`).

    Parameters
    ----------
    diffusion
        ``g̃``: a function of ``t`` ``[1, 1, 1]``; None takes the process' own.
    """

    diffusion: Callable[[Tensor], Tensor] | None = None

    order: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("velocity", "score", "diffusion")

    def check(self, field: Field) -> None:
        own = field if self.diffusion is None else replace(field, diffusion=self.diffusion)
        super().check(own)

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
            return Ancestral().step(field, t, t_next, x, state, generator=generator)
        h = t - t_next
        noise = self._level(field, t) * h.sqrt() * standard_normal(x, generator)
        return x + h * self._drift(field, x, t) + noise, None

    def _level(self, field: Field, t: Tensor) -> Tensor:
        """``g̃``."""
        return (self.diffusion or field.diffusion)(t)  # type: ignore[misc]

    def _drift(self, field: Field, x: Tensor, t: Tensor) -> Tensor:
        level = self._level(field, t)
        return 0.5 * level * level * field.score(x, t) - field.velocity(x, t)  # type: ignore[misc]

    def _diverges(self, field: Field, t: Tensor) -> bool:
        if self.diffusion is not None or field.signal_noise is None or field.data is None:
            return False
        a, b = field.signal_noise(t)
        return bool((a <= _NO_SIGNAL * b).all())
