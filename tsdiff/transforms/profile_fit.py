"""How a :class:`~tsdiff.transforms.profile.ProfileForecast` comes by its plan and its weights.

Everything is closed form: ridge regressions whose penalties are weighed by leave-one-out errors,
and moments of the leave-one-out errors, which are those of forecasts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from tsdiff.random import seeded
from tsdiff.transforms.gamma import gamma_regression, held_out_loss
from tsdiff.transforms.gaps import filled_by_season
from tsdiff.transforms.lags import base_frequency, season_is_day, season_length
from tsdiff.transforms.linear import limited_to_spread
from tsdiff.transforms.profile import (
    LARGEST_SCORE,
    SCORES,
    Plan,
    ProfileForecast,
    ProfileFrame,
    to_scores,
)
from tsdiff.transforms.series import Series, resting_on

_DEPTHS = (1, 2, 3, 5, 7, 14)
_PENALTIES = tuple(10.0**power for power in range(-3, 5))
# Relative leave-one-out error by which a penalty counts a third.
_INDIFFERENCE = 0.1
# Origins of a kind below which kinds are not told apart, and nothing is regressed.
_FEWEST_ORIGINS = 60
# Weights of regressions, and values of axes and quantiles, beyond which a plan isn't tried: 128 MiB
# and 1 GiB.
_MOST_WEIGHTS, _MOST_MOMENTS = 2**24, 2**27
_HELD_OUT = 0.2
_WORTHWHILE = 0.02
# A mode's own spread is weighed against that of the product as so many origins would be.
# So many weigh that nothing of a mode stays from one season to the next, too.
_PRIOR_ORIGINS = 20.0
# Quantiles are the data's; this only keeps them apart. Many would bend a skew distribution towards
# the normal one: each dimension's is then too wide, and their sum's too narrow.
_PRIOR_QUANTILES = 0.3
# Standard deviation, before data, of what a regressor's spread adds to errors' log mean square; the
# standard errors by which that must pay on blocks held out; and the spread of a regressor that is
# constant up to single precision.
_PRIOR_SPREAD, _CERTAIN, _CONSTANT = 0.1, 3.0, 1e-5
# Origins and draws by which a plan is judged, and the seed of the latter; the most values that they
# are taken from, the latest ones, but for this many seasons.
_JUDGED, _DRAWS, _NOISE = 64, 48, 19
_MOST_VALUES, _FEWEST_SEASONS = 2**20, 100
# Values of the errors of all origins beyond which no plan is made unless it is asked for: 0.5 GiB,
# a few times over.
_MOST_ERRORS = 2**26
# Errors of a step below which their spread is weighed against others', and as how many these count;
# and the seed of what stands where nothing was seen.
_FEW_SEEN, _PRIOR_SEEN, _GAPS = 20, 5.0, 29
# Pseudo-counts that are tried, as shares of the seasons that a window's restlessness is read from.
_PRIOR_SEASONS = (0.05, 0.15, 0.5, 1.5, 5.0, 50.0)


def choose_plan(series: Sequence[Series], horizon: int, freq: str) -> Plan:
    """The plan whose forecasts of the last fifth of the longest series err least.

    Parameters
    ----------
    series
        Training data.
    horizon
        T.
    freq
        Their frequency.
    """
    longest = max(series, key=len)
    season, daily = season_length(freq), season_is_day(freq)
    judged, steps = judged_by(series, season), len(longest) - horizon
    told_apart = daily or base_frequency(freq)[1] == "D"
    phases = season if told_apart and steps >= _FEWEST_ORIGINS * season else 1
    lowest = _lowest(torch.from_numpy(longest.target), torch.from_numpy(longest.observed))
    bounded = season > 1 and bool(torch.isfinite(lowest).all())
    last = Plan(1, 1, 1, False, False, False)
    plans = [last]
    if season > 1:
        seasonal = Plan(season, 1, phases, daily, False, bounded)
        if not _has_room(seasonal, longest, horizon):
            phases, seasonal = 1, replace(seasonal, phases=1)
        plans = [replace(seasonal, depth=depth) for depth in _DEPTHS] + plans
        if phases > 1:
            corrected = [replace(plan, corrected=True) for plan in plans[: len(_DEPTHS)]]
            plans = plans + corrected
    errors = {p: e for p in plans if (e := _judge(p, judged, horizon)) is not None}
    if not errors:
        return last
    best = min(errors, key=errors.__getitem__)
    plain = min((p for p in errors if not p.corrected), key=errors.__getitem__)
    return best if errors[best] < (1.0 - _WORTHWHILE) * errors[plain] else plain


def judged_by(series: Sequence[Series], season: int) -> Series:
    """What plans are judged by: the longest series, or the end of a very large one."""
    longest = max(series, key=len)
    most = _MOST_VALUES // longest.target.shape[1]
    return longest.latest(max(most, _FEWEST_SEASONS * season))


def is_too_large(series: Sequence[Series], horizon: int) -> bool:
    """Whether the errors of all origins, which are held at once, take many gigabytes."""
    return sum(one.target.size for one in series) * horizon > _MOST_ERRORS


def _has_room(plan: Plan, series: Series, horizon: int) -> bool:
    """Whether what a plan is fitted to such series by is small enough to be held in memory."""
    dims, num_features = series.target.shape[1], series.features.shape[1]
    weights = ProfileForecast.num_weights(plan, horizon, dims, num_features)
    moments = ProfileForecast.num_moments(plan, horizon, dims)
    return weights <= _MOST_WEIGHTS and moments <= _MOST_MOMENTS


def fit_profile(
    profile: ProfileForecast,
    series: Sequence[Series],
    features: Sequence[Tensor],
    phases: Sequence[int] | None = None,
    *,
    keep_axes: bool = False,
) -> None:
    """Fit weights, spreads and axes on all training data.

    Parameters
    ----------
    features
        Standardised features of each series, ``[L, num_features]``.
    phases
        Kinds of origin to be fitted; None is all.
    keep_axes
        Leave scales and axes as they are, so that modes mean what they meant to a network that
        was trained on them.
    """
    series = [_filled(one, profile.plan) for one in series]
    values = torch.cat([torch.from_numpy(s.target) for s in series])
    observed = torch.cat([torch.from_numpy(s.observed) for s in series])
    profile.lowest.copy_(_lowest(values, observed))
    if not keep_axes:
        count = observed.sum(0).clamp_min(1.0)
        profile.centre.copy_((values * observed).sum(0) / count)
        # With gaps at the mean, the variance of all is that of what was observed times its share.
        values = torch.where(observed > 0.0, values, profile.centre)
        size = values.std(0, unbiased=False) * (len(values) / count).sqrt()
        profile.size.copy_(_positive(size, values))
        if profile.panel.shape[1] < profile.panel.shape[0]:
            standard = (values - profile.centre) / profile.size
            axes = torch.linalg.eigh(standard.T @ standard).eigenvectors.flip(1)
            profile.panel.copy_(axes[:, : profile.panel.shape[1]])
    found = {}
    for phase, origins in _origins(profile, series, features, phases):
        if len(origins.past):
            found[phase] = _regress(profile, phase, origins)
    if found:
        _fit_spread(profile, found, keep_axes)


def _filled(series: Series, plan: Plan) -> Series:
    """The series with long gaps filled by a plan's season, by nothing that came later."""
    target, observed = torch.from_numpy(series.target), torch.from_numpy(series.observed)
    return replace(series, target=filled_by_season(target, observed, plan.season).numpy())


class _Origins(NamedTuple):
    """All windows of one kind: past ``[n, W, D]``, features ``[n, W + T, ·]``, future.

    And what of the future was seen, of dimensions that were there in the season before it.
    """

    past: Tensor
    features: Tensor
    future: Tensor
    seen: Tensor


def _origins(
    profile: ProfileForecast,
    series: Sequence[Series],
    features: Sequence[Tensor],
    phases: Sequence[int] | None,
) -> Iterator[tuple[int, _Origins]]:
    memory, horizon = profile.plan.memory, profile.horizon
    tensors = []
    for one, known in zip(series, features, strict=True):
        # A series without room for an origin has none, and stands beside those that do.
        first = torch.arange(memory, max(memory, len(one) - horizon + 1))
        phase = profile.phase_of(known[first]) if len(first) else first
        observed = torch.from_numpy(one.observed)
        tensors.append((torch.from_numpy(one.target), observed, known, first, phase))
    for phase in range(profile.plan.phases) if phases is None else phases:
        parts = []
        for target, observed, known, first, kinds in tensors:
            start = first[kinds == phase] - memory
            values, seen, calendar = (
                _windows(one, start, memory + horizon) for one in (target, observed, known)
            )
            seen = seen > 0.0
            begun = seen[:, memory - profile.plan.season : memory].any(1, keepdim=True)
            seen = seen[:, memory:] & begun
            parts.append((values[:, :memory], calendar, values[:, memory:], seen))
        several = len(parts) > 1
        columns = zip(*parts, strict=True)
        yield phase, _Origins(*(torch.cat(c) if several else c[0] for c in columns))


def _windows(values: Tensor, start: Tensor, length: int) -> Tensor:
    """Windows ``[n, length, ·]`` of ``values [L, ·]``; a view where they lie at equal distances."""
    step = int(start[1] - start[0]) if len(start) > 1 else 1
    if not len(start) or not torch.equal(start, start[0] + step * torch.arange(len(start))):
        return values[start.unsqueeze(1) + torch.arange(length)]
    end = int(start[-1]) + length
    return values[int(start[0]) : end].unfold(0, length, step).movedim(-1, 1)


class _Errors(NamedTuple):
    """Of origins of one kind: left out and fitted, ``[n, T, D]``, changes, ``[n, D]``, windows.

    Where a truth wasn't seen, they are drawn at random, as large as the others, so that they say
    nothing of anything else.

    And the errors if the last season repeated, where modes persist, else what was left out.
    """

    left_out: Tensor
    fitted: Tensor
    repeated: Tensor
    change: Tensor
    origins: _Origins


def _regress(profile: ProfileForecast, phase: int, origins: _Origins) -> _Errors:
    whole = origins.seen.flatten(1).all(1)
    if not whole.all() and int(whole.sum()) >= len(whole) / 2:
        origins = _Origins(*(part[whole] for part in origins))
    past, features, future, _ = origins
    seen = None if bool(origins.seen.all()) else origins.seen
    plain = profile.profile(past)
    unit = profile.unit(plain)
    change = _known_change(profile.change(past, unit), seen)
    plain, unit = profile.ahead(plain), profile.ahead(unit)
    errors = limited_to_spread((future - plain) / unit, seen)
    if seen is not None:
        errors = errors * seen
    repeated = errors
    if profile.plan.bounded:
        repeated = limited_to_spread((profile.last_season(past) - plain) / unit)
    if not profile.plan.corrected:
        return _filled_in(_Errors(errors, errors, repeated, change, origins), seen)
    design = profile.regressors(past, features)
    mean, std = design.mean(0), design.std(0, unbiased=False)
    std = torch.where(std > 1e-9, std, torch.inf)
    target = errors @ profile.panel
    turn = _common_axes(target, told_apart=not profile.plan.bounded)
    target = (target @ turn).flatten(1)
    solution = _ridge((design - mean) / std, target)

    def on_panel(outputs: Tensor) -> Tensor:
        return (outputs.unflatten(-1, (profile.horizon, -1)) @ turn.mT).flatten(-2)

    profile.regressor_mean[phase], profile.regressor_std[phase] = mean, std
    profile.weight[phase] = on_panel(solution.weight)
    profile.intercept[phase] = on_panel(target.mean(0))

    def explained(left: Tensor) -> Tensor:
        return on_panel(target - left).unflatten(1, (profile.horizon, -1)) @ profile.panel.mT

    left_out, fitted = (errors - explained(s) for s in (solution.left_out, solution.fitted))
    found = _Errors(left_out, fitted, repeated + (left_out - errors), change, origins)
    return _filled_in(found, seen)


def _known_change(change: Tensor, seen: Tensor | None) -> Tensor:
    """Changes ``[n, D]``, which are typical ones in windows that tell of nothing."""
    if seen is None:
        return change
    told = seen.any(1)
    typical = (change * told).sum(0) / told.sum(0).clamp_min(1)
    return torch.where(told, change, typical)


def _filled_in(errors: _Errors, seen: Tensor | None) -> _Errors:
    if seen is None:
        return errors
    generator = seeded(0, _GAPS)
    noise = torch.randn(seen.shape, dtype=errors.left_out.dtype, generator=generator)

    def filled(some: Tensor) -> Tensor:
        return torch.where(seen, some, _seen_spread(some, seen) * noise)

    left_out, fitted, repeated = map(filled, errors[:3])
    return errors._replace(left_out=left_out, fitted=fitted, repeated=repeated)


def _seen_spread(errors: Tensor, seen: Tensor) -> Tensor:
    """Of what was seen of errors ``[n, T, D]``, ``[T, D]``; little is weighed against the rest."""
    count, square = seen.sum(0), (errors.square() * seen).sum(0)
    typical = square.sum() / count.sum().clamp_min(1)
    prior = torch.where(count < _FEW_SEEN, _PRIOR_SEEN, 0.0)
    return ((square + prior * typical) / (count + prior).clamp_min(1e-300)).sqrt()


def _common_axes(errors: Tensor, *, told_apart: bool) -> Tensor:
    """Axes ``[A, A]``, in columns, along which ``errors [n, T, A]`` are regressed.

    What dimensions have in common, their total above all, follows from what is known far better
    than what is one's own, and wants a smaller penalty: the axes are the principal ones. They are
    those of the panel where the common is not to be ``told_apart``, as of shares of a profile,
    which are forecast no better for it.
    """
    if not told_apart:
        return torch.eye(errors.shape[2], dtype=errors.dtype)
    rows = (errors - errors.mean(0)).flatten(0, 1)
    return torch.linalg.eigh(rows.T @ rows).eigenvectors


def _fit_spread(profile: ProfileForecast, found: dict[int, _Errors], keep_axes: bool) -> None:
    """Spreads and modes of all kinds of origin, and how much a window's restlessness tells."""
    change = torch.cat([errors.change for errors in found.values()]).mean(0)
    profile.typical_change.copy_(torch.where(change > 0.0, change, 1.0))
    best = (-torch.inf, 0.0)
    for seasons in _PRIOR_SEASONS:
        prior = seasons * profile.plan.recent
        total = 0.0
        for errors in found.values():
            factor = profile.restlessness(errors.change, prior).unsqueeze(1)
            calm = errors.left_out / factor
            spread = calm.square().mean(0).sqrt()
            alive = spread > _floor(spread)
            likelihood = spread.clamp_min(_floor(spread)).log() * alive + factor.log() * alive
            total -= float(likelihood.mean(0).sum())
        best = max(best, (total, prior))
    profile.prior.fill_(best[1])
    for phase, errors in found.items():
        calm, calm_fitted, repeated = _calm(profile, phase, errors)
        for name, one in (("spread", calm), ("spread_fitted", calm_fitted)):
            spread = one.square().mean(0).sqrt()
            getattr(profile, name)[phase] = spread.clamp_min(_floor(spread))
        standard = calm / profile.spread[phase]
        if profile.knots is not None:
            profile.knots[phase] = _quantiles(standard)
            standard, repeated = (
                to_scores(one.movedim(0, -1).contiguous(), profile.knots[phase]).movedim(-1, 0)
                for one in (standard, repeated / profile.spread[phase])
            )
            repeated = repeated.clamp(-LARGEST_SCORE, LARGEST_SCORE)
        alive = profile.spread[phase] > 2.0 * _floor(profile.spread[phase])
        if not keep_axes:
            _fit_modes(profile, phase, standard * alive, repeated * alive)


def _calm(profile: ProfileForecast, phase: int, errors: _Errors) -> tuple[Tensor, Tensor, Tensor]:
    """Errors left out, fitted and repeated, without what is known of their size in advance."""
    restless = profile.restlessness(errors.change)
    left_out, fitted, repeated = (one / restless.unsqueeze(1) for one in errors[:3])
    if not profile.plan.spread_regressed:
        return left_out, fitted, repeated
    past, features, future, _ = errors.origins
    # Forecasts are left out as their errors are: those of unseen windows move less.
    told = [
        profile.spread_regressors(past, features, future - profile.size * one, restless)
        for one in (errors.left_out, errors.fitted)
    ]
    spread = left_out.square().mean(0).sqrt()
    alive = (spread > 2.0 * _floor(spread)).to(spread.dtype)
    squares = (left_out / spread.clamp_min(_floor(spread))).square() * alive
    size = told[0].std(0, unbiased=False)
    profile.spread_centre[phase] = told[0].mean(0)
    profile.spread_size[phase] = torch.where(size > _CONSTANT, size, torch.inf)
    standard = profile.standard_spread_regressors(told[0], phase)
    overlap = max(1.0, profile.horizon / profile.plan.season)
    parts = [
        (standard[:, part], squares[:, profile.part == part].mean((1, 2)))
        for part in range(standard.shape[1])
    ]
    gains = [
        held_out_loss(*part, 0.0) - held_out_loss(*part, _PRIOR_SPREAD, overlap) for part in parts
    ]
    gain = torch.stack(gains).mean(0)
    certain = gain.mean() > _CERTAIN * gain.std() * (overlap / len(gain)) ** 0.5
    for part, (design, target) in enumerate(parts):
        weight = 0.5 * gamma_regression(design, target, _PRIOR_SPREAD, overlap)
        profile.spread_weight[phase, part] = weight if certain else 0.0
    factors = [profile.spread_factor(regressors, phase) for regressors in told]
    return left_out / factors[0], fitted / factors[1], repeated / factors[0]


def _quantiles(standard: Tensor) -> Tensor:
    """Strictly rising quantiles of errors ``[n, T, D]`` at :data:`SCORES`, ``[T, D, Q]``."""
    n = len(standard)
    levels = torch.special.ndtr(SCORES)
    knots = torch.quantile(standard, levels, dim=0).movedim(0, -1)
    return (n * knots + _PRIOR_QUANTILES * SCORES) / (n + _PRIOR_QUANTILES)


def _fit_modes(profile: ProfileForecast, phase: int, standard: Tensor, repeated: Tensor) -> None:
    """Axes and modes of standardised errors ``[n, T, D]``, and what of them stays."""
    n, steps, dims = standard.shape
    flat_time = standard.transpose(0, 1).flatten(1)
    flat_dims = standard.flatten(0, 1)
    times, time_axes = _axes(flat_time @ flat_time.T / (n * dims), n)
    sizes, dimension_axes = _axes(flat_dims.T @ flat_dims / (n * steps), n * steps)
    modes = (time_axes.mT @ standard @ dimension_axes).flatten(1)
    variance = torch.outer(times, sizes).flatten()
    own = modes.square().sum(0)
    variance = (own + _PRIOR_ORIGINS * variance) / (n + _PRIOR_ORIGINS)
    if profile.plan.bounded:
        # Cloudy days follow cloudy days: each mode is regressed on the last season's.
        before = (time_axes.mT @ repeated @ dimension_axes).flatten(1)
        moved, centred = before - before.mean(0), modes - modes.mean(0)
        power = moved.square().sum(0) * (1.0 + _PRIOR_ORIGINS / n) + 1e-9
        stays = (moved * centred).sum(0) / power
        leverage = (1.0 / n + moved.square() / power).clamp_max(1.0 - 1e-3)
        left = ((centred - stays * moved) / (1.0 - leverage)).square().sum(0)
        variance = variance * torch.where(own > 1e-9, left / own.clamp_min(1e-9), 1.0)
        drift = modes.mean(0) - stays * before.mean(0)
    order = variance.argsort(descending=True)
    profile.time_axes[phase], profile.dimension_axes[phase] = time_axes, dimension_axes
    profile.order[phase] = order
    profile.deviation[phase] = variance[order].clamp_min(1e-8).sqrt()
    if profile.plan.bounded:
        profile.persistence[phase], profile.drift[phase] = stays[order], drift[order]


def _axes(correlation: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues, falling, and eigenvectors whose sum is positive."""
    size = len(correlation)
    shrinkage = size / (size + count)
    trace = correlation.diagonal().mean().clamp_min(1e-12)
    identity = torch.eye(size, dtype=correlation.dtype)
    correlation = (1.0 - shrinkage) * correlation / trace + (shrinkage + 1e-6) * identity
    values, vectors = torch.linalg.eigh(correlation)
    values, vectors = values.flip(0), vectors.flip(1)
    sign = torch.where(vectors.sum(0) < 0.0, -1.0, 1.0)
    return values, vectors * sign


class _Solution(NamedTuple):
    weight: Tensor
    left_out: Tensor
    fitted: Tensor


def _ridge(design: Tensor, target: Tensor, penalties: Sequence[float] = _PENALTIES) -> _Solution:
    """Ridge regression of ``target [n, Q]`` on standardised ``design [n, F]``.

    Each output takes the mean of the weights of all penalties, counted by their leave-one-out error
    ``e / (1 - h)`` (Hastie, Tibshirani & Friedman 2009, eq. 7.64): the first hours follow from what
    was last seen and want a small penalty, later ones a large one, and a mean errs less than the
    best of its parts. The mean is a linear smoother, too, and is left one out by its own ``h``.
    """
    n = len(design)
    centred = target - target.mean(0)
    values, vectors = torch.linalg.eigh(design.T @ design)
    scores, values = design @ vectors, values.clamp_min(0.0)
    products = scores.T @ centred
    inverses = 1.0 / (values + n * torch.tensor(penalties, dtype=values.dtype).unsqueeze(1))
    hats = 1.0 / n + scores.square() @ inverses.T
    errors = target.new_empty(len(penalties), target.shape[1])
    for inverse, hat, error in zip(inverses, hats.T, errors, strict=True):
        residual = centred - scores @ (inverse.unsqueeze(1) * products)
        error.copy_((residual / (1.0 - hat).clamp_min(1e-3).unsqueeze(1)).square().mean(0))
    relative = errors / errors.amin(0).clamp_min(1e-300)
    shares = torch.softmax((1.0 - relative) / _INDIFFERENCE, dim=0)
    weight = (inverses.T @ shares) * products
    fitted = centred - scores @ weight
    return _Solution(vectors @ weight, fitted / (1.0 - hats @ shares).clamp_min(1e-3), fitted)


def _judge(plan: Plan, series: Series, horizon: int) -> float | None:
    """CRPS of a plan's forecasts of the last fifth, fitted to what is before; None without room.

    Of every dimension and of the sum, in units of the dimension's and the sum's size. Origins of
    two kinds stand for all.
    """
    trial = _trial(plan, series, horizon)
    if trial is None:
        return None
    profile, frame, values, split, first = trial
    index = first.unsqueeze(1) + torch.arange(-plan.memory, horizon)
    future = values[:, plan.memory :]
    observed = torch.from_numpy(series.observed)[index][:, plan.memory :]
    # What begins later has no size yet.
    before = torch.from_numpy(series.observed)[:split].sum(0)
    observed = observed * (before >= min(_FEW_SEEN, 0.5 * float(before.max())))
    noise = torch.randn(
        (len(index) * _DRAWS, future[0].numel()),
        dtype=torch.float64,
        generator=seeded(0, _NOISE),
    )
    drawn = profile.bounded(frame.unwhiten(noise)).unflatten(0, (-1, _DRAWS))
    sums = values.sum(2).flatten()
    size = _positive(sums.std(unbiased=False), sums)
    each = _crps(drawn, future) * observed / profile.size
    return float(each.mean() + _crps(drawn.sum(3), future.sum(2)).mean() / size)


class _Trial(NamedTuple):
    """A plan fitted to what is before ``split``, and its forecasts from ``first [n]`` on.

    And windows ``[n, W + T, D]`` of the past that they are made of and the future.
    """

    profile: ProfileForecast
    frame: ProfileFrame
    values: Tensor
    split: int
    first: Tensor


def _trial(plan: Plan, series: Series, horizon: int) -> _Trial | None:
    """Forecasts of the last fifth, from two kinds of origin, fitted before; None without room."""
    length = len(series)
    split = int(length * (1.0 - _HELD_OUT))
    if plan.memory + horizon > split or split + horizon > length:
        return None
    if not _has_room(plan, series, horizon):
        return None
    series, dims = _filled(series, plan), series.target.shape[1]
    features = torch.from_numpy(series.features[:length])
    profile = ProfileForecast(plan, horizon, dims, features.shape[1])
    stride = max(1, plan.season // 2)
    phases = sorted({0, plan.phases // 2})
    fit_profile(profile, [series.until(split)], [features[:split]], phases)
    first = torch.arange(split, length - horizon + 1, 1 if plan.phases > 1 else stride)
    told = profile.phase_of(features[first])
    first = first[torch.isin(told, torch.tensor(phases))]
    if not len(first):
        return None
    first = first[:: -(-len(first) // _JUDGED)]
    index = first.unsqueeze(1) + torch.arange(-plan.memory, horizon)
    values = torch.from_numpy(series.target)[index]
    frame = profile(values[:, : plan.memory], features[index])
    return _Trial(profile, frame, values, split, first)


def plan_forecasts(plan: Plan, series: Series, horizon: int) -> tuple[int, Tensor, Tensor] | None:
    """A plan's median forecasts of the last fifth of a series, by a fit to the rest.

    Returns
    -------
    tuple or None
        The first step of the last fifth, the origins ``[n]`` and forecasts ``[n, T, D]``; None
        without room.
    """
    trial = _trial(plan, series, horizon)
    if trial is None:
        return None
    modes = torch.zeros(len(trial.first), trial.frame.mean[0].numel(), dtype=torch.float64)
    return trial.split, trial.first, trial.profile.bounded(trial.frame.unwhiten(modes))


def _crps(drawn: Tensor, truth: Tensor) -> Tensor:
    """CRPS of samples ``[n, N, ...]``, without bias, ``[n, ...]``."""
    count = drawn.shape[1]
    error = (drawn - truth.unsqueeze(1)).abs().mean(1)
    # Of sorted samples, the mean absolute difference is a weighted sum.
    weight = 2.0 * torch.arange(count, dtype=drawn.dtype) - (count - 1)
    ordered = drawn.sort(1).values.movedim(1, -1)
    return error - (ordered @ weight) / (count * (count - 1))


def _lowest(values: Tensor, observed: Tensor) -> Tensor:
    """See :func:`tsdiff.transforms.series.resting_on`."""
    return torch.from_numpy(resting_on(values.numpy(), observed.numpy()))


def _floor(spread: Tensor) -> float:
    return 1e-9 * float(spread.max()) + 1e-12


def _positive(size: Tensor, values: Tensor) -> Tensor:
    return torch.maximum(size, 1e-13 * values.abs().amax(0) + 1e-12)
