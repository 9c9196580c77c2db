"""What a record keeps of forecasts, which would be too large to keep: histograms and fans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tsdiff.benchmark.data import Task, first_time
from tsdiff.benchmark.record import Fan
from tsdiff.datasets import split_window
from tsdiff.evaluation import Evaluation
from tsdiff.evaluation.ensemble import Ensemble
from tsdiff.evaluation.integral_transform import pit_distribution

__all__ = ["crps_per_dimension", "fans", "pit_counts"]

BINS = 20
LEVELS = (5, 10, 25, 50, 75, 90, 95)
_MOST_WINDOWS, _MOST_DIMENSIONS, _PAST_HORIZONS = 5, 3, 2


def crps_per_dimension(evaluation: Evaluation, names: Sequence[str]) -> dict[str, float | None]:
    """CRPS of each dimension over its mean absolute value; None where that is zero."""
    scores = evaluation.by_dimension("crps").to_numpy()
    return {
        name: None if np.isnan(score) else float(score)
        for name, score in zip(names, scores, strict=True)
    }


def pit_counts(
    evaluation: Evaluation, prediction_length: int, *, summed: bool = False
) -> tuple[float, ...]:
    """How many values fell into each of 20 equal bins of their own forecast distribution."""
    samples = np.stack([_cloud(forecast) for forecast in evaluation.forecasts])
    truth = np.stack([_truth(entry, prediction_length) for entry in evaluation.entries])
    ensemble = Ensemble(samples.astype(float), truth)
    ensemble = ensemble.summed if summed else ensemble
    count = np.count_nonzero(~np.isnan(ensemble.target))
    if not count:
        return (0.0,) * BINS
    # Within a slot between two samples, a value may lie anywhere: shares grow linearly.
    distribution = pit_distribution(ensemble)
    levels = np.linspace(0, 1, len(distribution))
    shares = np.interp(np.linspace(0, 1, BINS + 1), levels, distribution)
    return tuple(round(float(value), 3) for value in count * np.diff(shares))


def fans(evaluation: Evaluation, task: Task) -> tuple[Fan, ...]:
    """Quantiles of the sum and of a few dimensions, in a few windows, spread evenly."""
    horizon = task.prediction_length
    found = []
    for window in _spread(evaluation.num_windows, _MOST_WINDOWS):
        entry = dict(evaluation.entries[window])
        cloud, truth = _cloud(evaluation.forecasts[window]).astype(float), _truth(entry, horizon)
        past = np.atleast_2d(split_window(entry, horizon)[0]["target"]).T
        past = past[-_PAST_HORIZONS * horizon :]
        pictures: list[tuple[str, int | None]] = [("sum", None)] if task.target_dim > 1 else []
        pictures += [
            (task.dimension_names[d], d) for d in _spread(task.target_dim, _MOST_DIMENSIONS)
        ]
        for label, dimension in pictures:
            of = _sum if dimension is None else lambda x, d=dimension: x[..., d]
            quantiles = np.percentile(of(cloud), LEVELS, axis=0)
            found.append(
                Fan(
                    window=window,
                    label=label,
                    dimension=dimension,
                    start=first_time(entry, horizon).isoformat(),
                    freq=task.freq,
                    past=_rounded(of(past)),
                    truth=_rounded(of(truth)),
                    quantiles={
                        str(level): _rounded(values)
                        for level, values in zip(LEVELS, quantiles, strict=True)
                    },  # type: ignore[arg-type]
                )
            )
    return tuple(found)


def _sum(values: np.ndarray) -> np.ndarray:
    return values.sum(axis=-1)


def _spread(count: int, most: int) -> list[int]:
    """At most so many of ``count`` positions, first and last among them."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, most)).round()})


def _cloud(forecast: object) -> np.ndarray:
    """Samples ``[N, T, D]`` of a forecast."""
    samples = forecast.samples  # type: ignore[attr-defined]
    return samples if samples.ndim == 3 else samples[..., None]


def _truth(entry: object, horizon: int) -> np.ndarray:
    """What happened, ``[T, D]``."""
    return np.atleast_2d(split_window(dict(entry), horizon)[1]).T.astype(float)  # type: ignore[call-overload]


def _rounded(values: np.ndarray) -> tuple[float | None, ...]:
    """Six significant digits; None where a value is missing."""
    return tuple(None if np.isnan(value) else float(f"{value:.6g}") for value in values)
