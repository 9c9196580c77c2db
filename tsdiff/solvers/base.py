"""What a solver may ask for, what it is, and the one loop that drives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from tsdiff.random import Randomness

Evaluation = Callable[[Tensor, Tensor], Tensor]
"""``(x [B, T, D], t [1, 1, 1]) -> [B, T, D]``; one call is one network evaluation."""


class MissingFieldError(ValueError):
    """A solver was asked to run on a process that lacks what it needs."""


@dataclass(frozen=True)
class Field:
    """What is known about a process at ``(x, t)``; ``None`` where it does not exist.

    Asking for several of them at the same ``(x, t)`` should cost one network evaluation: who
    makes a field remembers the last point.

    Attributes
    ----------
    velocity
        Velocity of the probability-flow ODE, ``dx/dt``.
    score
        ``∇ log p_t``.
    data
        The data prediction ``E[x_0 | x_t]``.
    noise
        The noise prediction ``E[ε | x_t]``.
    diffusion
        Native diffusion coefficient ``g(t)``, shaped like ``t``.
    volatility
        Diffusion coefficient ``σ(t)`` that a point-source interpolant is built with, likewise.
    signal_noise
        ``a(t), b(t)`` of an affine path, shaped like ``t``.
    data_variance
        ``Var(x_0 | x_t)`` as it would be of Gaussian data, a function of ``t``, ``[1, 1, 1]`` or
        ``[1, 1, D]``.
    spread
        Standard deviation that data have about along each axis, ``[D]`` or one number.
    endpoint
        Where the probability-flow ODE through ``(x, t)`` ends: the data that ``x`` becomes.
    draw_noise
        ``(like, generator) -> ε`` of the shape of ``like``, where noise isn't standard normal.
    name
        What error messages call the process.
    """

    velocity: Evaluation | None = None
    score: Evaluation | None = None
    data: Evaluation | None = None
    noise: Evaluation | None = None
    diffusion: Callable[[Tensor], Tensor] | None = None
    volatility: Callable[[Tensor], Tensor] | None = None
    signal_noise: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    data_variance: Callable[[Tensor], Tensor] | None = None
    spread: Tensor | None = None
    endpoint: Evaluation | None = None
    draw_noise: Callable[[Tensor, Randomness], Tensor] | None = None
    name: str = "process"


@dataclass(frozen=True)
class Solver:
    """One step at a time from ``t`` down to ``t_next``; stateless.

    Attributes
    ----------
    order
        Order of convergence: global error of the ODE, or weak order for an SDE.
    needs
        Names of the :class:`Field` entries that are called.
    evaluations
        Network evaluations per step.
    """

    order: ClassVar[int]
    needs: ClassVar[tuple[str, ...]]
    evaluations: ClassVar[int] = 1

    def step(
        self,
        field: Any,
        t: Tensor,
        t_next: Tensor,
        x: Tensor,
        state: Any,
        *,
        generator: Randomness = None,
    ) -> tuple[Tensor, Any]:
        """Advance ``x [B, T, D]`` from ``t`` to ``t_next < t``, both ``[1, 1, 1]``.

        ``state`` is what the previous step of a multi-step method returned, None at first.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no step")

    def check(self, field: Field) -> None:
        """Raise :class:`MissingFieldError` if ``field`` lacks what the solver needs."""
        missing = [need for need in self.needs if getattr(field, need) is None]
        if missing:
            raise MissingFieldError(
                f"solver {type(self).__name__} needs the {' and the '.join(missing)} of a "
                f"process, and {field.name} has none: choose another solver"
            )


def integrate(
    field: Field,
    solver: Solver,
    x: Tensor,
    times: Tensor,
    *,
    generator: Randomness = None,
    watch: Callable[[Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Carry ``x`` along falling ``times`` and return it at the last one.

    Parameters
    ----------
    field
        The process to integrate.
    x
        The state at ``times[0]``, ``[B, T, D]``.
    times
        Strictly falling, ``[num_steps + 1]``; usually from 1 to 0.
    generator
        Noise source of stochastic solvers.
    watch
        Is shown ``(x, t)`` before every step, and at the end. Asking the field at the point it is
        shown costs no network evaluation beyond the solver's own.

    Raises
    ------
    MissingFieldError
        If the field lacks what the solver needs.
    ValueError
        If the times do not fall, be it only in the precision of ``x``.

    Examples
    --------
    >>> import torch
    >>> decay = Field(velocity=lambda x, t: -x, name="decay")
    >>> from tsdiff.solvers import Heun
    >>> x = integrate(decay, Heun(), torch.ones(1, 1, 1), torch.linspace(1, 0, 101))
    >>> bool(abs(x.item() - torch.e) < 1e-4)
    True
    """
    solver.check(field)
    falling = times.to(x.dtype)
    if times.ndim != 1 or len(times) < 2 or not bool((falling.diff() < 0).all()):
        raise ValueError(
            f"times must fall strictly in {str(x.dtype).removeprefix('torch.')} and number at "
            f"least two, got {times.tolist()}"
        )
    state, moments = None, falling.to(x.device).view(-1, 1, 1, 1).unbind()
    for t, t_next in pairwise(moments):
        if watch is not None:
            watch(x, t)
        x, state = solver.step(field, t, t_next, x, state, generator=generator)
    if watch is not None:
        watch(x, moments[-1])
    return x


def check_steps(num_steps: int) -> int:
    """``num_steps`` itself if it is a positive integer, else a ValueError."""
    whole = not isinstance(num_steps, bool) and hasattr(num_steps, "__index__")
    if not whole or num_steps < 1:
        raise ValueError(f"num_steps must be a positive integer, got {num_steps!r}")
    return int(num_steps)


def times_from(values: Tensor) -> Tensor:
    """Pin the ends of a grid to exactly 1 and 0, whatever rounding did to them."""
    values = values.to(torch.float64)
    values[0], values[-1] = 1.0, 0.0
    return values
