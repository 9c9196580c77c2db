r"""Sampling a trained diffusion given what is known of its outcome, without training it again.

A reverse step from ``t`` to ``s`` draws ``x_0`` from ``N(\hat x_0(x_t), V_t)``, the decoder's
prediction and the covariance that it would leave open of Gaussian data, and ``x_s`` from the
forward process' posterior given both (Bao et al. 2022). What is known is a likelihood ``ℓ(x_0)``.
The *guided* step draws ``x_0`` from ``N(\hat x_0, V_t)\, ℓ`` in place of the Gaussian, which is
possible in closed form (:mod:`tsdiff.guidance.gaussian`), and leaves the weight

.. math:: \frac{p(x_s | x_t)}{q(x_s | x_t)} = \frac{Z(\hat x_0, V_t)}{Z(μ', V')},
   \qquad Z(μ, V) = \int N(x; μ, V)\, ℓ(x)\, dx,

where ``N(μ', V')`` is the law of ``x_0`` given both ``x_t`` and ``x_s``. Multiplied over all steps,
and by ``ℓ(x_0)`` in the end, the weights make the samples those of ``p(x_0)\, ℓ(x_0)``, whatever
the predictions are worth: this is twisted sequential importance sampling (Wu et al. 2023,
*Practical and asymptotically exact conditional sampling in diffusion models*), with twisted steps
that are exact where data are Gaussian. All weights then are the same, the evidence ``E ℓ``. No
gradient passes through the network.

Likelihoods without a closed form steer the steps by a tilt ``exp(gᵀ x_0)``, where ``g`` is the
gradient of their logarithm at the prediction; the weight at the end is their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from tsdiff.decoders import AffineDecoder
from tsdiff.guidance.gaussian import Observation, draw_in_box, log_interval, lower_factor
from tsdiff.random import Randomness, drawn, standard_normal
from tsdiff.solvers import Analytic, Field, Grid, as_grid

Potential = Callable[[Tensor, Tensor], Tensor]
"""``(mean [B, N, D], covariance [B, D, D]) -> [B, N]``: the log of a likelihood's expectation under
a Gaussian of the values, or what stands for it; its log itself where the covariance is 0."""

NUM_STEPS = 24
_FARTHEST = 3.0


@dataclass(frozen=True)
class Target:
    """What is known of one event of ``B`` series, in the units of the values.

    Attributes
    ----------
    matrix, values, noise
        Linear observations ``H v = y``, up to a standard deviation: ``[B, m, D]``, ``[B, m]`` and
        ``[B, m]``. Rows of zeros observe nothing.
    lower, upper
        A box, ``[B, D]``; infinite where there is no bound. None: none at all.
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
        if self.lower is None or self.upper is None:
            return self.potentials
        lower, upper = self.lower.unsqueeze(1), self.upper.unsqueeze(1)

        def within(mean: Tensor, covariance: Tensor) -> Tensor:
            spread = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(1e-300).sqrt().unsqueeze(1)
            return log_interval((lower - mean) / spread, (upper - mean) / spread).sum(-1)

        return (within, *self.potentials)


class Affine(NamedTuple):
    """Values ``v = offset + M x`` of what a path runs on: ``[B, N, D]`` and ``M [B, D, D]``."""

    offset: Tensor
    matrix: Tensor

    def values(self, x: Tensor) -> Tensor:
        """``[B, N, D]`` of ``x [B, N, D]``."""
        return self.offset + x @ self.matrix.mT


class Belief(NamedTuple):
    """A Gaussian of ``x_0``: means ``[B, N, D]``, and one covariance ``[D, D]`` for all."""

    mean: Tensor
    covariance: Tensor


class Transition(NamedTuple):
    """``x_s = share x_0 + keep x_t + √variance ε`` for ``s < t``; ``[D]`` each."""

    share: Tensor
    keep: Tensor
    variance: Tensor

    @classmethod
    def between(cls, field: Field, t: Tensor, t_next: Tensor) -> Transition:
        (a, b), (a_next, b_next) = field.signal_noise(t), field.signal_noise(t_next)  # type: ignore[misc]
        kept = (a * b_next) / (a_next * b)
        variance = b_next.square() * (1.0 - kept.square()).clamp_min(0.0)
        level = (b_next.square() - variance).clamp_min(0.0).sqrt()
        return cls(*(part.flatten() for part in (a_next - a * level / b, level / b, variance)))

    def data_given_both(self, x: Tensor, x_next: Tensor, belief: Belief) -> Belief:
        """The law of ``x_0`` given ``x_t`` and ``x_s``, of the one given ``x_t``."""
        dims = belief.covariance.shape[-1]
        spread = self.share.expand(dims).unsqueeze(-1) * belief.covariance
        total = spread * self.share + torch.diag(self.variance.expand(dims))
        gain = torch.linalg.solve(total, spread).mT
        surprise = x_next - self.keep * x - self.share * belief.mean
        return Belief(belief.mean + surprise @ gain.mT, belief.covariance - gain @ spread)


class Twist:
    """The likelihood as a step sees it: observations, and a tilt in place of the rest."""

    def __init__(self, target: Target, affine: Affine, belief: Belief, *, last: bool):
        self.target, self.affine, self.belief = target, affine, belief
        self._matrix = target.matrix @ affine.matrix
        self._wanted = target.values.unsqueeze(1) - affine.offset @ target.matrix.mT
        self.observation = self._observed(belief)
        # The last step is followed by the likelihood itself.
        self.tilt = torch.zeros_like(belief.mean) if last else self._tilt()

    def log_evidence(self) -> Tensor:
        """``log Z`` of the step's own belief, ``[B, N]``."""
        return self._log_evidence(self.belief, self.observation)

    def log_evidence_of(self, belief: Belief) -> Tensor:
        """``log Z`` of another one."""
        return self._log_evidence(belief, self._observed(belief))

    def draw(self, generator: Randomness, rows: Tensor) -> Tensor:
        """``x_0`` by the guided law, ``[B, N, D]``; noise is like ``rows [B · N, D]``."""
        mean, covariance = self.belief
        noise = standard_normal(rows, generator).view(mean.shape)
        x = mean + self.tilt @ covariance + noise @ lower_factor(covariance).mT
        errors = standard_normal(rows.new_zeros(len(rows), self._matrix.shape[1]), generator)
        return self._conditioned(x, errors.view(*mean.shape[:2], -1))

    def draw_within(self, generator: Randomness, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Values of the last step within the box, ``[B, N, D]``, and their log-weights."""
        mean = self.affine.values(self._conditioned(self.belief.mean))
        matrix = self.affine.matrix
        factor = lower_factor(matrix @ self.observation.posterior @ matrix.mT)
        uniform = drawn(rows, generator, _uniform).view(mean.shape)
        lower, upper = self.target.lower, self.target.upper
        return draw_in_box(mean, factor, lower, upper, uniform)  # type: ignore[arg-type]

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
            total = sum(potential(values, spread).sum() for potential in potentials)
            (slope,) = torch.autograd.grad(total, values)  # type: ignore[arg-type]
        slope = torch.nan_to_num(slope @ matrix, 0.0, 0.0, 0.0)
        deviations = (slope @ lower_factor(self.belief.covariance)).abs().amax(-1, keepdim=True)
        return slope * (_FARTHEST / deviations.clamp_min(1e-300)).clamp_max(1.0)

    def _conditioned(self, x: Tensor, errors: Tensor | None = None) -> Tensor:
        """Matheron's rule: a draw, or the mean, given the observations."""
        residual = self._wanted - x @ self._matrix.mT
        if errors is not None:
            residual = residual + errors * self.target.noise.unsqueeze(1)
        return x + residual @ self.observation.gain.mT

    def _log_evidence(self, belief: Belief, observation: Observation) -> Tensor:
        moved = self.tilt @ belief.covariance
        tilted = self.tilt * (belief.mean - self.belief.mean + 0.5 * moved)
        residual = self._wanted - (belief.mean + moved) @ self._matrix.mT
        return tilted.sum(-1) + observation.log_evidence(residual)


def sample_guided(
    decoder: AffineDecoder,
    context: Tensor,
    target: Target,
    affine: Affine,
    generators: Sequence[torch.Generator],
    *,
    num_steps: int | None = None,
    grid: str | Grid | None = None,
    condition_weight: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Draw one event for each row of ``context``, given a target.

    Parameters
    ----------
    context
        ``[B · N, 1, H]``, N samples of a series in adjacent rows: events of one step.
    affine
        Values of the decoder's events, ``v = offset + M z``.
    generators
        One per series.
    num_steps, grid
        Of the reverse process; 24 equal steps in the angle ``atan(b / a)`` by default.
    condition_weight
        Of classifier-free guidance; 1 is none.

    Returns
    -------
    values, log_weights
        ``[B · N, 1, D]`` float64 and ``[B, N]``. Weighted so, the samples are those of the
        decoder's law times the likelihood; the mean weight is an estimate of its expectation.

    Raises
    ------
    MissingFieldError
        If the decoder's process has no data prediction, as where its noise isn't Gaussian.
    """
    if context.shape[1] != 1:
        raise ValueError(f"guided events have one step, got contexts of {context.shape[1]}")
    field = decoder.field(context, condition_weight=condition_weight)
    Analytic().check(field)
    grid = as_grid("angle" if grid is None else grid)
    times = grid(NUM_STEPS if num_steps is None else num_steps, field.signal_noise)
    affine = _of_path(decoder, affine)
    shape = affine.offset.shape
    rows = context.new_empty(len(context), 1, shape[-1])
    x = decoder.draw_source(field, rows, generators).double().view(shape)
    log_weights, carried = torch.zeros(shape[:2]).to(x), torch.zeros(()).to(x)
    wide = rows.double().squeeze(1)
    moments = times.to(x).view(-1, 1, 1, 1).unbind()
    for t, t_next in pairwise(moments):
        here = x.reshape(rows.shape).to(rows.dtype)
        mean = field.data(here, t.to(rows.dtype)).double().view(shape)  # type: ignore[misc]
        belief = Belief(mean, _left_open(decoder, field, t))
        last = t_next is moments[-1]
        twist = Twist(target, affine, belief, last=last)
        log_weights = log_weights + twist.log_evidence() - carried
        if last:
            break
        step = Transition.between(field, t, t_next)
        data = twist.draw(generators, wide)
        noise = standard_normal(wide, generators).view(shape)
        x_next = step.share * data + step.keep * x + step.variance.sqrt() * noise
        carried = twist.log_evidence_of(step.data_given_both(x, x_next, belief))
        x = x_next
    if target.lower is not None:
        values, inside = twist.draw_within(generators, wide)
        log_weights = log_weights + inside
    else:
        values = affine.values(twist.draw(generators, wide))
    nothing = torch.zeros_like(affine.matrix)
    for potential in target.potentials:
        log_weights = log_weights + potential(values, nothing)
    return values.reshape(rows.shape), log_weights


def _of_path(decoder: AffineDecoder, affine: Affine) -> Affine:
    """Values as a function of what the path runs on, in place of the decoder's events."""
    like = affine.matrix
    dims = like.shape[-1]
    points = torch.cat([torch.zeros(1, dims), torch.eye(dims)]).to(like).unsqueeze(1)
    events = decoder.axes.leave(points).squeeze(1)
    centre, columns = events[0], (events[1:] - events[0]).mT
    offset = affine.offset + (like @ centre).unsqueeze(1)
    return Affine(offset, like @ columns)


def _left_open(decoder: AffineDecoder, field: Field, t: Tensor) -> Tensor:
    """``Cov(x_0 | x_t)`` as it would be of Gaussian data, ``[D, D]`` along the path's axes."""
    _, covariance = decoder.axes.moments()
    a, b = (part.expand(1, 1, len(covariance)).flatten() for part in field.signal_noise(t))  # type: ignore[misc]
    seen = a.unsqueeze(-1) * covariance
    total = seen * a + torch.diag(b.square())
    return covariance - seen.mT @ torch.linalg.solve(total, seen)


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    u = torch.rand(like.shape, dtype=like.dtype, device=like.device, generator=generator)
    return u.clamp(1e-12, 1.0 - 1e-12)
