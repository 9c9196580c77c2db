"""Rolling evaluation windows: the same series, cut off ever later.

The protocol of the literature: the last ``num_windows`` windows of a series, each holding
everything from the series' start to the window's end. The last ``prediction_length`` steps are the
ones to forecast, what stands before them is what the forecaster may see.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.datasets.entries import DataEntry, DataError, DataWarning, validate_entries

__all__ = [
    "DataEntry",
    "cut_before",
    "first_step",
    "rolling_windows",
    "split_window",
    "truncate",
    "validate_entries",
]


def truncate(entry: DataEntry, length: int, *, keep_future: int = 0) -> DataEntry:
    """Cut an entry to its first ``length`` steps.

    ``feat_dynamic_real`` keeps ``keep_future`` steps more where it has them. Arrays are views of
    the entry's own: copy before writing into them.
    """
    cut = dict(entry)
    cut["target"] = np.asarray(entry["target"])[..., :length]
    for field, reach in (
        ("feat_dynamic_real", length + keep_future),
        ("past_feat_dynamic_real", length),
    ):
        if entry.get(field) is not None:
            cut[field] = np.asarray(entry[field])[..., :reach]
    return cut


def rolling_windows(
    entries: Sequence[DataEntry],
    prediction_length: int,
    num_windows: int,
    stride: int | None = None,
) -> list[DataEntry]:
    """The last rolling windows of every series, ordered window by window.

    Parameters
    ----------
    entries
        Entries with targets ``[D, time]`` or ``[time]``.
    prediction_length
        Steps to forecast at the end of each window.
    num_windows
        Windows per entry.
    stride
        Steps from one window to the next; ``prediction_length`` by default, so that the forecast
        ranges tile the end of the series.

    Returns
    -------
    list of dict
        ``num_windows * len(entries)`` entries: all series of the earliest window first, those of
        the latest last. Each target runs from the series' start to the window's end (history and
        ``prediction_length``); dynamic features are cut alike. Arrays are views of the originals.

    Raises
    ------
    DataError
        A series is too short: at least one step of history must stand before the first window.
    ValueError
        A length, a count or a stride below one.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> entry = {"target": np.arange(10.0)[None], "start": pd.Period("2024-01-01", "D")}
    >>> [window["target"].shape[1] for window in rolling_windows([entry], 2, num_windows=3)]
    [6, 8, 10]
    """
    stride = prediction_length if stride is None else stride
    for name, value in (
        ("prediction_length", prediction_length),
        ("num_windows", num_windows),
        ("stride", stride),
    ):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    reach = prediction_length + (num_windows - 1) * stride
    windows = []
    for back in range((num_windows - 1) * stride, -1, -stride):
        for position, entry in enumerate(entries):
            length = np.shape(entry["target"])[-1]
            if length <= reach:
                raise DataError(
                    f"entry {position} (item_id {entry.get('item_id')!r}) has {length} steps: "
                    f"{num_windows} windows of {prediction_length} steps, {stride} apart, need "
                    f"{reach} and at least one step of history. Ask for fewer windows or a "
                    "shorter prediction_length"
                )
            windows.append(truncate(entry, length - back))
    return windows


def split_window(entry: DataEntry, prediction_length: int) -> tuple[DataEntry, np.ndarray]:
    """Split a window into what a forecaster may see and the truth that it is judged by.

    Returns
    -------
    history : dict
        The entry without its last ``prediction_length`` target steps; ``feat_dynamic_real`` still
        covers them, as features are known in advance.
    truth : array [D, prediction_length]

    Raises
    ------
    DataError
        The entry leaves no history.
    """
    target = np.asarray(entry["target"])
    length = target.shape[-1] - prediction_length
    if prediction_length < 1 or length < 1:
        raise DataError(
            f"an entry of {target.shape[-1]} steps leaves no history before {prediction_length} "
            "forecast steps"
        )
    return truncate(entry, length, keep_future=prediction_length), target[..., length:]


@business_day_periods()
def first_step(window: DataEntry, prediction_length: int) -> Any:
    """The first step of a window that is forecast, a :class:`pandas.Period`."""
    return window["start"] + (np.shape(window["target"])[-1] - prediction_length)


@business_day_periods()
def cut_before(
    entries: Sequence[DataEntry], windows: Sequence[DataEntry], prediction_length: int
) -> list[DataEntry]:
    """All series up to the first step that any window forecasts, so that none leaks.

    Series that end at different times are cut at the same one: what one of them knows of later
    steps, the others' truth depends on, too.

    Parameters
    ----------
    entries
        Entries of one frequency, with targets ``[D, time]`` or ``[time]``.
    windows
        Entries whose last ``prediction_length`` steps are forecast; where there are none, nothing
        is cut.
    prediction_length
        Steps to forecast. Series that keep no more than these are left out.

    Raises
    ------
    DataError
        If nothing is left to train on.

    Warns
    -----
    DataWarning
        If series are left out.
    """
    if not windows:
        return list(entries)
    cutoff = min(first_step(window, prediction_length) for window in windows)
    lengths = [np.shape(entry["target"])[-1] for entry in entries]
    kept = []
    for entry, length in zip(entries, lengths, strict=True):
        # pandas counts half-hours in minutes.
        before = min(length, (cutoff - entry["start"]).n // cutoff.freq.n)
        if before > prediction_length:
            kept.append(truncate(entry, before))
    if not kept:
        raise DataError(
            f"no training data are left before the windows held out, which start at {cutoff}: the "
            f"longest series has {max(lengths)} steps. Give more history, fewer windows (for "
            "validation num_validation_windows, 0 for none), or a shorter horizon"
        )
    if len(kept) < len(entries):
        warnings.warn(
            f"{len(entries) - len(kept)} of {len(entries)} series have no more than "
            f"{prediction_length} steps before the windows held out, which start at {cutoff}, and "
            "are not trained on",
            DataWarning,
            stacklevel=3,
        )
    return kept
