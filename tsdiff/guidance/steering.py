"""Guided samples step by step: particles of one series, drawn, weighed, and resampled.

Where a forecast is drawn one step after the other, what is known of a later step says something
about the earlier ones. Particles carry their weights from step to step, and those whose past fits
what follows are multiplied: a particle filter (Gordon, Salmond & Smith 1993) whose proposals are
guided samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsdiff.decoders import AffineDecoder
from tsdiff.guidance.conditions import Condition
from tsdiff.guidance.errors import GuidanceError, warn_user
from tsdiff.guidance.particles import effective_size, resample
from tsdiff.guidance.potentials import QuantilePotential
from tsdiff.guidance.reading import Outlook
from tsdiff.guidance.sampler import Affine, GuidedSampler, Potential, Target
from tsdiff.transforms.series import Measure

_ROUNDS = 30


class Steering:
    """What guides the forecast of one series, and the weights of its particles.

    Parameters
    ----------
    conditions
        All but classifier-free ones.
    outlook
        What they are about; names stand in the order in which conditions are given.
    model_names
        Names of the dimensions in the model's order.
    num_samples, particles
        N, and how many particles there are for each.
    generator
        Of the series.
    ahead
        Steps that are drawn before the forecast begins.
    item_id
        What messages call the series.
    measure
        What the model's values, unlike those that conditions are about, are measured in, ``[D]`` in
        the model's order; None is nothing else.
    """

    def __init__(
        self,
        conditions: Sequence[Condition],
        outlook: Outlook,
        model_names: Sequence[str],
        *,
        num_samples: int,
        particles: int,
        generator: torch.Generator,
        ahead: int = 0,
        item_id: Any = None,
        measure: Measure | None = None,
    ):
        self.num_samples, self.num_particles = num_samples, num_samples * particles
        self._conditions, self._outlook = conditions, outlook
        names = outlook.names
        order = list(range(len(names)))
        if set(names) == set(model_names):
            order = [list(names).index(name) for name in model_names]
        self._order, self._back = order, [order.index(d) for d in range(len(order))]
        self._ahead, self._generator, self._item_id = ahead, generator, item_id
        device = generator.device
        plain = torch.zeros(len(order), device=device), torch.ones(len(order), device=device)
        self._measure = measure or Measure(*plain)
        self._log_weights = torch.zeros(self.num_particles, device=device, dtype=torch.float64)
        self._ancestors = torch.arange(self.num_particles, device=device)
        self._targets: list[tuple[int, _Reordered]] = []
        self._sampler: GuidedSampler | None = None

    def draw(
        self,
        decoder: AffineDecoder,
        step: int,
        context: Tensor,
        affine: Affine,
        *,
        solver: None = None,
        **sampler: Any,
    ) -> Tensor:
        """Values ``[P, D]`` of a step, one for each particle's context ``[P, 1, H]``."""
        if self._sampler is None:
            self._sampler = GuidedSampler(decoder, **sampler)
        matrix = affine.matrix * self._measure.unit.unsqueeze(-1)
        affine = Affine(self._measure.leave(affine.offset), matrix)
        target = self._target(step - self._ahead, affine.matrix)
        values, log_weights = self._sampler.draw(context, target, affine, self._generator)
        self._log_weights = self._log_weights + log_weights
        # A law all but without spread can't be moved: what is known exactly may be out of reach.
        self._log_weights = torch.where(target.is_met(values), self._log_weights, -torch.inf)
        for potential in target.potentials:
            if isinstance(potential, _Reordered) and potential.settles:
                self._log_weights = potential.settle(values, self._log_weights)
                self._targets.append((step, potential))
        if not bool(self._log_weights.max().isfinite()):
            raise GuidanceError(
                f"no sample of series {self._item_id!r} fulfils the conditions of step "
                f"{step - self._ahead}: they contradict one another, or the forecast is far from "
                "them. Give known values an error (std), or take more particles"
            )
        return self._measure.enter(values)

    def survivors(self) -> Tensor | None:
        """Particles to go on with, ``[P]``, where weights have grown unequal; else None."""
        if float(effective_size(self._log_weights)) >= 0.5 * self.num_particles:
            return None
        rows = resample(self._log_weights, self.num_particles, self._generator)
        self._log_weights = torch.zeros_like(self._log_weights)
        self._ancestors = self._ancestors[rows]
        return rows

    def chosen(self, paths: Tensor) -> Tensor:
        """Particles that become the samples, ``[N]``, all of the same weight and in no order.

        ``paths`` are those of all particles, ``[P, T, D]``: of several steps' quantiles each is
        met once more, in turn, after all that has happened since (iterative proportional fitting).
        """
        for _ in range(_ROUNDS if len(self._targets) > 1 else 0):
            for step, target in self._targets:
                values = self._measure.leave(paths[:, step].double())
                self._log_weights = target.settle(values, self._log_weights, warn=False)
        rows = resample(self._log_weights, self.num_samples, self._generator)
        order = torch.randperm(len(rows), generator=self._generator, device=rows.device)
        rows = rows[order]
        different = len(self._ancestors[rows].unique())
        if different < self.num_samples / 4:
            times = self.num_particles // self.num_samples
            warn_user(
                f"of {self.num_samples} samples of series {self._item_id!r}, {different} differ "
                "in their first steps: what is asked for is unlikely under the model, or depends "
                f"on many steps at once. More particles, as in Guidance(..., particles={4 * times}"
                "), give a better forecast"
            )
        return rows

    def pinned(self, paths: Tensor) -> Tensor:
        """Samples ``[N, T, D]`` in the units of conditions, without the rounding of a change of
        units where something is known exactly."""
        steps = [self._target(step, paths).pinned(paths[:, step]) for step in range(paths.shape[1])]
        return torch.stack(steps, dim=1)

    def _target(self, step: int, like: Tensor) -> Target:
        """What is known of a step, dimensions in the model's order; before 0, nothing."""
        dims = len(self._order)
        matrix, values, noise = [np.zeros((0, dims))], [np.zeros(0)], [np.zeros(0)]
        lower, upper = np.full(dims, -np.inf), np.full(dims, np.inf)
        potentials: list[Potential] = []
        for condition in self._conditions if step >= 0 else ():
            if (part := condition.linear(step, self._outlook)) is not None:
                matrix.append(part.matrix[:, self._order])
                values.append(part.values)
                noise.append(part.noise)
            if (box := condition.box(step, self._outlook)) is not None:
                lower = np.maximum(lower, box[0][self._order])
                upper = np.minimum(upper, box[1][self._order])
            if (potential := condition.potential(step, self._outlook)) is not None:
                potentials.append(_Reordered(potential, self._back))
        bounded = np.isfinite(lower).any() or np.isfinite(upper).any()
        return Target(
            *(torch.as_tensor(np.concatenate(part)).to(like) for part in (matrix, values, noise)),
            *(torch.as_tensor(side).to(like) for side in (lower, upper) if bounded),
            potentials=tuple(potentials),
        )


class _Reordered:
    """A potential of values whose dimensions stand in the model's order."""

    def __init__(self, inner: Potential, back: list[int]):
        self._inner, self._back = inner, back

    def __call__(self, mean: Tensor, covariance: Tensor) -> Tensor:
        covariance = covariance[self._back][:, self._back]
        return self._inner(mean[:, self._back], covariance)

    @property
    def settles(self) -> bool:
        """Whether it is about the population, which can meet it by weights alone."""
        return isinstance(self._inner, QuantilePotential)

    def settle(self, values: Tensor, log_weights: Tensor, *, warn: bool = True) -> Tensor:
        """Log-weights ``[P]`` under which the population meets it."""
        assert isinstance(self._inner, QuantilePotential)
        return self._inner.settle(values[:, self._back], log_weights, warn=warn)
