r"""Sampling by maps to the end of the flow.

Where the end ``f(x, t)`` of the probability-flow ODE through ``(x, t)`` is known at once, one
evaluation at the source is a sample. What the map gets wrong over so long a way, further ones
mend, each after noise is put back (Song, Dhariwal, Chen & Sutskever 2023, *Consistency models*,
algorithm 1):

.. math:: \hat x_0 = f(x_t, t), \qquad x_s = a_s\,\hat x_0 + b_s\,ε, \qquad s < t.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from tsdiff.random import Randomness, standard_normal
from tsdiff.solvers.base import Field, Solver


@dataclass(frozen=True)
class Multistep(Solver):
    """Map to the data, and put noise back up to the next time: none at the last.

    The noise is the process' own where that isn't Gaussian. Of an exact map every step is exact in
    law, whatever the grid.
    """

    order: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("endpoint", "signal_noise")

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
        data = field.endpoint(x, t)  # type: ignore[misc]
        if not bool(t_next > 0.0):
            return data, None
        signal, level = field.signal_noise(t_next)  # type: ignore[misc]
        draw = field.draw_noise or standard_normal
        return signal * data + level * draw(x, generator), None
