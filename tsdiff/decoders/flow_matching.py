"""Flow matching along any affine path (Lipman et al. 2023, eq. 23; Liu et al. 2023, eq. 1)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tsdiff.decoders.axes import Axes
from tsdiff.decoders.base import AffineDecoder, PathMaker, Weighting, path_maker
from tsdiff.networks import Network
from tsdiff.processes import (
    AffinePath,
    Coefficients,
    Linear,
    LipschitzOptimal,
    Trigonometric,
    VariancePreserving,
)
from tsdiff.processes.couplings import Coupling, as_coupling
from tsdiff.solvers import Field, Grid, Solver

FLOWS: dict[str, PathMaker] = {
    "linear": Linear,
    "cosine": Trigonometric,
    "vp": VariancePreserving,
    "lipschitz": LipschitzOptimal,
}
"""Paths of flow matching, by name."""

TIMES = ("uniform", "logit_normal")
"""How training times are drawn."""


class FlowMatching(AffineDecoder):
    """Velocity prediction along ``x_t = a(t) x_0 + b(t) ε``, sampled by an ODE solver.

    Parameters
    ----------
    network, target_dim, prediction, preconditioned, axes
        As in :class:`AffineDecoder`.
    weighting
        As in :class:`AffineDecoder`; but None is :func:`rotation_weight` for the velocity of a path
        that isn't smooth, whose plain squared error is dominated by the ends of the path.
    path
        Any affine path, or a name in :data:`FLOWS`: ``"linear"``, straight lines; ``"cosine"``;
        ``"vp"``; ``"lipschitz"``, with the data's own spectrum along their principal axes.
    coupling
        Which noise goes with which data: see :mod:`tsdiff.processes.couplings`. With any but
        independent pairs the process has a velocity and no score, and stochastic solvers refuse it.
    times
        ``"uniform"``, or ``"logit_normal"``, more in the middle (Esser et al. 2024, sec. 3.1).
    solver, num_steps, grid
        Default sampler: six steps of Heun's method, twelve network evaluations; of its exponential
        kin where the path isn't smooth.
    """

    def __init__(
        self,
        network: Network,
        target_dim: int,
        *,
        path: str | AffinePath = "linear",
        prediction: str = "velocity",
        coupling: str | Coupling = "independent",
        times: str = "uniform",
        solver: str | Solver | None = None,
        num_steps: int = 6,
        grid: str | Grid = "uniform",
        preconditioned: bool = True,
        weighting: Weighting | None = None,
        axes: str | Axes | None = None,
    ):
        if isinstance(path, str):
            path = path_maker(path, FLOWS, "path")()
        if times not in TIMES:
            raise ValueError(f"unknown times {times!r}: expected one of {', '.join(TIMES)}")
        if axes is None and preconditioned and isinstance(path, LipschitzOptimal):
            axes = "principal"
        self.times, self.coupling = times, as_coupling(coupling)
        if solver is None:
            # Whatever is coupled has a velocity alone.
            smooth = path.smooth or not self.coupling.independent
            solver = "heun" if smooth else "exponential_heun"
        if weighting is None and prediction == "velocity" and not path.smooth:
            weighting = rotation_weight
        super().__init__(
            network,
            path,
            target_dim,
            prediction=prediction,
            solver=solver,
            num_steps=num_steps,
            grid=grid,
            preconditioned=preconditioned,
            weighting=weighting,
            axes=axes,
        )

    def draw_times(self, rows: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
        if self.times == "uniform":
            return super().draw_times(rows, like, generator)
        z = torch.randn((rows, 1, 1), dtype=like.dtype, device=like.device, generator=generator)
        return self.path.clip(torch.sigmoid(z))

    def pair(self, data: Tensor, noise: Tensor, context: Tensor) -> Tensor:
        if self.coupling.independent:
            return noise
        return noise[self.coupling(data, noise, context)]

    def field(self, context: Tensor) -> Field:
        field = super().field(context)
        if self.coupling.independent:
            return field
        name = f"{field.name} with coupled noise"
        unknown = dict.fromkeys(("score", "data", "noise", "diffusion", "data_variance"))
        return replace(field, name=name, **unknown)


def rotation_weight(k: Coefficients) -> Tensor:
    """``(a² + b²) / (a b' - a' b)²``: the velocity's error as that of the rotation behind it.

    Of a preconditioned network it is the error of its output; ``t`` may be any clock.
    """
    return (k.a * k.a + k.b * k.b) / k.wronskian.square()
