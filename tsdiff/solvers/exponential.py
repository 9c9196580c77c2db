r"""Integrators of the rotation that a path is for Gaussian data.

Let data be ``x_0 = s ξ`` with a spread ``s``, ``r² = a² s² + b²`` and ``tan θ = b / (a s)``. Then
``u = x / r`` is ``cos θ ξ + sin θ ε``, and along the probability-flow ODE

.. math:: \frac{du}{dθ} = F(u, θ) = \cos θ\,\hat ε - \sin θ\,\hat ξ

with the predictions of the noise and of ``ξ``. This holds for any affine path, whatever ``s``. Of
data ``N(0, s²)`` ``F`` is zero and any number of steps exact; of others it is what they are beyond
that. ``θ`` runs from 0 to at most π/2, and nothing is infinite at either end.

These are exponential integrators (Hochbruck & Ostermann 2010) whose linear part is the flow of a
Gaussian, in place of that of pure noise (as in DPM-Solver++) or of pure data. Everything is
elementwise: axes may have schedules and spreads of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tsdiff.random import Randomness
from tsdiff.solvers.base import Field, Solver

# A step's length by that of the last one, up to which the two are extrapolated from.
_LONGEST = 10.0


def _polar(field: Field, t: Tensor) -> tuple[Tensor, Tensor]:
    """``r`` and ``θ``."""
    a, b = field.signal_noise(t)  # type: ignore[misc]
    signal = a * field.spread.to(a.dtype)  # type: ignore[union-attr]
    return torch.hypot(signal, b), torch.atan2(b.expand_as(signal), signal)


def _rotation(field: Field, x: Tensor, t: Tensor, theta: Tensor) -> Tensor:
    """``F``."""
    data, noise = field.data(x, t), field.noise(x, t)  # type: ignore[misc]
    return theta.cos() * noise - theta.sin() * data / field.spread.to(data.dtype)  # type: ignore[union-attr]


def leaves_point(field: Field, t: Tensor, t_next: Tensor) -> bool:
    """Whether noise grows by a quarter or more within a step, as it does on the way out of a point.

    It is the root of time there, which no polynomial follows. On other paths it falls.
    """
    # Processes that start at a point, and no others, have a volatility of their own.
    if field.volatility is None or field.signal_noise is None or field.data is None:
        return False
    return bool((field.signal_noise(t)[1] <= 0.8 * field.signal_noise(t_next)[1]).all())


def leave_point(
    field: Field, t: Tensor, t_next: Tensor, x: Tensor, evaluations: int = 2
) -> Tensor | None:
    """An exponential step out of a source that is all but a point, else None."""
    if not leaves_point(field, t, t_next):
        return None
    solver = ExponentialAdams() if evaluations == 1 else ExponentialHeun()
    return solver.step(field, t, t_next, x, None)[0]


@dataclass(frozen=True)
class ExponentialHeun(Solver):
    """The mean of ``F`` at both ends of a step."""

    order: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("data", "noise", "signal_noise", "spread")
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
        (r, theta), (r_next, theta_next) = _polar(field, t), _polar(field, t_next)
        h = theta_next - theta
        first = _rotation(field, x, t, theta)
        ahead = r_next * (x / r + h * first)
        mean = 0.5 * (first + _rotation(field, ahead, t_next, theta_next))
        return r_next * (x / r + h * mean), None


@dataclass(frozen=True)
class ExponentialAdams(Solver):
    """Adams-Bashforth in ``θ``: one evaluation per step, a line through this ``F`` and the last."""

    order: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("data", "noise", "signal_noise", "spread")

    def step(
        self,
        field: Field,
        t: Tensor,
        t_next: Tensor,
        x: Tensor,
        state: tuple[Tensor, Tensor, tuple[Tensor, Tensor]] | None,
        *,
        generator: Randomness = None,
    ) -> tuple[Tensor, Any]:
        # Where a step begins is where the last one ended.
        r, theta = _polar(field, t) if state is None else state[2]
        r_next, theta_next = _polar(field, t_next)
        h = theta_next - theta
        slope = _rotation(field, x, t, theta)
        mean = slope
        if state is not None:
            last, last_theta, _ = state
            # A line through two points that are much nearer than the step is long, as on axes that
            # data hardly extend along, multiplies their rounding errors.
            gap = theta - last_theta
            near = gap.abs() * _LONGEST <= h.abs()
            ratio = torch.where(near, 0.0, h / torch.where(near, 1.0, gap))
            mean = slope + 0.5 * ratio * (slope - last)
        return r_next * (x / r + h * mean), (slope, theta, (r_next, theta_next))
