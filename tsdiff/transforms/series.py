"""Data entries as arrays, filled, featured and ready to be cut into windows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.transforms.calendar import calendar_features

# Series whose size follows from so few changes lean on what is typical, which is never more certain
# than so many; and how many times the median change counts at most.
_FEW_CHANGES, _MOST_WEIGHT, _LARGEST_CHANGE = 30, 50.0, 6.0
# Share of the values that stand at a lowest one that they can't leave.
_RESTING = 0.01


class Measure(NamedTuple):
    """What values ``[..., D]`` are measured from and in, ``origin`` and ``unit`` ``[..., D]``."""

    origin: Any
    unit: Any

    def enter(self, values: Any) -> Any:
        """From the data's own units."""
        return (values - self.origin) / self.unit

    def leave(self, values: Any) -> Any:
        """Into the data's own units."""
        return values * self.unit + self.origin


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
    measure
        What values were measured from and in, ``[D]``.
    """

    target: np.ndarray
    observed: np.ndarray
    features: np.ndarray
    static_real: np.ndarray
    static_cat: np.ndarray
    start: pd.Period
    item_id: str | None
    measure: Measure

    def __len__(self) -> int:
        return len(self.target)

    def until(self, length: int) -> Series:
        """Its first steps, without anything, of features too, that lies behind them."""
        parts = {name: getattr(self, name)[:length] for name in ("target", "observed", "features")}
        return replace(self, **parts)

    def latest(self, length: int) -> Series:
        """Its last steps, and the features behind them."""
        skipped = max(0, len(self) - length)
        parts = {name: getattr(self, name)[skipped:] for name in ("target", "observed", "features")}
        with business_day_periods():
            return replace(self, start=self.start + skipped, **parts)


def load_series(
    entries: Iterable[dict[str, Any]],
    freq: str,
    horizon: int,
    *,
    last: int | None = None,
    sizes: Sizes | None = None,
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
        If given, each series is measured in units of its own: the size of its changes, from its
        mean or, where values rest on a lowest one, from that.
    future
        Steps at the end of each target that these must not know.
    """
    return [_load(entry, freq, horizon, last, sizes, future) for entry in entries]


@dataclass(frozen=True)
class Sizes:
    """How much dimensions change from one step to the next, typically.

    Attributes
    ----------
    typical
        The geometric mean over series, ``[D]``.
    weight
        Changes of its own that say as much of a series' size.
    """

    typical: tuple[float, ...]
    weight: float


def sizes_of(entries: Iterable[dict[str, Any]]) -> Sizes:
    """What is typical of entries.

    The size of changes, unlike a random walk's standard deviation, doesn't depend on how long a
    series is. Constants have none and don't count; of nothing else it is 1.
    """
    found = [_typical_changes(_values(entry)) for entry in entries]
    size, count = (np.stack(part) for part in zip(*found, strict=True))
    moving = size > 0.0
    log = np.log(np.where(moving, size, 1.0))
    mean = log.sum(0) / moving.sum(0).clip(1)
    # A size that follows from n changes has a logarithm of variance 1 / 2n by that alone.
    apart = np.where(moving, np.square(log - mean) - 0.5 / count.clip(1), 0.0)
    freedom = max(1, moving.sum() - moving.any(0).sum())
    weight = 0.5 / max(float(apart.sum() / freedom), 0.5 / _MOST_WEIGHT)
    return Sizes(tuple(np.exp(mean).tolist()), weight)


def _values(entry: dict[str, Any]) -> np.ndarray:
    return np.asarray(entry["target"], dtype=np.float64)


def _typical_changes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Size of the changes from step to step of ``values [D, L]``, and their number, ``[D]``."""
    size, count = zip(*map(_typical_change, values), strict=True)
    return np.array(size), np.array(count)


def _typical_change(values: np.ndarray) -> tuple[float, int]:
    """Root mean square of the changes of ``[L]``, without gaps a walk's, and their number; or 0.

    One fault must not be what all else is measured in: changes are limited.
    """
    seen = np.flatnonzero(np.isfinite(values))
    change = np.abs(np.diff(values[seen])) / np.sqrt(np.diff(seen))
    if not change.any():
        return 0.0, len(change)
    limit = _LARGEST_CHANGE * np.median(change[change > 0.0])
    return float(np.sqrt(np.square(change.clip(max=limit)).mean())), len(change)


def _measure(values: np.ndarray, sizes: Sizes) -> Measure:
    """Origin and unit of ``values [D, L]``."""
    size, count = _typical_changes(values)
    typical = np.asarray(sizes.typical)
    # Few changes tell little; and who hasn't moved for long moves the less.
    log = count * np.log(np.where(size > 0.0, size, 1.0)) + sizes.weight * np.log(typical)
    shrunk = np.exp(log / (count + sizes.weight).clip(1e-300))
    own = np.where(count < _FEW_CHANGES, shrunk, size)
    return Measure(_origin(values), np.where(size > 0.0, own, typical / (1.0 + count)))


def _origin(values: np.ndarray) -> np.ndarray:
    """The lowest value of ``[D, L]`` where values rest on it, and else the mean, ``[D]``."""
    seen = np.isfinite(values)
    known = np.where(seen, values, 0.0)
    mean = known.sum(1) / seen.sum(1).clip(1)
    lowest = resting_on(values.T, seen.T)
    return np.where(np.isfinite(lowest), lowest, mean)


def resting_on(values: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """The least of observed ``values [L, D]`` where they rest on it, or -inf, ``[D]``."""
    seen = observed > 0.0
    least = np.where(seen, values, np.inf).min(0, initial=np.inf)
    most = np.where(seen, values, -np.inf).max(0, initial=-np.inf)
    resting = ((values == least) & seen).sum(0)
    bounded = (resting >= _RESTING * seen.sum(0)) & (most > least)
    return np.where(bounded, least, -np.inf)


def _load(
    entry: dict[str, Any],
    freq: str,
    horizon: int,
    last: int | None,
    sizes: Sizes | None,
    future: int,
) -> Series:
    whole = _values(entry)
    measure = Measure(np.zeros(len(whole)), np.ones(len(whole)))
    if sizes is not None:
        measure = _measure(whole[:, : whole.shape[1] - future], sizes)
        whole = measure.enter(whole.T).T
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
        measure=measure,
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
