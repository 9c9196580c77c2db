"""Forecasts as a table of quantiles, as ``predict(..., quantiles=...)`` of models and baselines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from tsdiff.datasets.frames import to_frame
from tsdiff.datasets.timegrid import as_in_index

if TYPE_CHECKING:
    from gluonts.model.forecast import SampleForecast

__all__ = ["check_quantiles", "quantile_frame"]


def check_quantiles(quantiles: Any) -> None:
    """Raise a ValueError unless these are levels strictly between 0 and 1."""
    try:
        levels = [float(level) for level in quantiles]
    except (TypeError, ValueError):
        levels = []
    if not levels or not all(0.0 < level < 1.0 for level in levels):
        raise ValueError(
            f"quantiles must be a list of levels between 0 and 1, as [0.1, 0.5, 0.9]; got "
            f"{quantiles!r}"
        )


def quantile_frame(
    forecasts: Iterable[SampleForecast],
    dataset: Any,
    quantiles: Sequence[float],
    dimension_names: Sequence[str] | None,
) -> pd.DataFrame:
    """Mean and quantiles of every time and dimension; times continue a DataFrame's own index.

    Parameters
    ----------
    forecasts
        Forecasts of what follows ``dataset``.
    dataset
        What was handed to ``predict``: a DataFrame, or anything else that holds series.
    quantiles, dimension_names
        As for :func:`tsdiff.datasets.to_frame`, whose columns the result has.
    """
    forecasts = list(forecasts)
    table = to_frame(forecasts, quantiles=list(quantiles), dimension_names=dimension_names)
    if isinstance(dataset, (pd.DataFrame, pd.Series)) and forecasts:
        times, first = pd.Series(table["time"]), forecasts[0]
        freq = first.start_date.freqstr
        table["time"] = as_in_index(times, dataset.index, first.prediction_length, freq)
    return table
