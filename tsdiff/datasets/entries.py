"""The border check of a data set: what comes in is validated once, here, and normalised.

An *entry* is one series as a plain dict in GluonTS' vocabulary: ``target`` ``[D, time]``,
``start`` (a :class:`pandas.Period`) and ``item_id``, with optional ``feat_dynamic_real``
``[F, time (+ horizon)]``, ``feat_static_real`` ``[S]`` and ``feat_static_cat`` ``[C]``, numbers or
names. ``dimension_names`` and ``known_columns`` name the rows of ``target`` and
``feat_dynamic_real``. A data set is a list of entries. NaN in a target means *missing*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from tsdiff.datasets.businessdays import business_day_periods

DataEntry = dict[str, Any]
DYNAMIC_FEATURES = ("feat_dynamic_real", "past_feat_dynamic_real")
STATIC_FEATURES = ("feat_static_real", "feat_static_cat")


class DataError(ValueError):
    """Data that cannot be used as they are; the message says what to mend.

    Parameters
    ----------
    words
        The message, for whoever has the data in a file or in a DataFrame.
    pandas
        What mends a DataFrame, for those who have one.
    """

    def __init__(self, words: str, *, pandas: str = ""):
        super().__init__(f"{words} (in pandas, {pandas})" if pandas else words)
        self.words = words


class DataWarning(UserWarning):
    """Data that can be used, but not for all that they seem made for."""


@business_day_periods()
def validate_entries(entries: Iterable[Mapping[str, Any]]) -> list[DataEntry]:
    """Check a data set and return normalised copies of its entries; the input stays untouched.

    Parameters
    ----------
    entries
        Any iterable of entries, a GluonTS data set for instance. Targets may be ``[D, time]`` or,
        for one dimension, ``[time]``. ``start`` is a :class:`pandas.Period`, or a timestamp beside
        a ``"freq"`` field.

    Returns
    -------
    list of dict
        ``target`` is a float64 copy ``[D, time]``, ``start`` a Period, ``item_id`` a string (the
        position in the data set where there was none), features float64 (categories int64,
        or objects where one of them is a name).
        Other fields are passed on as they are.

    Raises
    ------
    DataError
        Nothing in the data set, a target that is not 1-D or 2-D, infinite values, a dimension
        without any observation, two of one name, a start without frequency, features of the wrong
        length, or entries that differ in dimensions, frequency or features.
    TypeError
        The data set is a single entry or no data set, or its items are not mappings.

    Examples
    --------
    >>> import pandas as pd
    >>> entry = {"target": [1.0, 2.0, float("nan")], "start": pd.Period("2024-01-01", "D")}
    >>> validate_entries([entry])[0]["target"].shape
    (1, 3)
    """
    if isinstance(entries, Mapping) and "target" in entries:
        raise TypeError("expected a data set (a list of entries), got one entry: wrap it, [entry]")
    if isinstance(entries, pd.DataFrame):
        raise TypeError("expected a list of entries, got a DataFrame: use from_frame(df) first")
    if isinstance(entries, Mapping) or not isinstance(entries, Iterable):
        raise TypeError(
            "expected a list of entries, dicts with 'target' and 'start', or a DataFrame, got a "
            f"{type(entries).__name__}{_one_table('frames')}"
        )
    checked = [_validate_entry(entry, position) for position, entry in enumerate(entries)]
    if not checked:
        raise DataError("the data set is empty: at least one entry (one series) is needed")
    _check_alike(checked)
    return checked


def _validate_entry(entry: Mapping[str, Any], position: int) -> DataEntry:
    if not isinstance(entry, Mapping):
        raise TypeError(
            f"entry {position} is a {type(entry).__name__}; expected a dict with 'target' and "
            f"'start'{_one_table('dict(enumerate(frames))')}"
        )
    label = _label(entry, position)
    checked = dict(entry)
    checked["target"] = _validate_target(entry, label)
    checked["start"] = _validate_start(entry, label)
    item_id = entry.get("item_id")
    checked["item_id"] = str(position) if item_id is None else str(item_id)
    num_dims, length = checked["target"].shape
    for field in DYNAMIC_FEATURES:
        if entry.get(field) is not None:
            checked[field] = _validate_dynamic(entry[field], field, length, label)
    for field in STATIC_FEATURES:
        if entry.get(field) is not None:
            checked[field] = _validate_static(entry[field], field, label)
    names = entry.get("dimension_names")
    if names is not None and len(names) != num_dims:
        raise DataError(
            f"{label}: {len(names)} dimension names for a target of {num_dims} dimensions"
        )
    for field in ("dimension_names", "known_columns"):
        counts = Counter(() if entry.get(field) is None else map(str, entry[field]))
        if counts and max(counts.values()) > 1:
            twice = counts.most_common(1)[0][0]
            raise DataError(f"{label}: {field} has {twice!r} more than once: rename one")
    known, rows = entry.get("known_columns"), _rows("feat_dynamic_real")(checked)
    if known is not None and len(known) != rows:
        raise DataError(f"{label}: {len(known)} known_columns for {rows} rows of feat_dynamic_real")
    return checked


def _one_table(frames: str) -> str:
    """What to do with a frame per series."""
    return (
        ". Of one frame per series make one long table: tsdiff.from_frame("
        f"pd.concat({frames}, names=['item', 'time']).reset_index(), item_column='item', "
        "time_column='time')"
    )


def _label(entry: Mapping[str, Any], position: int) -> str:
    item_id = entry.get("item_id")
    return f"entry {position}" if item_id is None else f"entry {position} (item_id {item_id!r})"


def _to_floats(values: Any, what: str) -> np.ndarray:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{what} must be a rectangular array of numbers; it could not be read as float64 "
            f"({error})"
        ) from error


def _validate_target(entry: Mapping[str, Any], label: str) -> np.ndarray:
    if entry.get("target") is None:
        raise DataError(f"{label} has no 'target'; expected an array [dimensions, time]")
    target = _to_floats(entry["target"], f"{label}: target")
    if target.ndim == 1:
        target = target[np.newaxis]
    if target.ndim != 2:
        raise DataError(
            f"{label}: target has shape {target.shape}; expected [dimensions, time], or [time] "
            "for a single dimension"
        )
    if target.size == 0:
        raise DataError(f"{label}: target is empty, shape {target.shape}")
    _refuse_infinite(target, f"{label}: target")
    silent = np.flatnonzero(np.isnan(target).all(axis=1))
    if silent.size:
        raise DataError(
            f"{label}: dimension {silent[0]} of the target has no observation at all (every value "
            "is missing): give more history, in which it has some, or drop it before training"
        )
    return target


def _refuse_infinite(values: np.ndarray, what: str) -> None:
    rows, steps = np.nonzero(np.isinf(values))
    if rows.size:
        raise DataError(
            f"{what} is infinite in dimension {rows[0]} at position {steps[0]} ({rows.size} such "
            "values); replace them by numbers, or by NaN where the value is missing"
        )


def _validate_start(entry: Mapping[str, Any], label: str) -> pd.Period:
    start = entry.get("start")
    if isinstance(start, pd.Period):
        return start
    freq = entry.get("freq")
    if start is None or freq is None:
        raise DataError(
            f"{label}: 'start' is {start!r}; expected a pandas Period such as "
            "pd.Period('2024-01-01', freq='D'), or a timestamp beside a 'freq' field"
        )
    try:
        period = pd.Period(start, freq=freq)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{label}: start {start!r} with freq {freq!r} makes no pandas Period ({error})"
        ) from error
    if not isinstance(period, pd.Period):  # NaT
        raise DataError(f"{label}: 'start' is not a time ({start!r})")
    return period


def _validate_dynamic(values: Any, field: str, length: int, label: str) -> np.ndarray:
    what = f"{label}: {field}"
    features = _to_floats(values, what)
    if features.ndim != 2:
        raise DataError(f"{what} has shape {features.shape}; expected [features, time]")
    exact = field.startswith("past_")
    if features.shape[1] < length or (exact and features.shape[1] != length):
        raise DataError(
            f"{what} covers {features.shape[1]} steps, the target {length}; expected "
            + ("exactly as many" if exact else "as many, or more to reach into the future")
        )
    if not np.isfinite(features).all():
        row, step = np.argwhere(~np.isfinite(features))[0]
        raise DataError(
            f"{what} is NaN or infinite in feature {row} at position {step}; features must be "
            "finite everywhere"
        )
    return features


def _validate_static(values: Any, field: str, label: str) -> np.ndarray:
    what = f"{label}: {field}"
    categories = np.ravel(np.asarray(values, dtype=object))
    if field == "feat_static_cat" and any(isinstance(one, str) for one in categories):
        return categories
    features = np.atleast_1d(_to_floats(values, what))
    if features.ndim != 1 or not np.isfinite(features).all():
        raise DataError(f"{what} must be a vector of finite numbers, got {values!r}")
    if field == "feat_static_cat":
        if (features < 0).any() or (features != np.floor(features)).any():
            raise DataError(f"{what} must hold category numbers 0, 1, 2, ..., got {values!r}")
        return features.astype(np.int64)
    return features


def _check_alike(entries: list[DataEntry]) -> None:
    """One model serves all entries, so they must agree in everything that fixes its shape."""
    first = entries[0]
    for position, entry in enumerate(entries[1:], start=1):
        for what, get in _SIGNATURE.items():
            if get(entry) != get(first):
                raise DataError(
                    f"{_label(entry, position)} has {what} {get(entry)}, "
                    f"{_label(first, 0)} has {get(first)}: all entries of a data set must agree"
                )


def _rows(field: str) -> Any:
    return lambda entry: len(entry[field]) if entry.get(field) is not None else 0


_SIGNATURE = {
    "target dimensions": lambda entry: entry["target"].shape[0],
    "frequency": lambda entry: entry["start"].freqstr,
    **{f"{field} rows": _rows(field) for field in (*DYNAMIC_FEATURES, *STATIC_FEATURES)},
}
