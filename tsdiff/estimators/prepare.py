"""From what users hand in to what training needs: facts, windows and a held-out set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsdiff.datasets import DataError, rolling_windows
from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.datasets.windows import first_step
from tsdiff.estimators.horizon import HorizonModel
from tsdiff.estimators.layout import Layout
from tsdiff.estimators.model import DataFacts, ForecastModel
from tsdiff.random import seeded
from tsdiff.transforms import (
    Series,
    Sizes,
    Window,
    WindowSampler,
    choose_coordinates,
    choose_plan,
    default_context_length,
    default_lags,
    fit_linear,
    forecast_windows,
    load_series,
    num_calendar_features,
    plan_if_better,
    season_length,
    set_size,
)
from tsdiff.transforms.lags import same_frequency

# Held out for validation when nothing else is said: a tenth of the shortest series that has room
# for three windows, or more if a tenth has none.
_HOLDOUTS = (0.1, 0.2, 0.34)
_FEWEST_WINDOWS, _MOST_WINDOWS = 3, 20
# Pseudo-counts that are tried, as shares of the context length.
_PRIOR_SHARES = (0.05, 0.15, 0.5, 1.5, 5.0, 50.0)
_HUBER = 2.0
# Share of steps of which all dimensions are known, below which the others count, too.
_FEW_COMPLETE = 0.1
# Contexts that a correlation is pooled over, and how many of them are held in memory.
_MOST_TILES, _TILES_AT_ONCE = 512, 8
_STATISTICS = 17
# Windows, or steps of a single one, below which a drift may well be noise, and is then none.
_FEW_STEPS = 200
# Values, or events, of a dimension below which they tell nothing of its spread.
_FEW = 30


@dataclass(frozen=True)
class ValidationSet:
    """Windows held out of training.

    Attributes
    ----------
    past
        V windows without future, for samples.
    full
        The same windows with their future, and no more past than the loss needs.
    truth, observed
        The future and its mask, ``[V, T, D]``.
    num_dates
        How many different steps they begin at: series of one time have much in common.
    """

    past: Window
    full: Window
    truth: Tensor
    observed: Tensor
    num_dates: int


def gather_facts(
    entries: Sequence[dict[str, Any]],
    training: Sequence[Series],
    *,
    prediction_length: int,
    freq: str | None,
    context_length: int | None,
    lags: Sequence[int] | None,
    scaling: str,
    linear: str,
    decoding: str = "autoregressive",
    sizes: Sizes | None = None,
    layout: Layout | None = None,
) -> DataFacts:
    """Everything that widths follow from; arguments that are None are chosen by frequency.

    Parameters
    ----------
    entries
        All data: their shapes and categories are taken.
    training
        What is left of them to train on: the coordinates are chosen by these alone.
    sizes
        See :class:`DataFacts`; ``training`` must be in these units.
    layout
        Names; those of the entries where omitted.

    Raises
    ------
    DataError
        If the data's frequency is not the one asked for.
    """
    first = entries[0]
    found = first["start"].freqstr
    if freq is not None and not same_frequency(freq, found):
        raise DataError(
            f"the estimator was made for freq={freq!r}, and the data have {found!r}: leave freq "
            "out to take the data's, or resample the data"
        )
    target_dim = first["target"].shape[0]
    context_length = context_length or default_context_length(found, prediction_length)
    lags = tuple(sorted(set(default_lags(found) if lags is None else lags)))
    season = season_length(found)
    dynamic = np.asarray(first.get("feat_dynamic_real", np.zeros((0, 0))))
    categories = [np.asarray(entry.get("feat_static_cat", ()), dtype=int) for entry in entries]
    sizes_in_steps: dict[str, Any] = {
        "horizon": prediction_length,
        "context_length": context_length,
        "season": season,
        "lags": lags,
    }
    choice = choose_coordinates(training, scaling=scaling, linear=linear, **sizes_in_steps)
    plan = None
    if decoding == "horizon":
        plan = choose_plan(training, prediction_length, found)
    elif decoding == "auto":
        plan = plan_if_better(training, choice, found, **sizes_in_steps)
    return DataFacts(
        target_dim=target_dim,
        freq=found,
        prediction_length=prediction_length,
        context_length=context_length,
        lags=lags,
        season=season,
        scaling=choice.scaling,
        linear=choice.structure,
        penalty=choice.penalty,
        num_features=num_calendar_features(found) + len(dynamic),
        num_dynamic_real=len(dynamic),
        num_static_real=len(np.asarray(first.get("feat_static_real", ()))),
        cardinalities=tuple(int(column.max()) + 1 for column in np.stack(categories).T),
        **vars(layout or Layout.of(entries)),
        plan=plan,
        sizes=sizes,
    )


@business_day_periods()
def hold_out(
    entries: list[dict[str, Any]], horizon: int, num_windows: int | None
) -> list[dict[str, Any]]:
    """Rolling validation windows at the end of the training data; empty if there's no room.

    By default as many windows as fit into a tenth of the shortest series, at most twenty; of
    short series, three windows that overlap, in up to a third of the data. Series without room for
    these windows have none. Nor are there any before the first one of the series that ends last:
    training stops there, and a series that ended long ago would take the latest data from it.
    """
    if num_windows == 0:
        return []
    lengths = sorted({entry["target"].shape[1] for entry in entries})
    if num_windows is None:
        plans = ((length, *_windows_in(length, horizon)) for length in lengths)
        fewest, count, stride = next((plan for plan in plans if plan[1]), (0, 0, 0))
        if not count:
            return []
    else:
        fewest, count, stride = num_windows * horizon + 1, num_windows, horizon
    long = [entry for entry in entries if entry["target"].shape[1] >= fewest]
    # Without any of them, all are refused, and told what they need.
    windows = rolling_windows(long or entries, horizon, count, stride)
    first_steps = [first_step(window, horizon) for window in windows]
    cutoff = max(first_steps) - (count - 1) * stride
    return [window for window, first in zip(windows, first_steps, strict=True) if first >= cutoff]


def _windows_in(length: int, horizon: int) -> tuple[int, int]:
    """How many windows a series of a length has room for, and their stride; zeros if none."""
    for share in _HOLDOUTS:
        room = int(share * length)
        if room >= _FEWEST_WINDOWS * horizon:
            return min(_MOST_WINDOWS, room // horizon), horizon
    stride = (room - horizon) // (_FEWEST_WINDOWS - 1)
    return (_FEWEST_WINDOWS, stride) if stride > 0 else (0, 0)


@business_day_periods()
def validation_set(entries: list[dict[str, Any]], model: ForecastModel) -> ValidationSet:
    """Tensors of the validation windows of a model."""
    horizon, history = model.facts.prediction_length, model.history_length
    series = load_series(
        entries,
        model.facts.freq,
        0,
        last=history + horizon,
        sizes=model.facts.sizes,
        future=horizon,
    )
    whole = forecast_windows(series, history + horizon, 0)
    past = whole._replace(target=whole.target[:, :history], observed=whole.observed[:, :history])
    full = whole.last(model.past_length + horizon)
    dates = {first_step(entry, horizon) for entry in entries}
    return ValidationSet(
        past, full, whole.target[:, history:], whole.observed[:, history:], len(dates)
    )


def share_held_out(entries: Sequence[dict[str, Any]], kept: Sequence[dict[str, Any]]) -> float:
    """Share of the steps of ``entries`` that are not in ``kept``."""
    whole, rest = (sum(entry["target"].shape[1] for entry in some) for some in (entries, kept))
    return 1.0 - rest / whole


def late_dimensions(series: Sequence[Series], entries: Sequence[dict[str, Any]]) -> list[int]:
    """Dimensions that hardly begin in ``series``, cut from ``entries``, while others are there."""
    before = np.sum([one.observed.sum(0) for one in series], axis=0)
    whole = np.sum([np.isfinite(one["target"]).sum(1) for one in entries], axis=0)
    late = (before < min(_FEW, 0.5 * before.max())) & (whole > before)
    return np.flatnonzero(late).tolist()


def fit_statistics(
    model: ForecastModel, series: Sequence[Series], sampler: WindowSampler, seed: int
) -> None:
    """Set everything in the model that is estimated in closed form from training data.

    Covariate means and spreads, the typical size of residuals, and the moments of the events
    that the decoder will see.
    """
    _standardize_covariates(model, series)
    set_size(model.coordinates, series)
    if model.coordinates.linear is not None:
        mean, std = model.feature_mean.numpy(), model.feature_std.numpy()
        features = [(s.features[: len(s)] - mean) / std for s in series]
        fit_linear(
            model.coordinates, series, features, model.facts.context_length, model.facts.penalty
        )
    window = _some_windows(model, sampler, seed)
    _set_typical(model, window, sampler, series)
    if isinstance(model, HorizonModel):
        # Modes are made to be standard, and the decoder starts from the law that they are part of.
        model.fit(series)
        dim = model.event_dim
        model.decoder.set_data_moments(torch.zeros(dim), torch.eye(dim))
        return
    residuals, seen, _ = model.future_residuals(window)
    residuals, seen = residuals.flatten(0, 1), seen.flatten(0, 1)
    z = model.coordinates.limited(residuals)
    n = seen.sum(0).clamp_min(1.0)
    mean = (z * seen).sum(0) / n
    centred = (z - mean) * seen
    # Each dimension by its own count: variances are right with gaps, and the matrix, being
    # scaled from both sides, stays positive semi-definite.
    centred = centred / n.sqrt()
    covariance = centred.T @ centred
    # What was hardly seen is whitened, as far as anybody knows.
    told = (seen.sum(0) >= min(_FEW, 0.5 * float(seen.sum(0).max()))).to(mean.dtype)
    covariance = torch.outer(told, told) * covariance + torch.diag(1.0 - told)
    steps = max(len(sampler), model.facts.prediction_length)  # windows overlap
    if steps < _FEW_STEPS:
        mean = without_noise(mean, covariance.diagonal() / steps)
    model.decoder.set_data_moments(told * mean, covariance)


def without_noise(mean: Tensor, variance: Tensor) -> Tensor:
    """Estimated means, shrunk by the share that their ``variance`` is likely to have in them.

    James and Stein's estimator, of each by itself: what can't be told from zero is zero.
    """
    share = variance / mean.square().clamp_min(1e-300)
    return mean * (1.0 - share).clamp_min(0.0)


def _set_typical(
    model: ForecastModel, window: Window, sampler: WindowSampler, series: Sequence[Series]
) -> None:
    """Typical scale and correlation of residuals, and how far windows are shrunk to them.

    The pseudo-count is the one under which forecasts of the windows' futures, one step ahead,
    are likeliest.
    """
    coordinates, context_length = model.coordinates, model.facts.context_length
    dims = model.facts.target_dim
    identity = torch.eye(dims, dtype=torch.float64)
    coordinates.set_typical(coordinates.size, identity, 1e-6 * context_length)
    frame = model.frame(window)
    scale = _typical_scale(model, window, frame.scale, series).clamp_min(1e-12)
    correlation = identity
    if coordinates.typical_factor is not None:
        correlation = _pooled_correlation(model, sampler)
    elif frame.factor is not None:
        mean = (frame.factor @ frame.factor.transpose(1, 2)).mean(0)
        shrinkage = dims / (dims + window.target.shape[0] * context_length)
        correlation = (1.0 - shrinkage) * mean + shrinkage * identity
    best = (-math.inf, 0.0)
    for share in _PRIOR_SHARES:
        coordinates.set_typical(scale, correlation, share * context_length)
        best = max(best, (_log_likelihood(model, window), share * context_length))
    coordinates.pseudo_count.fill_(best[1])


def _typical_scale(
    model: ForecastModel, window: Window, scale: Tensor, series: Sequence[Series]
) -> Tensor:
    """Mean of the windows' scales ``[B, 1, D]``, each over windows that saw the dimension."""
    coordinates = model.coordinates
    past = window.observed[:, : model.past_length]
    seen = (past[:, -model.facts.context_length :] > 0.0).any(1)
    if bool(seen.all()):
        return scale.mean((0, 1))
    count = seen.sum(0)
    if coordinates.reference == "level" or bool(count.all()):
        rest = coordinates.size
    else:
        rest = _residual_size(model, series)
    mean = (scale.squeeze(1) * seen).sum(0) / count.clamp_min(1)
    return torch.where(count > 0, mean, rest)


def _residual_size(model: ForecastModel, series: Sequence[Series]) -> Tensor:
    """Root mean square of all residuals, ``[D]``, or the values' size where there are none."""
    square = count = torch.zeros(model.facts.target_dim, dtype=torch.float64)
    for one in series:
        parts = one.target, one.observed, one.features[: len(one)]
        residual, known = model.plain_residuals(*map(torch.from_numpy, parts))
        square, count = square + residual.square().sum(0), count + known.sum(0)
    return torch.where(count > 0, (square / count.clamp_min(1.0)).sqrt(), model.coordinates.size)


def _pooled_correlation(model: ForecastModel, sampler: WindowSampler) -> Tensor:
    """Correlation of residuals over contexts that tile the training data, shrunk, ``[D, D]``."""
    step = max(model.facts.context_length, len(sampler) // _MOST_TILES)
    tiles = torch.arange(0, len(sampler), step)
    dims = model.facts.target_dim
    total = torch.zeros(dims, dims, dtype=torch.float64)
    for some in tiles.split(_TILES_AT_ONCE):
        total += model.products(sampler.take(some))
    size = total.diagonal().sqrt().clamp_min(1e-300)
    shrinkage = dims / (dims + len(tiles) * model.facts.context_length)
    identity = torch.eye(dims, dtype=torch.float64)
    correlation = (1.0 - shrinkage) * (total / size) / size.unsqueeze(1)
    # Ones on the diagonal, exactly, also where a constant dimension left less.
    return correlation * (1.0 - identity) + identity


def _log_likelihood(model: ForecastModel, window: Window) -> float:
    """Mean log-density of the windows' complete future residuals, up to a constant.

    Gaussian up to two spreads and exponential beyond (Huber's density), so that a few breaks
    decide nothing.
    """
    z, known, frame = model.future_residuals(window)
    log_det = frame.scale.log().sum((1, 2))
    if frame.factor is not None:
        log_det = log_det + frame.factor.diagonal(dim1=1, dim2=2).log().sum(1)
    size = z.abs()
    energy = torch.where(size < _HUBER, 0.5 * size.square(), _HUBER * (size - 0.5 * _HUBER))
    log_density = -energy.sum((1, 2)) - log_det.repeat_interleave(len(z) // len(log_det))
    complete = known.amin((1, 2))
    if complete.mean() < _FEW_COMPLETE:  # what is unknown has the residual 0
        complete = known.amax((1, 2))
    return float((log_density * complete).sum() / complete.sum().clamp_min(1.0))


def _some_windows(model: ForecastModel, sampler: WindowSampler, seed: int) -> Window:
    count = max(16, min(512, 2**22 // (sampler.length * model.facts.target_dim)))
    return sampler.draw(count, seeded(seed, _STATISTICS))


def _standardize_covariates(model: ForecastModel, series: Sequence[Series]) -> None:
    facts = model.facts
    dynamic = facts.num_features - facts.num_dynamic_real
    if facts.num_dynamic_real:
        values = np.concatenate([s.features[: len(s), dynamic:] for s in series])
        model.feature_mean[dynamic:] = torch.from_numpy(values.mean(0))
        model.feature_std[dynamic:] = torch.from_numpy(_safe_std(values))
    if facts.num_static_real:
        values = np.stack([s.static_real for s in series])
        model.static_mean.copy_(torch.from_numpy(values.mean(0)))
        model.static_std.copy_(torch.from_numpy(_safe_std(values)))


def _safe_std(values: np.ndarray) -> np.ndarray:
    std = values.std(0)
    return np.where(std > 1e-12, std, 1.0).astype(np.float32)
