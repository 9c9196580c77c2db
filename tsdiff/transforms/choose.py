"""Which simple forecast is strong on a data set, and hence which coordinates to work in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tsdiff.transforms.series import Series

# Above this, a covariance per window costs more than the network that it helps.
_LARGEST_WHITENED = 128
_ORIGINS = 200


def choose_scaling(
    series: Sequence[Series], horizon: int, context_length: int, season: int
) -> str:
    """The name of the scaling whose simple forecast errs least on the training data.

    Three forecasts compete over up to 200 origins: the last value, the value one season ago
    and the mean of the context. Errors are absolute, per dimension relative to the last
    value's, and averaged over the horizon.

    Parameters
    ----------
    series
        Training data.
    horizon, context_length, season
        In steps.

    Returns
    -------
    str
        One of :data:`tsdiff.transforms.SCALINGS`.
    """
    errors = np.zeros(3)
    for one in series:
        errors += _errors(one, horizon, context_length, season)
    winner = ("last", "season", "level")[int(np.argmin(errors))]
    whitened = series[0].target.shape[1] <= _LARGEST_WHITENED
    return {
        "last": "whitened" if whitened else "increment",
        "season": "whitened_seasonal" if whitened else "seasonal",
        "level": "whitened_level" if whitened else "standard",
    }[winner]


def _errors(series: Series, horizon: int, context_length: int, season: int) -> np.ndarray:
    """Mean relative error of last value, seasonal value and level, ``[3]``."""
    y = np.where(series.observed > 0, series.target, np.nan)
    first = max(context_length, season)
    if len(y) < first + horizon:
        return np.zeros(3)
    origins = np.unique(np.linspace(first, len(y) - horizon, _ORIGINS).astype(int))
    steps = np.arange(horizon)
    truth = y[origins[:, None] + steps]
    filled = series.target
    last = filled[origins - 1][:, None]
    seasonal = filled[origins[:, None] + steps % season - season]
    cumulative = np.concatenate([np.zeros((1, y.shape[1])), np.cumsum(filled, axis=0)])
    level = ((cumulative[origins] - cumulative[origins - context_length]) / context_length)[:, None]
    with np.errstate(invalid="ignore"):
        mae = np.stack([_nanmean(np.abs(truth - guess)) for guess in (last, seasonal, level)])
    scale = mae.max(axis=0)
    relative = np.divide(mae, scale, out=np.ones_like(mae), where=scale > 0)
    return np.nanmean(relative, axis=1)


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the first two axes, ignoring NaN; 0 where nothing was observed."""
    known = np.isfinite(values)
    return np.where(known, values, 0.0).sum((0, 1)) / np.maximum(known.sum((0, 1)), 1)
