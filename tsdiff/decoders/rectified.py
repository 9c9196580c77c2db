"""Rectified flow: a flow trained again on pairs of its own noise and samples.

Liu, Gong & Liu (2023), *Flow straight and fast*, algorithm 1: the pairs ``(ε, x_0)`` that a trained
flow makes have the right marginals and cross less than independent ones, so that the flow trained
on them is straighter, and fewer steps follow it. The theory needs straight lines.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from tsdiff.decoders.flow_matching import FlowMatching
from tsdiff.processes import Coefficients, Linear
from tsdiff.processes.couplings import Rectified


def check_straight(path: nn.Module) -> None:
    """Raise a ValueError if flows on ``path`` can't be rectified."""
    if type(path) is not Linear:
        raise ValueError(
            "only flows on straight lines can be rectified (path='linear'), got one on "
            f"{type(path).__name__}"
        )


class RectifiedFlow(FlowMatching):
    """The straightened copy of a trained flow, its *teacher*, whose weights it starts from.

    Data that :meth:`loss` is given are not looked at: each update draws noise, and the teacher
    makes data of it, under the same context.

    Parameters
    ----------
    teacher
        A trained flow on straight lines; it isn't changed.
    num_steps
        Default number of steps of Euler's method, one network evaluation each.
    teacher_solver, teacher_num_steps
        How the teacher makes data.

    Raises
    ------
    ValueError
        If the teacher's path isn't straight.
    """

    teacher: FlowMatching | None

    def __init__(
        self,
        teacher: FlowMatching,
        *,
        num_steps: int = 2,
        teacher_solver: str = "heun",
        teacher_num_steps: int = 12,
    ):
        check_straight(teacher.path)
        super().__init__(
            deepcopy(teacher.network),
            teacher.axes.dim,
            path=Linear(),
            prediction=teacher.prediction,
            coupling=Rectified(),
            times=teacher.times,
            latent="gaussian" if teacher.latent is None else deepcopy(teacher.latent),
            solver="euler",
            num_steps=num_steps,
            preconditioned=teacher.preconditioned,
            weighting=teacher.weighting,
            axes=deepcopy(teacher.axes),
        )
        # A teacher may be frozen.
        self.network.requires_grad_(True)
        # What the data's moments fix, too.
        self.load_state_dict(teacher.state_dict())
        self.teacher = deepcopy(teacher).requires_grad_(False)
        if self.latent is not None:
            # The source that pairs begin at is given.
            self.latent.requires_grad_(False)
        self._teaching: dict[str, Any] = {
            "solver": teacher_solver,
            "num_steps": teacher_num_steps,
        }

    def set_data_moments(self, mean: Tensor, covariance: Tensor) -> None:
        """Do nothing: the teacher's moments are its student's. (Before it has one, its own.)"""
        if getattr(self, "teacher", None) is None:
            super().set_data_moments(mean, covariance)

    def corrupt(
        self,
        data: Tensor,
        t: Tensor,
        k: Coefficients,
        context: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        assert self.teacher is not None
        with torch.no_grad():
            field = self.teacher.field(context)
            noise = self.teacher.draw_source(field, data, generator)
            made = self.teacher.transport(field, noise, **self._teaching)
        return self.between(self.standardised(made), noise, k)

    def released(self) -> RectifiedFlow:
        """Itself without its teacher: it samples, and learns no more."""
        self.teacher = None
        return self
