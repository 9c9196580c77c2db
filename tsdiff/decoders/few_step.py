r"""Decoders that know where a flow ends: one evaluation from the source to the data.

In the letters of :mod:`tsdiff.decoders.base` the probability-flow ODE is ``du/dθ = F(u, θ)``, from
``θ ≈ π/2`` at the source to 0 at the data. The end of the flow through ``(u, θ)`` is written

.. math:: f(u, θ) = u - θ\,G(u, θ),

with a network for ``G``, the *mean slope* on the way (Song et al. 2023, *Consistency models*; the
mean velocity of Geng et al. 2025, *Mean flows for one-step generative modeling*, with end time 0).
``f(u, 0) = u`` holds whatever the network, and zero is exact for the Gaussian ``N(0, s²)``, whose
flow stands still in ``u``. Nothing is divided by ``a`` or ``b``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tsdiff.decoders.axes import Axes
from tsdiff.decoders.base import AffineDecoder, Evaluate, bound
from tsdiff.networks import Network
from tsdiff.processes import AffinePath, Coefficients, FixedBasisSDE
from tsdiff.processes.variational import interpolated
from tsdiff.random import Randomness, standard_normal
from tsdiff.solvers import AngleGrid, Field, Grid, Solver

_MESH = 513
# Turns over [0, 1]: the derivative by t is part of what is learned.
_MAX_FREQUENCY = 1.0
# Draws for one context, by which samples are judged.
_DRAWS = 8


class FewStepDecoder(AffineDecoder):
    """A map from any point of a path to the data, sampled by one to four evaluations.

    Parameters
    ----------
    network, target_dim, path, axes
        As in :class:`AffineDecoder`.
    preconditioned
        Whether axes and units follow the data; the network predicts ``G`` either way.
    solver, num_steps, grid
        Default sampler: ``num_steps`` evaluations, with noise put back between them at equal steps
        of the angle.
    """

    def __init__(
        self,
        network: Network,
        target_dim: int,
        *,
        path: AffinePath | FixedBasisSDE,
        solver: str | Solver = "consistency",
        num_steps: int = 2,
        grid: str | Grid | None = None,
        preconditioned: bool = True,
        axes: str | Axes | None = None,
    ):
        network.limit_frequencies(_MAX_FREQUENCY)
        super().__init__(
            network,
            path,
            target_dim,
            prediction="data",
            solver=solver,
            num_steps=num_steps,
            grid=AngleGrid() if grid is None else grid,
            preconditioned=preconditioned,
            axes=axes,
        )

    def draw_times(self, rows: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Training times whose angle is uniform, ``[rows, 1, 1]``."""
        share = torch.rand((rows,), dtype=like.dtype, device=like.device, generator=generator)
        return self.path.clip(self.times_at(share)).view(-1, 1, 1)

    def times_at(self, share: Tensor) -> Tensor:
        """When the angle (the mean of all axes') is that share of its last value, ``[N]``."""
        u = torch.linspace(0.0, torch.pi, _MESH, dtype=share.dtype, device=share.device)
        mesh = 0.5 * (1.0 - u.cos())
        _, theta = self.polar(self.path.clip(mesh).view(-1, 1, 1))
        angle = theta.mean((1, 2))
        angle = (angle - angle[0]) / (angle[-1] - angle[0])
        return interpolated(share, angle, mesh)

    def polar(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``r`` and ``θ`` at ``t``, ``[B, 1, 1]`` or ``[B, 1, D]``."""
        return radius_angle(self.coefficients(t))

    def mean_slope(self, network: Evaluate, u: Tensor, t: Tensor) -> Tensor:
        """``G(u, θ)`` along the axes, by a network that knows events' own dimensions."""
        return self.axes.along(network(self.axes.across(u), t))

    def draw_noise(self, like: Tensor, generator: Randomness = None) -> Tensor:
        """``ε`` of the path, of the shape of ``like [B, T, D]``."""
        return standard_normal(like, generator)

    def field(self, context: Tensor, *, condition_weight: float = 1.0) -> Field:
        """Where flows end for one ``context [B, T, H]``, and nothing of the way."""
        network = bound(self.network, context, condition_weight)

        def endpoint(x: Tensor, t: Tensor) -> Tensor:
            inside = self.path.clip(t)
            r, theta = self.polar(inside)
            u = x / r
            end = u - theta * self.mean_slope(network, u, inside)
            return end if self._spread is None else end * self._spread

        def signal_noise(t: Tensor) -> tuple[Tensor, Tensor]:
            k = self.path.coefficients(t)
            return k.a, k.b

        return Field(
            endpoint=endpoint,
            signal_noise=signal_noise,
            draw_noise=self.draw_noise,
            name=f"{type(self).__name__}, which knows where flows end and not the way there,",
        )

    def untrained_loss(
        self, x0: Tensor, context: Tensor, *, generator: torch.Generator | None = None
    ) -> None:
        """None: what falls is :meth:`validation_loss`, whose first value is to be beaten."""

    @torch.no_grad()
    def validation_loss(
        self, x0: Tensor, context: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """CRPS of one-evaluation samples, dimension by dimension, in units of their spread.

        The loss is no measure of how far the map is off, as its targets move with the map. Of
        eight samples for each context, by the fair estimator (Ferro 2014, eq. 8).
        """
        draws = [self.sample(context, num_steps=1, generator=generator) for _ in range(_DRAWS)]
        samples = torch.stack(draws)
        error = (samples - x0).abs().mean(0)
        apart = (samples[:, None] - samples[None]).abs().sum((0, 1)) / (_DRAWS * (_DRAWS - 1))
        return (error - 0.5 * apart) / self.axes.unit


def radius_angle(k: Coefficients) -> tuple[Tensor, Tensor]:
    """``r`` and ``θ`` of coefficients for data of unit spread."""
    return torch.hypot(k.a, k.b), k.angle
