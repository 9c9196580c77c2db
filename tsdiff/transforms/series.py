"""Data entries as arrays, filled, featured and ready to be cut into windows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

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
    """

    target: np.ndarray
    observed: np.ndarray
    features: np.ndarray
    static_real: np.ndarray
    static_cat: np.ndarray
    start: pd.Period
    item_id: str | None

    def __len__(self) -> int:
        return len(self.target)


def load_series(entries: Iterable[dict[str, Any]], freq: str, horizon: int) -> list[Series]:
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
    """
    return [_load(entry, freq, horizon) for entry in entries]


def _load(entry: dict[str, Any], freq: str, horizon: int) -> Series:
    target = np.ascontiguousarray(np.asarray(entry["target"], dtype=np.float64).T)
    observed = np.isfinite(target)
    length = len(target) + horizon
    features = calendar_features(entry["start"], length, freq)
    dynamic = entry.get("feat_dynamic_real")
    if dynamic is not None:
        dynamic = np.asarray(dynamic, dtype=np.float32).T[:length]
        missing = length - len(dynamic)
        if missing > 0:
            dynamic = np.concatenate([dynamic, np.repeat(dynamic[-1:], missing, axis=0)])
        features = np.concatenate([features, dynamic], axis=1)
    return Series(
        target=_fill(target, observed),
        observed=observed.astype(np.float64),
        features=features,
        static_real=np.asarray(entry.get("feat_static_real", ()), dtype=np.float32),
        static_cat=np.asarray(entry.get("feat_static_cat", ()), dtype=np.int64),
        start=entry["start"],
        item_id=entry.get("item_id"),
    )


def _fill(target: np.ndarray, observed: np.ndarray) -> np.ndarray:
    if observed.all():
        return target
    known = pd.DataFrame(np.where(observed, target, np.nan))
    return known.ffill().fillna(known.mean()).fillna(0.0).to_numpy()
