"""Data entries as arrays, filled, featured and ready to be cut into windows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.transforms.calendar import calendar_features


@dataclass(frozen=True)
class Series:
    """One multivariate series, time first.

    Attributes
    ----------
    target
        ``[L, D]`` float64; missing values carry the last observed value forward. Before the
        first observation they are the dimension's mean: that observation itself would give the
        future away to windows that end before it.
    observed
        ``[L, D]`` float64, 1 where the value was there.
    features
        ``[L + horizon, F]`` float32: calendar, then dynamic covariates.
    static_real, static_cat
        ``[S]`` float32 and ``[C]`` int64.
    start
        First step.
    item_id
        Name, or None.
    unit
        ``[D]``, what values were divided by.
    """

    target: np.ndarray
    observed: np.ndarray
    features: np.ndarray
    static_real: np.ndarray
    static_cat: np.ndarray
    start: pd.Period
    item_id: str | None
    unit: np.ndarray

    def __len__(self) -> int:
        return len(self.target)

    def until(self, length: int) -> Series:
        """Its first steps, without anything, of features too, that lies behind them."""
        parts = {name: getattr(self, name)[:length] for name in ("target", "observed", "features")}
        return replace(self, **parts)


def load_series(
    entries: Iterable[dict[str, Any]],
    freq: str,
    horizon: int,
    *,
    last: int | None = None,
    sizes: Sequence[float] | None = None,
    future: int = 0,
) -> list[Series]:
    """Series from validated entries (see :func:`tsdiff.datasets.validate_entries`).

    Parameters
    ----------
    entries
        Entries with ``target [D, L]``.
    freq
        Their frequency.
    horizon
        Steps beyond the target's end for which calendar features are needed. Dynamic
        covariates that end before are padded with their last value; the border checks lengths
        where they matter.
    last
        Steps at the end of each target that are needed; None is all. What is filled in there is
        still what the whole series says.
    sizes
        ``[D]``; if given, each series is measured in units of its own: the size of its changes or,
        where it has none, these.
    future
        Steps at the end of each target that these units must not know.
    """
    return [_load(entry, freq, horizon, last, sizes, future) for entry in entries]


def sizes_of(entries: Iterable[dict[str, Any]]) -> tuple[float, ...]:
    """How much dimensions change from one step to the next, in the geometric mean over entries.

    The size of changes, unlike a random walk's standard deviation, doesn't depend on how long a
    series is. Constants have none and don't count; of nothing else it is 1.
    """
    size = np.stack([_typical_change(_values(entry)) for entry in entries])
    moving = size > 0.0
    total = np.log(np.where(moving, size, 1.0)).sum(0)
    return tuple(np.exp(total / moving.sum(0).clip(1)).tolist())


def _values(entry: dict[str, Any]) -> np.ndarray:
    return np.asarray(entry["target"], dtype=np.float64)


def _typical_change(values: np.ndarray) -> np.ndarray:
    """Root mean square of the changes from step to step of ``values [D, L]``, ``[D]``; or 0."""
    changes = np.diff(values, axis=1)
    known = np.isfinite(changes)
    total = np.square(np.where(known, changes, 0.0)).sum(1)
    return np.sqrt(total / known.sum(1).clip(1))


def _load(
    entry: dict[str, Any],
    freq: str,
    horizon: int,
    last: int | None,
    sizes: Sequence[float] | None,
    future: int,
) -> Series:
    whole = _values(entry)
    unit = np.ones(len(whole))
    if sizes is not None:
        change = _typical_change(whole[:, : whole.shape[1] - future])
        unit = np.where(change > 0.0, change, sizes)
        whole = whole / unit[:, None]
    skipped = 0 if last is None else max(0, whole.shape[1] - last)
    with business_day_periods():
        start = entry["start"] + skipped
    target = np.ascontiguousarray(whole[:, skipped:].T)
    observed = np.isfinite(target)
    length = len(target) + horizon
    features = calendar_features(start, length, freq)
    dynamic = entry.get("feat_dynamic_real")
    if dynamic is not None:
        dynamic = np.asarray(dynamic, dtype=np.float32).T
        steps = np.minimum(np.arange(skipped, skipped + length), len(dynamic) - 1)
        features = np.concatenate([features, dynamic[steps]], axis=1)
    return Series(
        target=_fill(target, observed, whole[:, :skipped]),
        observed=observed.astype(np.float64),
        features=features,
        static_real=np.asarray(entry.get("feat_static_real", ()), dtype=np.float32),
        static_cat=np.asarray(entry.get("feat_static_cat", ()), dtype=np.int64),
        start=start,
        item_id=entry.get("item_id"),
        unit=unit,
    )


def _fill(target: np.ndarray, observed: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Values ``[L, D]`` without gaps; ``before [D, ·]`` is what came before them."""
    if observed.all():
        return target
    known = np.where(observed, target, np.nan)
    for dim in np.flatnonzero(~observed[0]):
        earlier = np.flatnonzero(np.isfinite(before[dim]))
        if len(earlier):
            known[0, dim] = before[dim, earlier[-1]]
    table = pd.DataFrame(known)
    return table.ffill().fillna(table.mean()).fillna(0.0).to_numpy()
