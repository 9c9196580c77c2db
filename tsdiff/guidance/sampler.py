r"""Sampling a trained diffusion given what is known of its outcome, without training it again.

A reverse step from ``t`` to ``s`` draws ``x_0`` from ``N(\hat x_0(x_t), V_t)``, the decoder's
prediction and the covariance that it would leave open of Gaussian data, and ``x_s`` from the
forward process' posterior given both (Bao et al. 2022). What is known is a likelihood ``ℓ(x_0)``.
The *guided* step draws ``x_0`` from ``N(\hat x_0, V_t)\, ℓ`` in place of the Gaussian, which is
possible in closed form (:mod:`tsdiff.guidance.gaussian`), and leaves the weight

.. math:: \frac{p(x_s | x_t)}{q(x_s | x_t)} = \frac{Z(\hat x_0, V_t)}{Z(μ', V')},
   \qquad Z(μ, V) = \int N(x; μ, V)\, ℓ(x)\, dx,

where ``N(μ', V')`` is the law of ``x_0`` given both ``x_t`` and ``x_s``. Multiplied over all steps,
and by ``ℓ(x_0)`` in the end, the weights make the samples those of ``p(x_0)\, ℓ(x_0)``, where
``p`` is the law of unguided steps: this is twisted sequential importance sampling (Wu et al. 2023,
*Practical and asymptotically exact conditional sampling in diffusion models*), with twisted steps
that are exact where data are Gaussian. All weights then are the same, the evidence ``E ℓ``. Steps
whose ``V_t`` is too wide, as under a context that tells more than most, err at first order in their
length. No gradient passes through the network.

Likelihoods without a closed form steer the steps by a tilt ``exp(gᵀ x_0)``, where ``g`` is the
gradient of their logarithm at the prediction; the weight at the end is their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from tsdiff.decoders import AffineDecoder, Decoder
from tsdiff.guidance.gaussian import Observation, draw_in_box, log_interval, lower_factor
from tsdiff.guidance.potentials import slope_of
from tsdiff.random import Randomness, drawn, standard_normal
from tsdiff.solvers import Analytic, AngleGrid, Field, Grid, MissingFieldError, as_grid

Potential = Callable[[Tensor, Tensor], Tensor]
"""``(mean [N, D], covariance [D, D]) -> [N]``: the log of a likelihood's expectation under a
Gaussian of the values, or what stands for it; its log itself where the covariance is 0."""

NUM_STEPS = 24
_FARTHEST = 3.0
_NARROWEST = 0.02
# Of a sum that is known exactly, relative to what it is made of.
_ROUNDING = 1e-6
# What samples of a series of zeros differ by.
_NOTHING = 1e-12


@dataclass(frozen=True)
class Target:
    """What is known of one step of one series, in the units of the values; float64.

    Attributes
    ----------
    matrix, values, noise
        Linear observations ``H v = y``, up to a standard deviation: ``[m, D]``, ``[m]``, ``[m]``.
    lower, upper
        A box, ``[D]``; infinite where there is no bound. None: none at all.
    potentials
        Further likelihoods.
    """

    matrix: Tensor
    values: Tensor
    noise: Tensor
    lower: Tensor | None = None
    upper: Tensor | None = None
    potentials: tuple[Potential, ...] = ()

    def steering(self) -> tuple[Potential, ...]:
        """All that has no closed form beside linear observations."""
        lower, upper = self.lower, self.upper
        if lower is None or upper is None:
            return self.potentials

        def within(mean: Tensor, covariance: Tensor) -> Tensor:
            spread = covariance.diagonal().clamp_min(1e-300).sqrt()
            return log_interval((lower - mean) / spread, (upper - mean) / spread).sum(-1)

        return (within, *self.potentials)

    def is_met(self, values: Tensor) -> Tensor:
        """Whether ``values [N, D]`` have what is known exactly, up to rounding, ``[N]``."""
        exact = self.noise == 0.0
        matrix, wanted = self.matrix[exact], self.values[exact]
        size = wanted.abs() + values.abs() @ matrix.abs().mT
        missed = (values @ matrix.mT - wanted).abs()
        return (missed <= _ROUNDING * size + _NOTHING).all(-1)

    def pinned(self, values: Tensor) -> Tensor:
        """Values ``[N, D]`` without the rounding of what is known exactly."""
        alone = ((self.matrix != 0.0).sum(-1) == 1) & (self.noise == 0.0)
        rows = (alone & (self.matrix.sum(-1) == 1.0)).nonzero().flatten()
        values = values.clone()
        values[:, self.matrix[rows].argmax(-1)] = self.values[rows]
        return values if self.lower is None else values.clamp(self.lower, self.upper)


class Affine(NamedTuple):
    """Values ``v = offset + M x`` of what a path runs on: ``[N, D]`` and ``M [D, D]``."""

    offset: Tensor
    matrix: Tensor

    def values(self, x: Tensor) -> Tensor:
        """``[N, D]`` of ``x [N, D]``."""
        return self.offset + x @ self.matrix.mT


class Belief(NamedTuple):
    """A Gaussian of ``x_0``: means ``[N, D]``, and one covariance ``[D, D]`` for all."""

    mean: Tensor
    covariance: Tensor


class Stage:
    """What a step from ``t`` to ``s < t`` is, whatever is drawn; the last one ends in ``x_0``.

    ``x_s = share x_0 + keep x_t + √variance ε``; ``[D]`` each.

    Attributes
    ----------
    t
        ``[1, 1, 1]``.
    covariance, root
        Of ``x_0`` given ``x_t``, as it would be of Gaussian data, and a factor of it, ``[D, D]``.
    """

    def __init__(self, decoder: AffineDecoder, field: Field, t: Tensor, t_next: Tensor):
        self.t = t
        self.covariance = _left_open(decoder, field, t)
        self.root = lower_factor(self.covariance)
        self.last = not bool(t_next > 0.0)
        if self.last:
            return
        dims, parts = len(self.covariance), Analytic().transition(field, t, t_next)
        self.share, self.keep, self.variance = (part.flatten().expand(dims) for part in parts)
        spread = self.share.unsqueeze(-1) * self.covariance
        total = spread * self.share + torch.diag(self.variance)
        self._gain = torch.linalg.solve(total, spread).mT
        self._left = self.covariance - self._gain @ spread

    def given_both(self, x: Tensor, x_next: Tensor, mean: Tensor) -> Belief:
        """The law of ``x_0`` given ``x_t`` and ``x_s``, of its mean given ``x_t``."""
        surprise = x_next - self.keep * x - self.share * mean
        return Belief(mean + surprise @ self._gain.mT, self._left)


class Twist:
    """The likelihood as a step sees it: observations, and a tilt in place of the rest."""

    def __init__(self, target: Target, affine: Affine, stage: Stage, mean: Tensor):
        self.target, self.affine, self.root = target, affine, stage.root
        self.belief = belief = Belief(mean, stage.covariance)
        self._matrix = target.matrix @ affine.matrix
        self._wanted = target.values - affine.offset @ target.matrix.mT
        self.observation = self._observed(belief)
        # The last step is followed by the likelihood itself.
        self.tilt = torch.zeros_like(mean) if stage.last else self._tilt()

    def log_evidence(self) -> Tensor:
        """``log Z`` of the step's own belief, ``[N]``."""
        return self._log_evidence(self.belief, self.observation)

    def log_evidence_of(self, belief: Belief) -> Tensor:
        """``log Z`` of another one."""
        return self._log_evidence(belief, self._observed(belief))

    def draw(self, generator: Randomness) -> Tensor:
        """``x_0`` by the guided law, ``[N, D]``."""
        mean, covariance = self.belief
        noise = standard_normal(mean, generator)
        x = mean + self.tilt @ covariance + noise @ self.root.mT
        errors = standard_normal(mean.new_zeros(len(mean), len(self._matrix)), generator)
        return self._conditioned(x, errors)

    def draw_within(self, generator: Randomness) -> tuple[Tensor, Tensor]:
        """Values of the last step within the box, ``[N, D]``, and their log-weights."""
        mean, matrix = self.affine.values(self._conditioned(self.belief.mean)), self.affine.matrix
        factor = lower_factor(matrix @ self.observation.posterior @ matrix.mT)
        unit = (matrix @ self.belief.covariance @ matrix.mT).diagonal().sqrt()
        box = self.target.lower, self.target.upper
        return draw_in_box(mean, factor, *box, drawn(mean, generator, _uniform), unit)  # type: ignore[arg-type]

    def _observed(self, belief: Belief) -> Observation:
        return Observation(self._matrix, belief.covariance, self.target.noise)

    def _tilt(self) -> Tensor:
        """``g``: the slope at the mean that observations leave, of a few deviations at most."""
        potentials = self.target.steering()
        if not potentials:
            return torch.zeros_like(self.belief.mean)
        matrix = self.affine.matrix
        spread = matrix @ self.observation.posterior @ matrix.mT
        with torch.enable_grad():
            values = self.affine.values(self._conditioned(self.belief.mean)).requires_grad_()
            slopes = [slope_of(potential(values, spread).sum(), values) for potential in potentials]
        slope = torch.stack(slopes).sum(0) @ matrix
        deviations = (slope @ self.root).abs().amax(-1, keepdim=True)
        return slope * (_FARTHEST / deviations.clamp_min(1e-300)).clamp_max(1.0)

    def _conditioned(self, x: Tensor, errors: Tensor | None = None) -> Tensor:
        """Matheron's rule: a draw, or the mean, given the observations."""
        residual = self._wanted - x @ self._matrix.mT
        if errors is not None:
            residual = residual + errors * self.target.noise
        return x + residual @ self.observation.gain.mT

    def _log_evidence(self, belief: Belief, observation: Observation) -> Tensor:
        moved = self.tilt @ belief.covariance
        tilted = self.tilt * (belief.mean - self.belief.mean + 0.5 * moved)
        residual = self._wanted - (belief.mean + moved) @ self._matrix.mT
        return tilted.sum(-1) + observation.log_evidence(residual)


def check_steerable(decoder: Decoder, context: Tensor) -> None:
    """Raise a MissingFieldError if a decoder's samples can't be guided, under ``[1, 1, H]``."""
    if not isinstance(decoder, AffineDecoder):
        raise MissingFieldError(
            f"{type(decoder).__name__} has no process that could be steered: only ClassifierFree "
            "can guide it"
        )
    field = decoder.followed(Analytic(), context)
    try:
        Analytic().check(field)
    except MissingFieldError as error:
        raise MissingFieldError(
            f"{field.name} can't be steered, as it has no data prediction: only ClassifierFree can "
            "guide it. Take a model of independent Gaussian noise; of a distilled one, its teacher"
        ) from error


class GuidedSampler:
    """Draws events of one step of a decoder, given a target for each.

    Parameters
    ----------
    num_steps, grid
        Of the reverse process; 24 equal steps in the angle ``atan(b / a)`` by default.
    condition_weight
        Of classifier-free guidance; 1 is none.
    """

    def __init__(
        self,
        decoder: AffineDecoder,
        *,
        num_steps: int | None = None,
        grid: str | Grid | None = None,
        condition_weight: float = 1.0,
    ):
        self._decoder, self._condition_weight = decoder, condition_weight
        self._grid = AngleGrid() if grid is None else as_grid(grid)
        self._num_steps = NUM_STEPS if num_steps is None else num_steps
        self._stages: list[Stage] | None = None

    def draw(
        self, context: Tensor, target: Target, affine: Affine, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """One event for each row of ``context``.

        Parameters
        ----------
        context
            ``[N, 1, H]``: events of one step.
        affine
            Values of the decoder's events, ``v = offset + M z``.

        Returns
        -------
        values, log_weights
            ``[N, D]`` float64 and ``[N]``. Weighted so, the samples are those of the decoder's law
            times the likelihood; the mean weight is an estimate of its expectation.

        Raises
        ------
        MissingFieldError
            If the decoder's process has no data prediction, as where its noise isn't Gaussian.
        """
        if context.shape[1] != 1:
            raise ValueError(f"guided events have one step, got contexts of {context.shape[1]}")
        decoder, weight = self._decoder, self._condition_weight
        field = decoder.followed(Analytic(), context, condition_weight=weight)
        affine = _of_path(decoder, affine)
        like = context.new_empty(len(context), 1, affine.offset.shape[-1])
        x = decoder.draw_source(field, like, generator).double().squeeze(1)
        log_weights, carried = torch.zeros_like(x[:, 0]), torch.zeros_like(x[:, 0])
        for stage in self._steps(field, x):
            here = x.to(like.dtype).unsqueeze(1)
            mean = field.data(here, stage.t.to(like.dtype)).double().squeeze(1)  # type: ignore[misc]
            twist = Twist(target, affine, stage, mean)
            log_weights = log_weights + twist.log_evidence() - carried
            if not stage.last:
                noise = stage.variance.sqrt() * standard_normal(x, generator)
                x_next = stage.share * twist.draw(generator) + stage.keep * x + noise
                carried = twist.log_evidence_of(stage.given_both(x, x_next, mean))
                x = x_next
        if target.lower is None:
            values = affine.values(twist.draw(generator))
        else:
            values, inside = twist.draw_within(generator)
            log_weights = log_weights + inside
        nothing = torch.zeros_like(affine.matrix)
        for potential in target.potentials:
            log_weights = log_weights + potential(values, nothing)
        return target.pinned(values), log_weights

    def _steps(self, field: Field, like: Tensor) -> list[Stage]:
        """The stages, which are the same for all events."""
        if self._stages is None:
            Analytic().check(field)
            times = self._grid(
                self._num_steps,
                lambda t: field.signal_noise(t.to(like.device)),  # type: ignore[misc]
            )
            moments = times.to(like).view(-1, 1, 1, 1).unbind()
            self._stages = [Stage(self._decoder, field, *pair) for pair in pairwise(moments)]
        return self._stages


def _of_path(decoder: AffineDecoder, affine: Affine) -> Affine:
    """Values as a function of what the path runs on, in place of the decoder's events."""
    dims = affine.matrix.shape[-1]
    points = torch.cat([torch.zeros(1, dims), torch.eye(dims)]).to(affine.matrix).unsqueeze(1)
    events = decoder.axes.leave(points).squeeze(1)
    centre, columns = events[0], (events[1:] - events[0]).mT
    return Affine(affine.offset + affine.matrix @ centre, affine.matrix @ columns)


def _left_open(decoder: AffineDecoder, field: Field, t: Tensor) -> Tensor:
    """``Cov(x_0 | x_t)`` as it would be of Gaussian data, ``[D, D]`` along the path's axes."""
    _, covariance = decoder.axes.moments()
    variance = covariance.diagonal()
    # A network is never so sure as data without any spread would allow.
    floor = _NARROWEST**2 * variance.max()
    covariance = covariance + torch.diag((floor - variance).clamp_min(0.0))
    a, b = (part.expand(1, 1, len(covariance)).flatten() for part in field.signal_noise(t))  # type: ignore[misc]
    seen = a.unsqueeze(-1) * covariance
    total = seen * a + torch.diag(b.square())
    return covariance - seen.mT @ torch.linalg.solve(total, seen)


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    u = torch.rand(like.shape, dtype=like.dtype, device=like.device, generator=generator)
    return u.clamp(1e-12, 1.0 - 1e-12)
