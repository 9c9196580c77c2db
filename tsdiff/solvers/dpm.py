r"""DPM-Solver++ (Lu et al. 2022): linear in the data prediction, exact in all else.

With the half log-SNR ``λ = log(a/b)`` and ``h = λ_s - λ_t`` for a step from ``t`` down to ``s``,
the probability-flow ODE of any affine path is solved by

.. math:: x_s = \frac{b_s}{b_t} x_t + b_s \int_{λ_t}^{λ_s} e^{λ} D(λ)\,dλ,

``D`` being the data prediction along the way. The methods differ in how they extrapolate ``D``: a
constant (that is DDIM), or a line or parabola through earlier steps (2M, 3M) or through a point
within the step (2S). The SDE's solution has the same form (ibid., eq. 16; Gonzalez et al. 2023),

.. math:: x_s = \frac{b_s}{b_t} e^{-h} x_t + 2 a_s \int e^{-2(λ_s - λ)} D(λ)\,dλ
   + b_s \sqrt{1 - e^{-2h}}\, z.

``λ`` is infinite where noise or signal vanish; a step that touches such an end is of order one, and
exact in the limit. Everything is elementwise: axes may have schedules of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from tsdiff.random import Randomness, standard_normal
from tsdiff.solvers.base import Field, Solver


class _Span(NamedTuple):
    """A step's coefficients: ``a`` and ``b`` at its end, ``b_s/b_t``, ``e^{-h}`` and ``h``."""

    a: Tensor
    b: Tensor
    ratio: Tensor
    decay: Tensor
    length: Tensor


def _span(field: Field, t: Tensor, t_next: Tensor) -> _Span:
    (a, b), (a_next, b_next) = field.signal_noise(t), field.signal_noise(t_next)  # type: ignore[misc]
    ratio = b_next / b
    decay = ratio * a / a_next
    return _Span(a_next, b_next, ratio, decay, -decay.log())


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """``whole / part`` where both are finite, 0 where a slope can't be told."""
    known = part.isfinite() & whole.isfinite() & (part > 0.0)
    return torch.where(known, whole / torch.where(known, part, 1.0), 0.0)


@dataclass(frozen=True)
class DPMSolver2S(Solver):
    """Second order from a point in the middle of the step (Lu et al. 2022, algorithm 1)."""

    order: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("data", "signal_noise")
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
        middle = 0.5 * (t + t_next)
        first, second, whole = (
            _span(field, t, middle),
            _span(field, middle, t_next),
            _span(field, t, t_next),
        )
        start = field.data(x, t)  # type: ignore[misc]
        inner = first.ratio * x + first.a * (1.0 - first.decay) * start
        data = field.data(inner, middle)  # type: ignore[misc]
        line = start + 0.5 * _share(first.length, whole.length) * (data - start)
        ahead = whole.ratio * x + whole.a * (1.0 - whole.decay) * line
        # Where λ is infinite at an end, two steps of order one.
        twice = second.ratio * inner + second.a * (1.0 - second.decay) * data
        return torch.where(whole.length.isfinite(), ahead, twice), None


@dataclass(frozen=True)
class DPMSolverMultistep(Solver):
    """The multistep methods: one evaluation per step.

    The first step of the third order is of :class:`DPMSolver2S`: one of order one would cost the
    whole run an order.
    """

    needs: ClassVar[tuple[str, ...]] = ("data", "signal_noise")

    def step(
        self,
        field: Field,
        t: Tensor,
        t_next: Tensor,
        x: Tensor,
        state: tuple[tuple[Tensor, Tensor], ...] | None,
        *,
        generator: Randomness = None,
    ) -> tuple[Tensor, Any]:
        data, span = field.data(x, t), _span(field, t, t_next)  # type: ignore[misc]
        past = state or ()
        if self.order > 2 and not past:
            moved, _ = DPMSolver2S().step(field, t, t_next, x, None)
        else:
            moved = self._move(x, data, span, past, generator)
        return moved, ((data, span.length), *past)[: self.order - 1]

    def _move(
        self,
        x: Tensor,
        data: Tensor,
        span: _Span,
        past: tuple[tuple[Tensor, Tensor], ...],
        generator: Randomness,
    ) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class DPMSolver2M(DPMSolverMultistep):
    """A line through this data prediction and the last (Lu et al. 2022, algorithm 2)."""

    order: ClassVar[int] = 2

    def _move(
        self,
        x: Tensor,
        data: Tensor,
        span: _Span,
        past: tuple[tuple[Tensor, Tensor], ...],
        generator: Randomness,
    ) -> Tensor:
        line = data + 0.5 * _change(data, span, past)
        return span.ratio * x + span.a * (1.0 - span.decay) * line


@dataclass(frozen=True)
class DPMSolver3M(DPMSolverMultistep):
    """A parabola through this data prediction and the last two."""

    order: ClassVar[int] = 3

    def _move(
        self,
        x: Tensor,
        data: Tensor,
        span: _Span,
        past: tuple[tuple[Tensor, Tensor], ...],
        generator: Randomness,
    ) -> Tensor:
        # D(τ) = data + slope τ + bend τ², with τ from 0 to 1 over the step.
        slope, h = _change(data, span, past), span.length
        bend = torch.zeros_like(data)
        if len(past) > 1:
            (last, last_h), (before, before_h) = past
            earlier = (last - before) * _share(before_h, h)
            r, q = _share(h, last_h), _share(h, before_h)
            known = (r > 0.0) & (q > 0.0)
            bend = torch.where(known, (slope - earlier) / torch.where(known, r + q, 1.0), 0.0)
            slope = slope + r * bend
        # Moments of 1, τ and τ² under the exponential weight.
        finite = h.isfinite()
        width = torch.where(finite, h, 1.0)
        zero = torch.where(finite, -torch.expm1(-width), 1.0)
        one = torch.where(finite, 1.0 - zero / width, 0.0)
        two = torch.where(finite, 1.0 - 2.0 * one / width, 0.0)
        return span.ratio * x + span.a * (zero * data + one * slope + two * bend)


@dataclass(frozen=True)
class DPMSolverSDE(DPMSolverMultistep):
    """The second-order multistep method for the SDE (2M, stochastic)."""

    order: ClassVar[int] = 2

    def _move(
        self,
        x: Tensor,
        data: Tensor,
        span: _Span,
        past: tuple[tuple[Tensor, Tensor], ...],
        generator: Randomness,
    ) -> Tensor:
        line = data + 0.5 * _change(data, span, past)
        lost = 1.0 - span.decay * span.decay
        noise = span.b * lost.clamp_min(0.0).sqrt() * standard_normal(x, generator)
        return span.ratio * span.decay * x + span.a * lost * line + noise


def _change(data: Tensor, span: _Span, past: tuple[tuple[Tensor, Tensor], ...]) -> Tensor:
    """By how much the data prediction will change over the step, by its last change."""
    if not past:
        return torch.zeros_like(data)
    last, length = past[0]
    return (data - last) * _share(length, span.length)
