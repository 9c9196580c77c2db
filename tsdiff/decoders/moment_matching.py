r"""Inductive moment matching: the map to the data, learned from laws alone.

Zhou, Ermon & Song (2025), *Inductive moment matching*, for target time 0. The law of
``f(x_t)`` is to be that of ``f(x_r)``, with ``θ_r < θ_t`` a step nearer to the data, where the map
is better known; ``f(x_0) = x_0`` is where the induction starts. ``x_t`` and ``x_r`` are made of one
``(x_0, ε)``. Laws are compared by the maximum mean discrepancy (Gretton et al. 2012) within groups
of ``M`` particles of one time,

.. math:: \frac{1}{M^2} \sum_{j,k} k(y_j, y_k) + k(z_j, z_k) - 2\,k(y_j, z_k), \qquad
   y = f(x_t),\; z = f(x_r) \text{ held fixed},

with the Laplace kernel ``exp(-|y - z| / (θ_t √n))`` of events of n coordinates: what the network
gives is multiplied by ``θ_t`` (eq. 12 of the paper, with the weight ``1/θ_t``).

*Contexts.* Of each context there is one event, and particles of a group have contexts of their own.
What must agree is the joint law of event and context, and the kernel is one of both:
``k(y, z) k_c(c, c')``, ``k_c`` Gaussian with a bandwidth. Without it laws would be matched across
contexts, and the map would be free to exchange them. As the bandwidth goes to 0, or M to 1, only
``y_j`` and ``z_j`` are compared: a consistency model with a robust distance and a finite step, and
the bias of both.
Several noises for one datum would fill a group, but are no way out: given ``x_0``, the law of
``f(x_t)`` is *not* that of ``f(x_r)``, as the nearer point knows more of it.

*Noise* may be any that is independent of the data, such as a learned quantile function per
dimension (:mod:`tsdiff.processes.quantile`): nothing here asks for a score or a velocity.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsdiff.decoders.axes import Axes
from tsdiff.decoders.base import Evaluate
from tsdiff.decoders.few_step import FewStepDecoder
from tsdiff.decoders.flow_matching import LATENTS
from tsdiff.networks import Network
from tsdiff.processes import AffinePath, QuantileLatent, Trigonometric
from tsdiff.processes.quantile import TRANSPORTS
from tsdiff.random import Randomness, standard_normal
from tsdiff.solvers import Field, Grid, Solver


class MomentMatching(FewStepDecoder):
    """A map to the data whose law is the same from every time.

    Parameters
    ----------
    network, target_dim, solver, num_steps, grid, preconditioned, axes
        As in :class:`~tsdiff.decoders.few_step.FewStepDecoder`.
    path
        None is a quarter turn.
    latent
        Law of the noise: ``"gaussian"``; ``"learned"``, a quantile function for each dimension that
        is trained along by its distance to the data, as in
        :class:`~tsdiff.decoders.FlowMatching`; or a given
        :class:`~tsdiff.processes.QuantileLatent`, which is trained in the same way unless its
        parameters are frozen.
    latent_weight, energy
        Weight of that distance, and how it is measured.
    particles
        M, at least 1.
    step
        ``θ_t - θ_r`` as a share of the largest angle, in (0, 1); near the data it is a quarter of
        ``θ_t``, if that is less.
    context_bandwidth
        Of ``k_c``, in units of the root mean square distance of contexts; infinity for one that
        does not look at contexts.
    """

    def __init__(
        self,
        network: Network,
        target_dim: int,
        *,
        path: AffinePath | None = None,
        latent: str | QuantileLatent = "gaussian",
        latent_weight: float = 1.0,
        energy: str = "marginal",
        particles: int = 64,
        step: float = 1.0 / 8.0,
        context_bandwidth: float = 0.5,
        solver: str | Solver = "consistency",
        num_steps: int = 2,
        grid: str | Grid | None = None,
        preconditioned: bool = True,
        axes: str | Axes | None = None,
    ):
        path = Trigonometric() if path is None else path
        _check(path, latent, latent_weight, energy, particles, step, context_bandwidth)
        super().__init__(
            network,
            target_dim,
            path=path,
            solver=solver,
            num_steps=num_steps,
            grid=grid,
            preconditioned=preconditioned,
            axes=axes,
        )
        if latent == "learned":
            latent = QuantileLatent(target_dim)
        self.latent = latent if isinstance(latent, QuantileLatent) else None
        self.latent_weight, self.energy = latent_weight, energy
        self.particles, self.step, self.context_bandwidth = particles, step, context_bandwidth

    @property
    def gaussian(self) -> bool:
        return self.latent is None

    def draw_noise(self, like: Tensor, generator: Randomness = None) -> Tensor:
        if self.latent is None:
            return standard_normal(like, generator)
        return self.latent.draw(like, generator)

    def draw_source(self, field: Field, like: Tensor, generator: Randomness = None) -> Tensor:
        if self.latent is None:
            return super().draw_source(field, like, generator)
        return self.latent.draw(like, generator)

    def loss(
        self, x0: Tensor, context: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Each row's share of its group's discrepancy, the same for all coordinates of an event."""
        data, device = self.axes.enter(x0), x0.device
        size = min(self.particles, len(x0))
        order = torch.randperm(len(x0), generator=generator, device=device)
        # Groups are full: some rows take part twice.
        rows = torch.cat([order, order[: -len(x0) % size]])
        share = torch.rand(len(rows) // size, dtype=x0.dtype, device=device, generator=generator)
        share = share.repeat_interleave(size)
        particles, near = self.standardised(data)[rows], context[rows]
        noise = self.draw_noise(particles, generator).detach()
        network = self.network.bind(near)
        moved, theta = self._map(network, particles, noise, share)
        with torch.no_grad():
            nearer = share - torch.minimum(share / 4.0, torch.full_like(share, self.step))
            fixed, _ = self._map(network, particles, noise, nearer)
        y, z, c = (v.flatten(1).unflatten(0, (-1, size)) for v in (moved, fixed, near.detach()))
        width = theta.mean((1, 2))[::size, None, None] * math.sqrt(y.shape[-1])
        apart = discrepancy(y, z, width, self._kernel_of_contexts(c)).flatten()
        loss = torch.zeros_like(x0[:, 0, 0]).index_add(0, rows, apart * (len(x0) / len(rows)))
        return loss.view(-1, 1, 1).expand_as(x0) + self._latent_loss(data, generator)

    def _map(
        self, network: Evaluate, data: Tensor, noise: Tensor, share: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``f`` between data and noise at a share ``[N]`` of the largest angle, and the angle."""
        t = self.path.clip(self.times_at(share)).view(-1, 1, 1)
        k = self.coefficients(t)
        r, theta = self.polar(t)
        u = (k.a * data + k.b * noise) / r
        return u - theta * self.mean_slope(network, u, t), theta

    def _kernel_of_contexts(self, context: Tensor) -> Tensor:
        """``k_c`` within groups, of contexts ``[G, M, H]``; ``[G, M, M]``."""
        squares = torch.cdist(context, context).square()
        if math.isinf(self.context_bandwidth):
            return torch.ones_like(squares)
        usual = squares.mean().clamp_min(1e-12)
        return torch.exp(-0.5 * squares / (usual * self.context_bandwidth**2))

    def _latent_loss(self, data: Tensor, generator: torch.Generator | None) -> Tensor | float:
        if self.latent is None:
            return 0.0
        distance = self.latent.distance(data, form=self.energy, generator=generator)
        return self.latent_weight * distance


def discrepancy(y: Tensor, z: Tensor, width: Tensor, near: Tensor) -> Tensor:
    """Each particle's share of the squared discrepancy of its group, times M; ``[G, M]``.

    Parameters
    ----------
    y, z
        Two samples of particles, ``[G, M, n]``.
    width
        Of the Laplace kernel, ``[G, 1, 1]``.
    near
        Kernel of the particles' contexts, ``[G, M, M]``.
    """

    def kernel(one: Tensor, other: Tensor) -> Tensor:
        # The root has no derivative at 0, where every particle meets itself.
        squares = (one.unsqueeze(-2) - other.unsqueeze(-3)).square().sum(-1)
        return near * torch.exp(-(squares + 1e-8).sqrt() / width)

    return (kernel(y, y) + kernel(z, z) - kernel(y, z) - kernel(z, y)).mean(-1)


def _check(
    path: AffinePath,
    latent: str | QuantileLatent,
    latent_weight: float,
    energy: str,
    particles: int,
    step: float,
    context_bandwidth: float,
) -> None:
    if not path.gaussian:
        raise ValueError(
            f"{type(path).__name__} has noise of its own at every time: take a path that joins "
            "data and one noise, and give that a law by latent="
        )
    if isinstance(latent, str) and latent not in LATENTS:
        raise ValueError(f"unknown latent {latent!r}: expected one of {', '.join(LATENTS)}")
    if energy not in TRANSPORTS:
        raise ValueError(f"unknown energy {energy!r}: expected one of {', '.join(TRANSPORTS)}")
    if not 0.0 < latent_weight < math.inf:
        raise ValueError(f"latent_weight must be positive and finite, got {latent_weight}")
    if particles < 1:
        raise ValueError(f"particles must be at least 1, got {particles}")
    if not 0.0 < step < 1.0:
        raise ValueError(f"step must lie between 0 and 1, got {step}")
    if not context_bandwidth > 0.0:
        raise ValueError(f"context_bandwidth must be positive, got {context_bandwidth}")
