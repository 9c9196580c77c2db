r"""Consistency models: the end of the flow, learned from data or from a trained decoder.

``f(u, θ) = u - θ G`` (:mod:`tsdiff.decoders.few_step`) is constant along the flow ``du/dθ = F``,
and so the flow's end, if and only if

.. math:: G = F - θ\,\frac{dG}{dθ}, \qquad
   \frac{dG}{dθ} = \frac{\partial G}{\partial u} F + \frac{\partial G}{\partial θ}.

This is the consistency condition of Song et al. (2023) in continuous time (Lu & Song 2025,
*Simplifying, stabilizing and scaling continuous-time consistency models*, sec. 3), and the identity
of mean flows (Geng et al. 2025, eq. 6) for the end time 0. ``G`` is regressed on the right-hand
side, held fixed: one product of the network's Jacobian with a direction, by forward-mode
differentiation. With

* ``F`` of a trained decoder, the teacher, this is *distillation*: the target has no noise;
* ``F = cos θ ε - sin θ ξ`` of the sample itself it is *training*: the right-hand side is linear in
  ``F``, so that its mean given ``u`` is the same.

Where axes have angles ``θ_i`` of their own,
``G_i = F_i - (θ_i/θ_i') dG_i/dt`` with ``du_i/dt = θ_i' F_i``; directions are scaled by a common
``θ/θ'``, so that nothing diverges as ``t → 0``.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from tsdiff.decoders.axes import Axes
from tsdiff.decoders.base import AffineDecoder, Evaluate
from tsdiff.decoders.decoder import Decoder
from tsdiff.decoders.few_step import FewStepDecoder, radius_angle
from tsdiff.networks import Network
from tsdiff.processes import AffinePath, Coefficients, FixedBasisSDE, Trigonometric
from tsdiff.random import standard_normal
from tsdiff.solvers import Grid, Solver


class Consistency(FewStepDecoder):
    """A consistency model of data, or of a teacher's flow.

    Parameters
    ----------
    network, target_dim, solver, num_steps, grid, preconditioned, axes
        As in :class:`~tsdiff.decoders.few_step.FewStepDecoder`.
    path
        None is a quarter turn, whose time is the angle itself. Any other path with Gaussian noise
        has the same flow in ``(u, θ)``, by another clock.
    teacher
        A trained decoder on the same path and axes, whose flow is distilled: see :meth:`student`.
    robustness
        ``p`` of the weight ``1/(|Δ|² + 0.01)^p`` on a row's mean squared error (Geng et al. 2025,
        eq. 22); None is 1/2 for a student and 0 without a teacher. The weight knows the noise of
        the target: with it, training is drawn to the target's median instead of its mean, which
        is another map where few dimensions have far modes. A teacher's slope has no noise.
    """

    teacher: AffineDecoder | None

    def __init__(
        self,
        network: Network,
        target_dim: int,
        *,
        path: AffinePath | FixedBasisSDE | None = None,
        teacher: AffineDecoder | None = None,
        robustness: float | None = None,
        solver: str | Solver = "consistency",
        num_steps: int = 2,
        grid: str | Grid | None = None,
        preconditioned: bool = True,
        axes: str | Axes | None = None,
    ):
        super().__init__(
            network,
            target_dim,
            path=Trigonometric() if path is None else path,
            solver=solver,
            num_steps=num_steps,
            grid=grid,
            preconditioned=preconditioned,
            axes=axes,
        )
        self.given_robustness = robustness
        self.teacher = teacher

    @property
    def robustness(self) -> float:
        """``p`` of the loss, in force."""
        usual = 0.0 if self.teacher is None else 0.5
        return usual if self.given_robustness is None else self.given_robustness

    @property
    def objective(self) -> str:
        """``"distillation"`` of a teacher, else ``"training"``."""
        return "training" if self.teacher is None else "distillation"

    @classmethod
    def like(cls, teacher: AffineDecoder, network: Network, **options: Any) -> Consistency:
        """An untrained model on the path of ``teacher``, along its axes, in its units.

        Raises
        ------
        ValueError
            If the teacher has no path with independent Gaussian noise, or is no flow.
        """
        check_teacher(teacher)
        model = cls(
            network,
            teacher.axes.dim,
            path=deepcopy(teacher.path),
            axes=deepcopy(teacher.axes),
            preconditioned=teacher.preconditioned,
            **options,
        )
        # A new decoder has the moments of N(0, I).
        model.axes.load_state_dict(teacher.axes.state_dict())
        model.path.load_state_dict(teacher.path.state_dict())
        model.source_mean.copy_(teacher.source_mean)
        model.source_factor.copy_(teacher.source_factor)
        return model

    @classmethod
    def student(cls, teacher: AffineDecoder, **options: Any) -> Consistency:
        """The model that distils ``teacher``, which isn't changed.

        A preconditioned teacher's network is what the student's starts from: ``G = F`` is right as
        ``θ → 0``. Options are those of the class. Source and moments are the teacher's; but of
        VSDM, whose source follows the context, the student has the pooled one.

        Raises
        ------
        ValueError
            As :meth:`like`.
        """
        network = deepcopy(teacher.network).requires_grad_(True)
        student = cls.like(teacher, network, **options)
        if not teacher.preconditioned:
            network.clear_output()
        student.teacher = deepcopy(teacher).requires_grad_(False)
        return student

    def set_data_moments(self, mean: Tensor, covariance: Tensor) -> None:
        """Do nothing to a student: the teacher's moments are its own."""
        if getattr(self, "teacher", None) is None:
            super().set_data_moments(mean, covariance)

    def released(self) -> Consistency:
        """Itself without its teacher."""
        self.teacher = None
        return self

    def _loss(
        self, network: Evaluate, x0: Tensor, context: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        data = self.standardised(self.axes.enter(x0))
        t = self.draw_times(x0.shape[0], x0, generator)
        k = self.coefficients(t)
        noise = standard_normal(data, generator)
        u = (k.a * data + k.b * noise) / torch.hypot(k.a, k.b)
        slope = self.slope(u, t, k, data, noise, context)
        error = self.mean_slope(network, u, t) - self.target(network, u, t, k, slope)
        if self.robustness > 0.0:
            size = error.detach().square().mean((1, 2), keepdim=True)
            error = error * (size + 1e-2) ** (-0.5 * self.robustness)
        return self.axes.across(error).square()

    def slope(
        self, u: Tensor, t: Tensor, k: Coefficients, data: Tensor, noise: Tensor, context: Tensor
    ) -> Tensor:
        """``F`` at ``(u, t)``: the teacher's, or the sample's own."""
        if self.teacher is None:
            return (k.a * noise - k.b * data) / torch.hypot(k.a, k.b)
        with torch.no_grad():
            return self.teacher.rotation(context)(u, t)

    def target(
        self, network: Evaluate, u: Tensor, t: Tensor, k: Coefficients, slope: Tensor
    ) -> Tensor:
        """``F - θ dG/dθ`` at ``(u, t)``, ``[B, T, D]``, without gradient."""
        r, theta = radius_angle(k)
        turning = k.wronskian / r.square()
        pace = theta / turning
        common = pace.mean(-1, keepdim=True)
        ways = (common * turning * slope, common.expand_as(t))
        with torch.no_grad():
            product = torch.func.jvp(lambda u, t: self.mean_slope(network, u, t), (u, t), ways)
            change: Tensor = product[1]
            return slope - pace / common * change


def check_teacher(teacher: Decoder) -> None:
    """Raise a ValueError unless the flow of ``teacher`` can be distilled."""
    if isinstance(teacher, FewStepDecoder):
        raise ValueError(f"{type(teacher).__name__} takes few steps already: distil a flow")
    if not isinstance(teacher, AffineDecoder) or not teacher.gaussian:
        raise ValueError(
            "only decoders of independent Gaussian noise can be distilled: the student puts such "
            f"noise back between its steps, and the noise of this {type(teacher).__name__} is "
            "coupled to the data, or isn't Gaussian"
        )
