"""Euler-Maruyama for the time-reversed stochastic differential equation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from torch import Tensor

from tsdiff.random import Randomness, standard_normal
from tsdiff.solvers.base import Field, MissingFieldError, Solver
from tsdiff.solvers.ddim import Ancestral
from tsdiff.solvers.exponential import leaves_point

# Below this ratio of signal to noise, the native diffusion is as good as infinite.
_NO_SIGNAL = 1e-3


@dataclass(frozen=True)
class EulerMaruyama(Solver):
    r"""One member of the family of samplers with the same marginals.

    In the direction of falling ``t``, with ``τ = -t``,
    ``dx = [-v + ½ g̃² s] dτ + g̃ dw`` for any ``g̃(t) ≥ 0``; ``g̃ = g``, the default, is the time
    reversal of the forward process (Anderson 1982; Song et al. 2021, eq. 6). Where ``a(t) = 0``
    the native ``g`` is infinite: there, the exact Gaussian transition is taken instead
    (:class:`~tsdiff.solvers.Ancestral`), and with any function ``g̃`` out of a source that is a
    point.

    Parameters
    ----------
    diffusion
        ``g̃``: a function of ``t`` ``[1, 1, 1]``; ``"native"``, or ``"volatility"``, the one that a
        point-source interpolant is built with.
    """

    diffusion: Callable[[Tensor], Tensor] | Literal["native", "volatility"] = "native"

    order: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("velocity", "score", "diffusion")

    def __post_init__(self) -> None:
        if not callable(self.diffusion) and self.diffusion not in ("native", "volatility"):
            raise ValueError(
                "diffusion must be 'native', 'volatility' or a function of t, "
                f"got {self.diffusion!r}"
            )

    def check(self, field: Field) -> None:
        if self.diffusion == "volatility" and field.volatility is None:
            raise MissingFieldError(
                f"solver {type(self).__name__} with the interpolant's own diffusion needs a "
                f"volatility, and {field.name} has none: choose 'native' or a function of t"
            )
        known = self.diffusion == "native"
        super().check(field if known else replace(field, diffusion=self._level(field)))

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
        # Out of a point the score is as good as infinite, and only two coefficients balance it.
        unbalanced = callable(self.diffusion) and leaves_point(field, t, t_next)
        if unbalanced or self._diverges(field, t):
            return Ancestral().step(field, t, t_next, x, state, generator=generator)
        h = t - t_next
        noise = self._level(field)(t) * h.sqrt() * standard_normal(x, generator)
        return x + h * self._drift(field, x, t) + noise, None

    def _level(self, field: Field) -> Callable[[Tensor], Tensor]:
        """``g̃``."""
        named = {"native": field.diffusion, "volatility": field.volatility}
        return self.diffusion if callable(self.diffusion) else named[self.diffusion]  # type: ignore[return-value]

    def _drift(self, field: Field, x: Tensor, t: Tensor) -> Tensor:
        level = self._level(field)(t)
        return 0.5 * level * level * field.score(x, t) - field.velocity(x, t)  # type: ignore[misc]

    def _diverges(self, field: Field, t: Tensor) -> bool:
        if self.diffusion != "native" or field.signal_noise is None or field.data is None:
            return False
        a, b = field.signal_noise(t)
        return bool((a <= _NO_SIGNAL * b).all())
