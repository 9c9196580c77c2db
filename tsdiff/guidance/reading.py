"""What users hand over as conditions, read: arrays, DataFrames, Series and mappings.

Numbers by dimension are matched by name and numbers by step by time, where there are names and
times. Every error says which condition it is about, what came, and what was expected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.datasets.timegrid import to_regular_periods


class Outlook(NamedTuple):
    """The steps that conditions are about.

    Attributes
    ----------
    names
        Of the D dimensions, in the order of the series that is forecast.
    length
        T.
    start
        Period of the first step.
    """

    names: tuple[str, ...]
    length: int
    start: pd.Period


def dimension_table(what: str, given: Any, outlook: Outlook) -> np.ndarray:
    """``[T, D]`` of an array, or of a DataFrame that names some dimensions."""
    names = outlook.names
    if isinstance(given, pd.Series) and given.name is not None:
        given = given.to_frame()
    elif isinstance(given, Mapping):
        given = pd.DataFrame(dict(given))
    if isinstance(given, pd.DataFrame):
        if not given.columns.is_unique:
            twice = given.columns[given.columns.duplicated()][0]
            raise ValueError(f"{what} has the column {twice!r} more than once")
        if strangers := [str(c) for c in given.columns if str(c) not in names]:
            raise ValueError(
                f"{what} has a column {strangers[0]!r}, which is no dimension of the series: "
                f"expected some of {', '.join(names)}"
            )
        given = given.rename(columns=str).reindex(columns=list(names))
    table = step_rows(what, given, outlook, f"T, {len(names)}", 2)
    if table.shape[1] != len(names):
        raise ValueError(
            f"{what} must be [T, {len(names)}], one column per dimension, got shape {table.shape}"
        )
    return table


def step_rows(what: str, given: Any, outlook: Outlook, shape: str, rank: int) -> np.ndarray:
    """Numbers by step, matched by time where they have times; at most T rows."""
    if rank == 1 and isinstance(given, pd.DataFrame) and given.shape[1] == 1:
        given = given.iloc[:, 0]
    index = given.index if isinstance(given, (pd.DataFrame, pd.Series)) else None
    if isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex)):
        given = _dated(what, given, outlook)
    elif index is not None and not index.equals(pd.RangeIndex(len(index))):
        raise ValueError(
            f"{what}: its rows are labelled {index[0]!r}, …; label them by the times that they are "
            "about, or number them from 0 on (reset_index(drop=True)) for the first steps"
        )
    try:
        rows = np.asarray(given, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be numbers [{shape}], got {type(given).__name__}") from error
    if rows.ndim != rank:
        kind = type(given).__name__
        raise ValueError(f"{what} must be [{shape}], got shape {rows.shape} of a {kind}")
    if len(rows) > outlook.length:
        raise ValueError(f"{what} has {len(rows)} steps, and {outlook.length} are forecast")
    return rows


@business_day_periods()
def _dated(what: str, given: Any, outlook: Outlook) -> np.ndarray:
    """Rows of the forecast's own T steps, NaN where ``given`` has none."""
    start = outlook.start
    _, periods = to_regular_periods(given.index, start.freqstr, what, fill_gaps=True)
    steps = (periods.asi8 - start.ordinal) // start.freq.n
    inside = (steps >= 0) & (steps < outlook.length)
    if not inside.any():
        last = start + (outlook.length - 1)
        raise ValueError(
            f"{what} has rows from {periods[0]} to {periods[-1]}, and the forecast is from {start} "
            f"to {last}: none is about it"
        )
    values = np.asarray(given, dtype=float)
    rows = np.full((outlook.length, *values.shape[1:]), np.nan)
    rows[steps[inside]] = values[inside]
    return rows


def labelled_alike(std: Any, values: Any) -> Any:
    """Errors with the labels of the values that they stand beside, if they have none themselves."""
    if isinstance(std, (pd.DataFrame, pd.Series)) or np.shape(std) != np.shape(values):
        return std
    if isinstance(values, pd.DataFrame):
        return pd.DataFrame(np.asarray(std), index=values.index, columns=values.columns)
    if isinstance(values, pd.Series):
        return pd.Series(np.asarray(std), index=values.index, name=values.name)
    return std


def dimension_weights(what: str, given: Any, names: Sequence[str]) -> np.ndarray:
    if given is None:
        return np.ones(len(names))
    if isinstance(given, str):
        given = [given]
    if isinstance(given, (list, tuple)) and all(isinstance(name, str) for name in given):
        given = dict.fromkeys(given, 1.0)
    if isinstance(given, (Mapping, pd.Series)):
        given = by_name(f"{what}: weights", given, names, 0.0)
    weights = np.asarray(given, dtype=float)
    if weights.shape != (len(names),) or not np.isfinite(weights).all():
        raise ValueError(
            f"{what}: weights must be {len(names)} finite numbers, got {weights.tolist()}"
        )
    return weights


def by_name(what: str, given: Any, names: Sequence[str], lacking: float) -> np.ndarray:
    """``[D]`` of what a mapping or Series says by name."""
    try:
        named = {str(name): float(value) for name, value in given.items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: give one number for each name, got {given!r}") from error
    if strangers := [name for name in named if name not in names]:
        raise ValueError(
            f"{what} name {strangers[0]!r}, which is no dimension of the series: expected some of "
            f"{', '.join(names)}"
        )
    return np.array([named.get(name, lacking) for name in names])


def bounds_of_step(what: str, given: Any, step: int, outlook: Outlook, none: float) -> np.ndarray:
    """One step's bounds ``[D]``, infinite where there are none."""
    names = outlook.names
    if given is None:
        return np.full(len(names), none)
    if isinstance(given, pd.DataFrame) or np.ndim(given) == 2:
        rows = dimension_table(what, given, outlook)
        bounds = rows[step] if step < len(rows) else np.full(len(names), np.nan)
    elif isinstance(given, pd.Series) and isinstance(
        given.index, (pd.DatetimeIndex, pd.PeriodIndex)
    ):
        return bounds_of_step(what, pd.DataFrame(dict.fromkeys(names, given)), step, outlook, none)
    elif isinstance(given, Mapping) and any(np.ndim(value) for value in given.values()):
        return bounds_of_step(what, pd.DataFrame(dict(given)), step, outlook, none)
    elif isinstance(given, (Mapping, pd.Series)):
        bounds = by_name(what, pd.Series(dict(given), dtype=float), names, np.nan)
    else:
        try:
            bounds = np.asarray(given, dtype=float)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{what} must be numbers, got {given!r}") from error
        if bounds.ndim and bounds.shape != (len(names),):
            raise ValueError(
                f"{what} must be one number, [{len(names)}] or [T, {len(names)}], got shape "
                f"{bounds.shape}"
            )
        bounds = np.broadcast_to(bounds, (len(names),))
    return np.where(np.isnan(bounds), none, bounds)


def check_std(what: str, std: np.ndarray) -> None:
    if not np.isfinite(std).all() or (std < 0.0).any():
        raise ValueError(f"{what}: std must be finite and not negative")
