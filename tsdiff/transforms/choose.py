"""Which simple forecast is strong on a data set, and hence which coordinates to work in.

Last value, seasonal value and level have nothing to be fitted: they compete over the whole of the
training data, and the last value stays unless another errs clearly less, since a stretch of a
random walk easily looks like a level. The winner may then be given a ridge correction, by its own
lags or by all dimensions', at several penalties: each is fitted on the first four fifths and judged
on the last fifth by what counts, the error of its mean forecast over the whole horizon, rolled out
step by step. The best is fitted again on everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tsdiff.transforms.calendar import num_calendar_features
from tsdiff.transforms.coordinates import RESIDUAL_SPREADS, SCALINGS, Coordinates, Reference, Spread
from tsdiff.transforms.linear import (
    LinearCorrection,
    Structure,
    limited_to_spread,
    ridge_path,
)
from tsdiff.transforms.series import Series

LINEAR = ("auto", "none", "own", "all")
# Above this, a covariance per window costs more than the network that it helps, and more than this
# number of steps can tell; one of all training data does up to here.
_LARGEST_WHITENED = 128
_LARGEST_POOLED = 1024
# Above this, a regression on all dimensions' lags has more columns than it could ever earn.
_LARGEST_JOINT = 400
_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
_ORIGINS = 64
_HELD_OUT = 0.2
# A reference other than the last value, and a correction, must lower the error by these shares.
_CLEARLY = 0.05
_WORTHWHILE = 0.02
# A correction needs so many steps per column.
_STEPS_PER_COLUMN = 10


class Choice(NamedTuple):
    """A scaling, and the structure and penalty of its linear correction, if any."""

    scaling: str
    structure: Structure | None
    penalty: float


@dataclass(frozen=True)
class _Problem:
    """All candidates of one reference, on one series."""

    series: Series
    horizon: int
    context_length: int
    season: int
    lags: tuple[int, ...]


def choose_coordinates(
    series: Sequence[Series],
    *,
    horizon: int,
    context_length: int,
    season: int,
    lags: Sequence[int],
    scaling: str = "auto",
    linear: str = "auto",
) -> Choice:
    """The scaling and linear correction whose mean forecast errs least.

    Parameters
    ----------
    series
        Training data; the longest one is judged on.
    horizon, context_length, season, lags
        In steps.
    scaling, linear
        "auto", or what is already decided.
    """
    longest = max(series, key=len)
    context_length = _context_within(series, context_length)
    problem = _Problem(longest, horizon, context_length, season, tuple(lags))
    if scaling == "auto":
        scaling = _strongest_reference(problem)
    plain = Choice(scaling, None, 0.0)
    structures = _structures(linear, longest.target.shape[1])
    if SCALINGS[scaling][1] not in RESIDUAL_SPREADS or not structures:
        return plain
    errors = _judge(problem, scaling, structures)
    if not errors:
        return plain
    best = min(errors, key=errors.__getitem__)
    if linear == "auto" and errors[best] > (1.0 - _WORTHWHILE) * errors[plain]:
        return plain
    if linear != "auto" and best == plain:
        del errors[plain]
        best = min(errors, key=errors.__getitem__)
    return best


def _strongest_reference(problem: _Problem) -> str:
    """The scaling of the plain reference that forecasts the training data best."""
    length, dims = len(problem.series), problem.series.target.shape[1]
    if dims <= _LARGEST_WHITENED:
        last, *others = "whitened", "whitened_level", "whitened_seasonal"
    elif dims <= _LARGEST_POOLED:
        last, *others = "pooled", "pooled_level", "pooled_seasonal"
    else:
        last, *others = "increment", "standard", "seasonal"
    if problem.season <= 1:
        del others[-1]
    first = max(problem.context_length, problem.season)
    if length - problem.horizon <= first:
        return last

    squared = is_mostly_least(problem.series)
    errors = {
        scaling: _rollout_error(
            problem, _candidate(problem, *SCALINGS[scaling], None), first, squared=squared
        )
        for scaling in (last, *others)
    }
    best = min(others, key=errors.__getitem__)
    return best if errors[best] < (1.0 - _CLEARLY) * errors[last] else last


def is_mostly_least(series: Series) -> bool:
    """Whether most values are the least of their dimension, as of sales on a few days.

    In absolute terms a forecast of nothing is then hard to beat, and the last value mostly is one.
    """
    least = series.target.min(0)
    moves = series.target.max(0) > least
    return bool(moves.any() and (series.target == least)[:, moves].mean() > 0.5)


def step_forecasts(
    choice: Choice,
    series: Series,
    split: int,
    origins: Tensor,
    *,
    horizon: int,
    context_length: int,
    season: int,
    lags: Sequence[int],
) -> Tensor:
    """Mean forecasts ``[n, T, D]``, step by step from ``origins [n]``, fitted before ``split``."""
    context_length = _context_within([series], context_length)
    standard = _with_standard_covariates(series, split)
    problem = _Problem(standard, horizon, context_length, season, tuple(lags))
    coordinates = _candidate(problem, *SCALINGS[choice.scaling], choice.structure)
    if choice.structure is not None:
        features = standard.features[: len(series)]
        part = _regression(coordinates, standard, features, context_length, split)
        _solve(coordinates, [part], choice.penalty)
    return _rolled_out(problem, coordinates, origins)


def fit_linear(
    coordinates: Coordinates,
    series: Sequence[Series],
    features: Sequence[np.ndarray],
    context_length: int,
    penalty: float,
) -> None:
    """Fit the correction of ``coordinates`` on all training data.

    Parameters
    ----------
    features
        Standardised features of each series, ``[L, F]``.
    """
    assert coordinates.linear is not None
    # On the steps that it was chosen by: hardly any come after a context nearly as long as all.
    context_length = _context_within(series, context_length)
    parts = [
        _regression(coordinates, s, f, context_length, len(s))
        for s, f in zip(series, features, strict=True)
        if len(s) > max(context_length, coordinates.reach) + 1
    ]
    if parts:
        _solve(coordinates, parts, penalty)


def _solve(
    coordinates: Coordinates, parts: Sequence[tuple[Tensor, Tensor, Tensor]], penalty: float
) -> None:
    """Set the correction's weights by what :func:`_regression` makes of several series."""
    assert coordinates.linear is not None
    design, regressors, target = (torch.cat(columns) for columns in zip(*parts, strict=True))
    structure = coordinates.linear.structure
    (solution,) = ridge_path(design, regressors, target, structure, [penalty])
    coordinates.linear.set_weights(solution)


def set_size(coordinates: Coordinates, series: Sequence[Series]) -> None:
    """Set ``centre`` and ``size`` from the observed training values.

    Of a dimension without any, what is filled in is the centre, and its size is 1.
    """
    values = np.concatenate([s.target for s in series])
    weight = np.concatenate([s.observed for s in series])
    count = np.maximum(weight.sum(0), 1.0)
    centre = (values * weight).sum(0) / count
    size = np.sqrt((((values - centre) ** 2) * weight).sum(0) / count)
    size = np.maximum(size, 1e-13 * np.abs(centre) + 1e-12)
    size[weight.sum(0) == 0.0] = 1.0
    coordinates.centre.copy_(torch.from_numpy(centre))
    coordinates.size.copy_(torch.from_numpy(size))


def _context_within(series: Sequence[Series], context_length: int) -> int:
    """Steps that a level is taken over: of short data, a third of what there is."""
    return min(context_length, max(1, max(map(len, series)) // 3))


def _structures(linear: str, dims: int) -> tuple[Structure, ...]:
    if linear == "none":
        return ()
    if linear == "own":
        return ("own",)
    if linear == "all":
        return ("all",)
    return ("own", "all") if 1 < dims <= _LARGEST_JOINT else ("own",)


def _judge(problem: _Problem, scaling: str, structures: Sequence[Structure]) -> dict[Choice, float]:
    """Errors of the plain reference and its corrections on the last fifth; none without room."""
    length, (dims, num_features) = len(problem.series), _widths(problem.series)
    split = min(int(length * (1.0 - _HELD_OUT)), length - problem.horizon)
    if split < 2:
        return {}
    problem = replace(problem, series=_with_standard_covariates(problem.series, split))
    reference, spread = SCALINGS[scaling]
    errors: dict[Choice, float] = {}
    for structure in structures:
        coordinates = _candidate(problem, reference, spread, structure)
        assert coordinates.linear is not None
        columns = 1 + num_features + len(problem.lags) + (dims if structure == "all" else 0)
        first = max(problem.context_length, coordinates.reach)
        if split - first < _STEPS_PER_COLUMN * columns:
            continue
        features = problem.series.features[:length]
        design = _regression(coordinates, problem.series, features, problem.context_length, split)
        for penalty, solution in zip(
            _PENALTIES, ridge_path(*design, structure, _PENALTIES), strict=True
        ):
            coordinates.linear.set_weights(solution)
            error = _rollout_error(problem, coordinates, split)
            errors[Choice(scaling, structure, penalty)] = error
    if errors:
        coordinates = _candidate(problem, reference, spread, None)
        errors[Choice(scaling, None, 0.0)] = _rollout_error(problem, coordinates, split)
    return errors


def _widths(series: Series) -> tuple[int, int]:
    """D and F."""
    return series.target.shape[1], series.features.shape[1]


def _candidate(
    problem: _Problem, reference: Reference, spread: Spread, structure: Structure | None
) -> Coordinates:
    dims, num_features = _widths(problem.series)
    linear = structure and LinearCorrection(dims, num_features, problem.lags, structure)
    coordinates = Coordinates(reference, spread, dims, problem.season, linear or None)
    set_size(coordinates, [problem.series])
    return coordinates


def _regression(
    coordinates: Coordinates, series: Series, features: np.ndarray, context_length: int, end: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Features ``[n, F]``, regressors ``[n, lags, D]`` and targets ``[n, D]`` before ``end``."""
    linear = coordinates.linear
    assert linear is not None
    first = max(context_length, coordinates.reach)
    steps = torch.arange(first, end)
    values = torch.from_numpy(series.target)
    level = _rolling_level(values, context_length)[steps]

    def value_at(lag: int) -> Tensor:
        return values[steps - lag]

    plain, regressor = coordinates.plain_at(value_at, level), coordinates.regressor(value_at, level)
    assert plain is not None
    target = (values[steps] - plain) / coordinates.size
    target = limited_to_spread(target)
    observed = torch.from_numpy(series.observed)[steps].bool().all(1)
    if observed.float().mean() < 0.5:
        observed = torch.ones_like(observed)
    regressors = torch.stack([regressor(lag) for lag in linear.lags], dim=1)
    return torch.from_numpy(features)[steps][observed], regressors[observed], target[observed]


def _rolling_level(values: Tensor, length: int) -> Tensor:
    """Mean of the ``length`` values before each step; undefined for the first ``length``."""
    centre = values.mean(0)  # sums of centred values keep the digits of small movements
    total = torch.cat([values.new_zeros(1, values.shape[1]), (values - centre).cumsum(0)])
    level = torch.zeros_like(values)
    level[length:] = (total[length:-1] - total[: -length - 1]) / length
    return level + centre


def _with_standard_covariates(series: Series, split: int) -> Series:
    """Covariates in units of their spread before ``split``, so that no unit has a say."""
    calendar = num_calendar_features(series.start.freqstr)
    features = series.features.astype(np.float64)
    known = features[:split, calendar:]
    std = known.std(0)
    features[:, calendar:] -= known.mean(0)
    features[:, calendar:] /= np.where(std > 1e-12, std, 1.0)
    return replace(series, features=features.astype(np.float32))


def _rollout_error(
    problem: _Problem, coordinates: Coordinates, first: int, *, squared: bool = False
) -> float:
    """:func:`mean_error` of the mean forecasts that are rolled out from step ``first`` on."""
    last = len(problem.series) - problem.horizon
    origins = torch.from_numpy(np.unique(np.linspace(first, last, _ORIGINS).astype(int)))
    forecast = _rolled_out(problem, coordinates, origins)
    return mean_error(problem.series, origins, forecast, squared=squared)


def _rolled_out(problem: _Problem, coordinates: Coordinates, origins: Tensor) -> Tensor:
    """Mean forecasts ``[n, T, D]`` from ``origins [n]`` on, each step from those before."""
    values = torch.from_numpy(problem.series.target)
    features = torch.from_numpy(problem.series.features)
    level = _rolling_level(values, problem.context_length)[origins.clamp_max(len(values) - 1)]
    path: list[Tensor] = []
    for step in range(problem.horizon):

        def value_at(lag: int, step: int = step) -> Tensor:
            return path[step - lag] if step >= lag else values[origins + step - lag]

        reference = coordinates.reference_at(value_at, features[origins + step], level)
        path.append(torch.zeros_like(level) if reference is None else reference)
    return torch.stack(path, dim=1)


def mean_error(
    series: Series, origins: Tensor, forecast: Tensor, *, squared: bool = False
) -> float:
    """Mean absolute error of forecasts ``[n, T, D]`` of the steps from ``origins [n]`` on.

    Of each dimension and of the sum, in units of the standard deviation of its increments, so
    that all count alike. Or, ``squared``, the root of the mean square.
    """
    values = torch.from_numpy(series.target)
    steps = origins.unsqueeze(1) + torch.arange(forecast.shape[1])
    observed = torch.from_numpy(series.observed)[steps]
    error = (forecast - values[steps]) * observed
    # A constant dimension must not be judged by how its mean is rounded.
    floor = 1e-12 * values.abs().amax(0) + 1e-12
    all_seen = torch.from_numpy(series.observed)
    known = all_seen[1:] * all_seen[:-1]
    change = (values.diff(dim=0).square() * known).sum(0) / known.sum(0).clamp_min(1.0)
    unit = torch.maximum(change.sqrt(), floor)
    unit_sum = torch.maximum(values.sum(1).diff().square().mean().sqrt(), floor.sum())
    power = 2.0 if squared else 1.0
    each = error.abs().pow(power).sum((0, 1)) / observed.sum((0, 1)).clamp_min(1.0)
    total = error.sum(-1).abs().pow(power).mean()
    return float((each.pow(1.0 / power) / unit).mean() + total.pow(1.0 / power) / unit_sum)
