"""Guided samples step by step: one population of particles per series, drawn, weighed, resampled.

Where a forecast is drawn one step after the other, what is known of a later step says something
about the earlier ones. Particles carry their weights from step to step, and those whose past fits
what follows are multiplied: a particle filter (Gordon, Salmond & Smith 1993) whose proposals are
guided samples.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsdiff.decoders import AffineDecoder, Decoder
from tsdiff.guidance.conditions import (
    Condition,
    Guidance,
    GuidanceError,
    GuidanceWarning,
    LinearPart,
    Names,
)
from tsdiff.guidance.particles import effective_size, resample
from tsdiff.guidance.potentials import QuantilePotential
from tsdiff.guidance.sampler import Affine, Potential, Target, sample_guided
from tsdiff.solvers import MissingFieldError


class Steering:
    """What guides the forecast of ``B`` series, and the weights of their particles.

    Parameters
    ----------
    guidance
        Conditions of all series.
    item_ids, names
        Of each series, the names in the order in which its conditions are given.
    model_names
        Names of the dimensions in the model's order.
    num_samples
        N, per series.
    generators
        One per series.
    ahead
        Steps that are drawn before the forecast begins.
    """

    def __init__(
        self,
        guidance: Guidance,
        item_ids: Sequence[Any],
        names: Sequence[Names],
        model_names: Names,
        num_samples: int,
        generators: Sequence[torch.Generator],
        ahead: int = 0,
    ):
        self.condition_weight = guidance.condition_weight
        self._series = [
            _Series(guidance.of(item), mine, model_names)
            for item, mine in zip(item_ids, names, strict=True)
        ]
        steered = any(series.conditions for series in self._series)
        self.num_particles = num_samples * (guidance.particles if steered else 1)
        self._item_ids, self._num_samples, self._ahead = item_ids, num_samples, ahead
        self._generators = generators
        self._log_weights = torch.zeros(len(self._series), self.num_particles).double()
        self._ancestors = torch.arange(self._log_weights.numel())

    def target(self, step: int, like: Tensor) -> Target | None:
        """What is known of a step, or None, on the device of ``like``."""
        if step < self._ahead:
            return None
        parts = [series.parts(step - self._ahead) for series in self._series]
        if not any(part.linear or part.box or part.potentials for part in parts):
            return None
        dims = len(self._series[0].order)
        rows = max(sum(len(p.values) for p in part.linear) for part in parts)
        matrix, values, noise = (
            np.zeros((len(parts), rows, dims)),
            np.zeros((len(parts), rows)),
            np.ones((len(parts), rows)),
        )
        for series, part in enumerate(parts):
            first = 0
            for linear in part.linear:
                here = slice(first, first + len(linear.values))
                matrix[series, here], values[series, here] = linear.matrix, linear.values
                noise[series, here] = linear.noise
                first = here.stop
        boxes = None
        if any(part.box for part in parts):
            free = (np.full(dims, -np.inf), np.full(dims, np.inf))
            pairs = [part.box or free for part in parts]
            boxes = [np.stack([pair[side] for pair in pairs]) for side in (0, 1)]
        to = {"dtype": torch.float64, "device": like.device}
        potentials = [part.potentials for part in parts]
        return Target(
            *(torch.as_tensor(part, **to) for part in (matrix, values, noise)),
            *(torch.as_tensor(box, **to) for box in boxes or ()),
            potentials=(_each(potentials),) if any(potentials) else (),
        )

    def draw(
        self, decoder: Decoder, step: int, context: Tensor, affine: Affine, **sampler: Any
    ) -> Tensor | None:
        """Values ``[B · N, 1, D]`` of a step that something is known of, else None."""
        target = self.target(step, context)
        if target is None:
            return None
        if not isinstance(decoder, AffineDecoder):
            raise MissingFieldError(
                f"{type(decoder).__name__} has no process that could be steered: only "
                "ClassifierFree can guide it"
            )
        values, log_weights = sample_guided(
            decoder,
            context,
            target,
            affine,
            self._generators,
            num_steps=sampler.get("num_steps"),
            grid=sampler.get("grid"),
            condition_weight=self.condition_weight,
        )
        drawn = values.view(*log_weights.shape, -1)
        total = self._log_weights.to(log_weights) + log_weights
        for series, one in enumerate(self._series):
            here = slice(series, series + 1)
            for potential in one.potentials:
                total[here] = potential.settle(drawn[here], total[here])
        self._log_weights = total
        self._complain(step)
        return _pinned(drawn, target).view(values.shape)

    def survivors(self) -> Tensor | None:
        """Rows to go on with, ``[B · N]``, where weights have grown unequal; else None."""
        share = effective_size(self._log_weights) / self.num_particles
        if not bool((share < 0.5).any()):
            return None
        rows = resample(self._log_weights, self.num_particles, self._generators)
        self._log_weights = torch.zeros_like(self._log_weights)
        self._ancestors = self._ancestors.to(rows.device)[rows]
        return rows

    def chosen(self) -> Tensor:
        """Rows of the samples of equal weight that are kept in the end."""
        if not any(series.conditions for series in self._series):
            return self._ancestors
        rows = resample(self._log_weights, self._num_samples, self._generators)
        ancestors = self._ancestors.to(rows.device)[rows].view(len(self._series), -1)
        for item, mine in zip(self._item_ids, ancestors, strict=True):
            different = len(mine.unique())
            if different < self._num_samples / 4:
                warnings.warn(
                    f"of {self._num_samples} samples of series {item!r}, {different} differ in "
                    "their first steps: what is asked for is unlikely under the model, or depends "
                    "on many steps at once. More particles, as in Guidance(conditions, "
                    f"particles={4 * self.num_particles // self._num_samples}), give a better "
                    "forecast",
                    GuidanceWarning,
                    stacklevel=2,
                )
        return rows

    def _complain(self, step: int) -> None:
        hopeless = ~self._log_weights.amax(1).isfinite()
        if bool(hopeless.any()):
            series = int(hopeless.nonzero()[0])
            raise GuidanceError(
                f"no sample of series {self._item_ids[series]!r} fulfils the conditions of step "
                f"{step - self._ahead}: they contradict one another, or the forecast is far from "
                "them. Give known values an error (std), or take more particles"
            )


class _Parts:
    """One series' conditions at one step, in the model's order of dimensions."""

    def __init__(self, linear: list[LinearPart], box: Any, potentials: tuple[Potential, ...]):
        self.linear, self.box, self.potentials = linear, box, potentials


class _Series:
    """Conditions of one series, whose dimensions may stand in another order than the model's."""

    def __init__(self, conditions: Sequence[Condition], names: Names, model_names: Names):
        self.conditions, self.names = conditions, names
        order = list(range(len(names)))
        if set(names) == set(model_names):
            order = [list(names).index(name) for name in model_names]
        self.order = order
        self.back = [order.index(d) for d in range(len(order))]
        self.potentials: tuple[_Reordered, ...] = ()

    def parts(self, step: int) -> _Parts:
        """Those of a step."""
        linear, potentials, box = [], [], None
        for condition in self.conditions:
            if (part := condition.linear(step, self.names)) is not None:
                linear.append(LinearPart(part.matrix[:, self.order], part.values, part.noise))
            if (bounds := condition.box(step, self.names)) is not None:
                lower, upper = (side[self.order] for side in bounds)
                if box is not None:
                    lower, upper = np.maximum(lower, box[0]), np.minimum(upper, box[1])
                box = (lower, upper)
            if (potential := condition.potential(step, self.names)) is not None:
                potentials.append(_Reordered(potential, self.back))
        self.potentials = tuple(potentials)
        return _Parts(linear, box, self.potentials)


class _Reordered:
    """A potential of values whose dimensions stand in the model's order."""

    def __init__(self, inner: Potential, back: list[int]):
        self.inner, self._back = inner, back

    def __call__(self, mean: Tensor, covariance: Tensor) -> Tensor:
        covariance = covariance[:, self._back][:, :, self._back]
        return self.inner(mean[..., self._back], covariance)

    def settle(self, values: Tensor, log_weights: Tensor) -> Tensor:
        """Log-weights ``[1, N]`` that meet what only a population can meet."""
        if isinstance(self.inner, QuantilePotential):
            return self.inner.settle(values[..., self._back], log_weights)
        return log_weights


def _each(potentials: Sequence[tuple[Potential, ...]]) -> Potential:
    """The sum of every series' own potentials."""

    def summed(mean: Tensor, covariance: Tensor) -> Tensor:
        rows = []
        for series, mine in enumerate(potentials):
            here = slice(series, series + 1)
            total = torch.zeros_like(mean[here, :, 0])
            for potential in mine:
                total = total + potential(mean[here], covariance[here])
            rows.append(total)
        return torch.cat(rows)

    return summed


def _pinned(values: Tensor, target: Target) -> Tensor:
    """Known values and bounds without the rounding of the way there, ``[B, N, D]``."""
    single = (target.matrix != 0.0).sum(-1) == 1
    exact = single & (target.noise == 0.0) & (target.matrix.sum(-1) == 1.0)
    series, row = exact.nonzero(as_tuple=True)
    dimension = target.matrix[series, row].argmax(-1)
    values = values.clone()
    values[series, :, dimension] = target.values[series, row].unsqueeze(-1)
    if target.lower is None or target.upper is None:
        return values
    return values.clamp(target.lower.unsqueeze(1), target.upper.unsqueeze(1))
