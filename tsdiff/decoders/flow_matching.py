"""Flow matching along any affine path (Lipman et al. 2023, eq. 23; Liu et al. 2023, eq. 1)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tsdiff.decoders.axes import Axes
from tsdiff.decoders.base import AffineDecoder, Evaluate, PathMaker, Weighting, path_maker
from tsdiff.networks import Network
from tsdiff.processes import (
    AffinePath,
    Coefficients,
    Kac,
    Linear,
    LipschitzOptimal,
    MeanReverting,
    QuantileLatent,
    Trigonometric,
    Uniform,
    VariancePreserving,
)
from tsdiff.processes.couplings import Coupling, OptimalTransport, Rectified, as_coupling
from tsdiff.processes.quantile import TRANSPORTS
from tsdiff.random import Randomness, standard_normal
from tsdiff.solvers import Field, Grid, Solver

FLOWS: dict[str, PathMaker] = {
    "linear": Linear,
    "cosine": Trigonometric,
    "vp": VariancePreserving,
    "lipschitz": LipschitzOptimal,
    "kac": Kac,
    "uniform": Uniform,
}
"""Paths of flow matching, by name."""

TIMES = ("uniform", "logit_normal")
"""How training times are drawn."""

LATENTS = ("gaussian", "learned")
"""Laws of the noise, where the path has none of its own."""


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
        ``"vp"``; ``"lipschitz"``, with the data's own spectrum along their principal axes. Noise
        that isn't Gaussian: ``"kac"``, the telegraph process, and ``"uniform"``.
    coupling
        Which noise goes with which data: see :mod:`tsdiff.processes.couplings`. With any but
        independent pairs of Gaussian noise the process has a velocity and no score: what needs
        more, such as any stochastic solver, refuses it.
    times
        ``"uniform"``, or ``"logit_normal"``, more in the middle (Esser et al. 2024, sec. 3.1).
    latent
        Law of the noise: ``"gaussian"``, or ``"learned"``, a quantile function for each dimension
        (:class:`~tsdiff.processes.quantile.QuantileLatent`) that is trained along, on
        straight lines, by
        ``loss + latent_weight · W_2²(data, latent)`` (Chemseddine et al. 2025). The latent follows
        the loss of the velocity only where ``coupling`` is plain transport, as published: of other
        pairs that loss would make it narrow, whatever the data.
    latent_weight
        Its ``λ > 0``.
    energy
        How ``W_2`` is measured: ``"joint"``, between events, or ``"marginal"``, dimension by
        dimension; see :func:`~tsdiff.processes.quantile.transport_energy`.
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
        latent: str | QuantileLatent = "gaussian",
        latent_weight: float = 1.0,
        energy: str = "joint",
        solver: str | Solver | None = None,
        num_steps: int = 6,
        grid: str | Grid | None = None,
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
        coupling = as_coupling(coupling)
        if latent == "learned":
            latent = QuantileLatent(target_dim)
        if isinstance(latent, str) and latent != "gaussian":
            raise ValueError(f"unknown latent {latent!r}: expected one of {', '.join(LATENTS)}")
        learned = latent if isinstance(latent, QuantileLatent) else None
        _check_latent(path, prediction, coupling, learned, latent_weight, energy)
        gaussian = learned is None and path.gaussian
        if solver is None:
            # Whatever is coupled, or not Gaussian, has a velocity alone.
            smooth = path.smooth or not (gaussian and coupling.independent)
            solver = "heun" if smooth else "exponential_heun"
        if grid is None:
            # Telegraph noise starts at full speed.
            grid = "quadratic" if isinstance(path, Kac) else "uniform"
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
        self.times, self.coupling, self.latent = times, coupling, learned
        self.latent_weight, self.energy, self._gaussian = latent_weight, energy, gaussian

    def draw_times(self, rows: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
        if self.times == "uniform":
            return super().draw_times(rows, like, generator)
        z = torch.randn((rows, 1, 1), dtype=like.dtype, device=like.device, generator=generator)
        return self.path.clip(torch.sigmoid(z))

    def corrupt(
        self,
        data: Tensor,
        t: Tensor,
        k: Coefficients,
        context: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        if isinstance(self.path, MeanReverting):
            moved, velocity = self.path.displacement(data, t, generator)
            return k.a * data + moved, k.da * data + velocity
        noise = self._draw_noise(data, generator)
        if not self.coupling.independent:
            noise = noise[self.coupling(data, noise.detach(), context)]
        if not self._moves_latent:
            noise = noise.detach()
        return self.between(data, noise, k)

    def _loss(
        self, network: Evaluate, x0: Tensor, context: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        loss = super()._loss(network, x0, context, generator)
        if self.latent is None or isinstance(self.coupling, Rectified):
            return loss
        data = self.axes.enter(x0)
        return loss + self.latent_weight * self.latent.distance(
            data, form=self.energy, generator=generator
        )

    def _draw_noise(self, like: Tensor, generator: Randomness) -> Tensor:
        if self.latent is None:
            return standard_normal(like, generator)
        return self.latent.draw(like, generator)

    def draw_source(self, field: Field, like: Tensor, generator: Randomness = None) -> Tensor:
        if isinstance(self.path, MeanReverting):
            return self.path.draw_source(like, generator)
        if self.latent is not None:
            return self.latent.draw(like, generator)
        return super().draw_source(field, like, generator)

    def source_log_prob(
        self, field: Field, x1: Tensor, *, draws: int = 256, generator: Randomness = None
    ) -> Tensor:
        if isinstance(self.path, MeanReverting):
            return self.path.source_log_density(x1).flatten(1).sum(1)
        if self.latent is not None:
            # Tails may be so light that logarithms leave single precision, and double in the end.
            steps = self.latent.log_density(x1.double())
            return torch.where(steps.isnan() & x1.isfinite(), -torch.inf, steps).flatten(1).sum(1)
        return super().source_log_prob(field, x1)

    def field(self, context: Tensor, *, condition_weight: float = 1.0) -> Field:
        field = super().field(context, condition_weight=condition_weight)
        if self.gaussian:
            return field
        what = "coupled noise" if self._gaussian else "noise that isn't Gaussian"
        unknown = dict.fromkeys(("score", "data", "noise", "diffusion", "data_variance"))
        return replace(field, name=f"{field.name} with {what}", **unknown)

    @property
    def gaussian(self) -> bool:
        return self._gaussian and self.coupling.independent

    @property
    def _moves_latent(self) -> bool:
        """Whether a learned latent follows the flow's own loss as well.

        Of independent pairs that loss falls with the noise, whatever the data: of ``N(0, I)`` and a
        latent of scale ``s`` it is ``s π/2``, so that ``s = 1 - π/(4 λ)`` is best. Of plainly
        transported pairs it falls where the latent is like the data.
        """
        pairs = self.coupling
        return isinstance(pairs, OptimalTransport) and pairs.condition_weight == 0.0


def _check_latent(
    path: AffinePath,
    prediction: str,
    coupling: Coupling,
    latent: QuantileLatent | None,
    weight: float,
    energy: str,
) -> None:
    name = type(path).__name__
    if isinstance(path, MeanReverting):
        if latent is not None:
            raise ValueError(f"{name} has noise of its own: no latent can be learned")
        if prediction != "velocity":
            raise ValueError(f"on {name} only the velocity is predicted, not the {prediction}")
        if not coupling.independent:
            raise ValueError(f"{name} draws its noise for each time anew: it can't be coupled")
    if latent is not None and not isinstance(path, Linear):
        raise ValueError(f"a latent is learned on straight lines (path='linear'), not on {name}")
    if energy not in TRANSPORTS:
        raise ValueError(f"unknown energy {energy!r}: expected one of {', '.join(TRANSPORTS)}")
    if latent is not None and not 0.0 < weight < float("inf"):
        raise ValueError(f"latent_weight must be positive and finite, got {weight}")


def rotation_weight(k: Coefficients) -> Tensor:
    """``(a² + b²) / (a b' - a' b)²``: the velocity's error as that of the rotation behind it.

    Of a preconditioned network it is the error of its output; ``t`` may be any clock.
    """
    return (k.a * k.a + k.b * k.b) / k.wronskian.square()
