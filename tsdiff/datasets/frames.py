"""pandas, wide or long, to entries, and forecasts back to pandas.

*Wide*: one row per time, one column per dimension. *Long*: several rows per time, told apart by
``item_column`` (series that have nothing to do with each other: one entry each) or by
``dimension_column`` (the dimensions of one multivariate series), or both.

Times must ascend, without duplicates or gaps. Universal time is taken as it is, any other zone is
refused: daylight saving makes an hourly grid irregular, and only the owner of the data knows which
of the two mends (universal time, or dropping the zone) is right. Dates in text that may be read in
two ways, as 01/02/2018, are refused unless ``date_format`` says which it is.
"""

# pandas carries no complete types: what a checker infers of its indices and cells is too narrow.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportReturnType=false
# pyright: reportOperatorIssue=false, reportCallIssue=false

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.datasets.columns import (
    Names,
    as_list,
    check_numeric,
    check_roles,
    known_fields,
    once_per_time,
    static_fields,
)
from tsdiff.datasets.entries import DataEntry, DataError, validate_entries
from tsdiff.datasets.stamps import Stamps, find_stamps
from tsdiff.datasets.timegrid import read_times, to_regular_periods

if TYPE_CHECKING:
    from gluonts.model.forecast import Forecast


@business_day_periods()
def from_frame(
    df: pd.DataFrame | pd.Series,
    *,
    freq: str | None = None,
    time_column: str | None = None,
    item_column: str | None = None,
    dimension_column: str | None = None,
    target_column: Names = None,
    known_columns: Names = None,
    static_columns: Names = None,
    fill_gaps: bool = False,
    date_format: str | None = None,
) -> list[DataEntry]:
    """Turn a DataFrame into entries.

    Parameters
    ----------
    df
        Wide (the default) or long, see the module's docstring. Empty cells (NaN) are missing
        values.
    freq
        Time step in pandas' spelling, such as ``"h"``, ``"D"`` or ``"B"``; inferred where omitted.
        Days without weekends are inferred as business days, ``"B"``.
    time_column
        Column of the times; the index where omitted.
    item_column
        Column that names the series: one entry for each of its values.
    dimension_column
        Column that names the dimension; ``target_column`` then holds the values.
    target_column
        Column or columns of values; all remaining ones where omitted.
    known_columns
        Column or columns that are known in advance, such as prices or holidays: they are not
        forecast, but help to. Their future stands in rows after the last value, which are empty
        in all columns of values; these rows are no part of the history.
    static_columns
        Column or columns that say the same in all rows of a series: numbers, or anything else as
        categories.
    fill_gaps
        Insert the times that lack as rows of missing values, rather than refuse them.
    date_format
        How dates are written where times are text, as ``"%d.%m.%Y"`` or ``"%m/%d/%Y %H:%M"``; found
        where omitted, and only one order of day and month is possible.

    Returns
    -------
    list of dict
        Entries with ``target`` ``[D, time]``, ``start``, ``item_id``, ``dimension_names`` and
        ``stamps``: where in its step a time stands, for :func:`to_frame` and
        :func:`entry_to_frame`. Known columns are ``feat_dynamic_real`` ``[F, time + future]``,
        with their names in ``known_columns``; static ones ``feat_static_real`` and
        ``feat_static_cat``.

    Raises
    ------
    DataError
        Unsorted, duplicated or lacking times, dates that may be read in two ways, a time zone other
        than universal time, a frequency that cannot be inferred, values that are infinite or not
        numbers, nothing in the frame, a column that isn't there or is given twice, known columns
        with gaps, static ones that change. The message says which and how to mend it.

    Examples
    --------
    >>> import pandas as pd
    >>> times = pd.date_range("2024-01-01", periods=4, freq="D")
    >>> df = pd.DataFrame({"north": [1.0, 2, 3, 4], "south": [5.0, 6, 7, 8]}, index=times)
    >>> entry, = from_frame(df)
    >>> entry["target"].shape, entry["start"].freqstr, entry["dimension_names"]
    ((2, 4), 'D', ['north', 'south'])

    Of the last day, only the plan is known:

    >>> df.iloc[-1] = float("nan")
    >>> entry, = from_frame(df.assign(holiday=[0, 0, 1, 0]), known_columns="holiday")
    >>> entry["target"].shape, entry["feat_dynamic_real"].shape
    ((2, 3), (1, 4))
    """
    df = df.to_frame() if isinstance(df, pd.Series) else df
    if not isinstance(df, pd.DataFrame):
        raise TypeError(f"expected a pandas DataFrame, got {type(df).__name__}")
    if df.empty:
        raise DataError(f"the table is empty, shape {df.shape}")
    check_roles(
        df,
        time_column=time_column,
        item_column=item_column,
        dimension_column=dimension_column,
        target_column=target_column,
        known_columns=known_columns,
        static_columns=static_columns,
    )
    known, static = as_list(known_columns), as_list(static_columns)
    if time_column is not None:
        df = df.set_index(time_column)
    # All at once: the dates of one item may tell how those of another are to be read.
    df = df.set_axis(read_times(df.index, "the table", date_format), axis=0)
    if item_column is None:
        items = [("0", df)]
    else:
        groups = df.groupby(item_column, sort=False, observed=True)
        items = [(str(name), group.drop(columns=item_column)) for name, group in groups]
    entries = []
    for item_id, frame in items:
        label = "the table" if item_column is None else f"item {item_id!r}"
        values = frame.drop(columns=[*known, *static]) if known or static else frame
        wide = _to_wide(values, dimension_column, target_column, label)
        ahead = frame[known] if known else None
        if ahead is not None and dimension_column is not None:
            ahead = once_per_time(ahead, label)
        entry = _entry(wide, ahead, item_id, freq, fill_gaps, label)
        entries.append(entry | (static_fields(frame[static], label) if static else {}))
    return validate_entries(entries)


def as_entries(data: Any, freq: str | None = None, known_columns: Names = None) -> list[DataEntry]:
    """Validated entries of whatever holds series: a DataFrame, a Series or a GluonTS data set.

    Raises
    ------
    DataError
        The data can't be used as they are.
    TypeError
        The data are none of these, or ``known_columns`` are given of what has no columns.
    """
    if isinstance(data, (pd.DataFrame, pd.Series)):
        return from_frame(data, freq=freq, known_columns=known_columns)
    if isinstance(data, (str, os.PathLike, np.ndarray)):
        raise TypeError(
            f"expected a DataFrame or a list of entries, got a {type(data).__name__}: use "
            "tsdiff.read_series(path) for a file, pandas.DataFrame(array, index=times) for an array"
        )
    if known_columns is not None:
        raise TypeError(
            "known_columns names columns of a DataFrame, and the data are entries, which carry "
            "feat_dynamic_real: leave it out, or give it to tsdiff.from_frame"
        )
    return validate_entries(data)


def read_series(
    path: str | os.PathLike, *, separator: str = ",", decimal: str = ".", **options: Any
) -> list[DataEntry]:
    """Read entries from a CSV (``.csv``, ``.csv.gz``, ...) or Parquet file.

    Parameters
    ----------
    path
        The file. Parquet needs ``pip install tsdiff[parquet]``.
    separator, decimal
        What stands between the columns of a CSV file, and before the decimals of its numbers; many
        European ones need ``separator=";", decimal=","``.
    **options
        Those of :func:`from_frame`. Without ``time_column``, the first column of a CSV file is the
        time; a Parquet file keeps its index.

    Raises
    ------
    FileNotFoundError
        No such file.
    DataError
        An unknown kind of file, or what :func:`from_frame` refuses; the message begins with the
        file's path.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path.absolute()}")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    try:
        if ".csv" in suffixes:
            df = _read_csv(path, separator, decimal)
            options = {"time_column": df.columns[0], **options}
        elif {".parquet", ".pq"} & set(suffixes):
            df = _read_parquet(path)
        else:
            raise DataError("expected a .csv or .parquet file")
        return from_frame(df, **options)
    except DataError as error:
        raise DataError(f"{path}: {error.words}") from error


def _read_csv(path: Path, separator: str, decimal: str) -> pd.DataFrame:
    advice = "are columns separated by {!r}? Then say so by separator={!r}, or --separator {!r}"
    separator = separator.replace("\\t", "\t")  # as it can be typed in a shell
    how: dict[str, Any] = {"sep": separator, "decimal": decimal}
    try:
        header = list(pd.read_csv(path, nrows=0, **how).columns)
        for other in (";", "\t", "|", ","):
            if len(header) == 1 and other in header[0]:
                raise DataError(f"one column, {header[0]!r}: " + advice.format(*[other] * 3))
        return pd.read_csv(path, **how)
    except pd.errors.EmptyDataError as error:
        raise DataError("the file is empty") from error
    except pd.errors.ParserError as error:
        reason = str(error).strip().split("C error: ")[-1]
        raise DataError(
            f"with columns separated by {separator!r}, a line has too many ({reason}): mend it, or "
            "say what separates columns by separator, or --separator on the command line"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"the text is not encoded as UTF-8 ({error}): save it so") from error


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except ImportError as error:
        raise ImportError("reading Parquet needs pyarrow: pip install pyarrow") from error


@business_day_periods()
def to_frame(
    forecasts: Forecast | Iterable[Forecast],
    quantiles: Sequence[float] = (0.1, 0.5, 0.9),
    dimension_names: Sequence[str] | None = None,
) -> pd.DataFrame:
    """A tidy frame of forecasts, ready for ``to_csv``.

    Parameters
    ----------
    forecasts
        One GluonTS forecast or several; samples ``[N, T, D]`` or ``[N, T]``.
    quantiles
        Levels between 0 and 1.
    dimension_names
        Names of the ``D`` dimensions; those that the forecasts carry by default, or else ``"0"``,
        ``"1"``, ...

    Returns
    -------
    DataFrame
        Columns ``item_id, time, dimension, mean`` and one per quantile, named ``"0.1"`` and so on;
        one row per forecast, step and dimension. ``time`` continues the times of the frame
        that was forecast; of other entries it is the beginning of the step, or the day that names
        a week.

    Raises
    ------
    ValueError
        A level outside (0, 1), or as many names as do not fit the dimensions.
    """
    outside = [level for level in quantiles if not 0 < level < 1]
    if outside:
        raise ValueError(f"quantiles must lie between 0 and 1, got {outside[0]}")
    several: Any = [forecasts] if hasattr(forecasts, "start_date") else forecasts
    frames = []
    for position, forecast in enumerate(several):
        mean = _as_matrix(forecast.mean)
        length, num_dims = mean.shape
        info = getattr(forecast, "info", None) or {}
        given = info.get("dimension_names") if dimension_names is None else dimension_names
        names = [str(name) for name in (range(num_dims) if given is None else given)]
        if len(names) != num_dims:
            raise ValueError(f"{len(names)} dimension names for a forecast of {num_dims}")
        times = _times(forecast.start_date, length, info.get("stamps"))
        item_id = position if forecast.item_id is None else forecast.item_id
        columns = {
            "item_id": str(item_id),
            "time": times.repeat(num_dims),
            "dimension": names * length,
            "mean": mean.ravel(),
        }
        for level in quantiles:
            columns[f"{level:g}"] = _as_matrix(forecast.quantile(level)).ravel()
        frames.append(pd.DataFrame(columns))
    if not frames:
        return pd.DataFrame(
            columns=["item_id", "time", "dimension", "mean", *(f"{q:g}" for q in quantiles)]
        )
    return pd.concat(frames, ignore_index=True)


@business_day_periods()
def entry_to_frame(entry: DataEntry) -> pd.DataFrame:
    """The wide frame of an entry: times as index, one column per dimension.

    Times are those of the frame that the entry was made of; of other entries the beginnings of
    steps, or the day that names a week.
    ``from_frame(entry_to_frame(entry), freq=entry["start"].freqstr)`` gives the entry back.
    """
    target = _as_matrix(np.asarray(entry["target"]).T)
    names = entry.get("dimension_names") or [str(dim) for dim in range(target.shape[1])]
    times = _times(entry["start"], len(target), entry.get("stamps"))
    return pd.DataFrame(target, index=times.rename("time"), columns=list(names))


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


def forecast_info(entry: DataEntry) -> dict[str, Any]:
    """What goes with the forecasts of an entry: names of its dimensions, and how it is stamped."""
    return {key: entry[key] for key in ("dimension_names", "stamps") if entry.get(key) is not None}


def _times(start: pd.Period, count: int, stamps: Stamps | None) -> pd.DatetimeIndex:
    return (stamps or Stamps()).of(pd.period_range(start, periods=count))


def _as_matrix(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    return values[:, np.newaxis] if values.ndim == 1 else values


def _to_wide(
    frame: pd.DataFrame,
    dimension_column: str | None,
    target_column: Names,
    label: str,
) -> pd.DataFrame:
    targets = as_list(target_column)
    if dimension_column is None:
        return frame[targets] if targets else frame
    values = targets or [name for name in frame.columns if name != dimension_column]
    if len(values) != 1:
        raise DataError(
            f"with dimension_column={dimension_column!r} exactly one column holds the values, "
            f"found {values}: name it by target_column"
        )
    keys = pd.MultiIndex.from_arrays([frame.index, frame[dimension_column]])
    twice = keys[keys.duplicated()]
    if len(twice):
        time, dimension = twice[0]
        raise DataError(f"{label} has two values of dimension {dimension!r} at {time}: keep one")
    check_numeric(frame[values], label)
    wide = frame[values[0]].set_axis(keys).unstack()  # noqa: PD010 (a pivot of one value per cell)
    order = frame[dimension_column].unique()
    return wide[list(order)]


def _entry(
    wide: pd.DataFrame,
    known: pd.DataFrame | None,
    item_id: str,
    freq: str | None,
    fill_gaps: bool,
    label: str,
) -> DataEntry:
    if not wide.shape[1]:
        raise DataError(f"{label} has times but no column of values beside them")
    times, periods = to_regular_periods(wide.index, freq, label, fill_gaps=fill_gaps)
    check_numeric(wide, label)
    values = wide.to_numpy(dtype=np.float64, na_value=np.nan)
    _check_values(values, wide, label)
    steps = (periods.asi8 - periods.asi8[0]) // periods.freq.n
    target = np.full((wide.shape[1], steps[-1] + 1), np.nan)
    target[:, steps] = values.T
    entry: DataEntry = {
        "target": target,
        "start": periods[0],
        "item_id": item_id,
        "dimension_names": [str(name) for name in wide.columns],
        "stamps": find_stamps(times, periods, wide.index),
    }
    if known is not None:
        entry |= known_fields(target, known, steps, periods, label)
    return entry


def _check_values(values: np.ndarray, wide: pd.DataFrame, label: str) -> None:
    rows, dims = np.nonzero(np.isinf(values))
    if rows.size:
        raise DataError(
            f"column {wide.columns[dims[0]]!r} of {label} is infinite at {wide.index[rows[0]]} "
            f"({rows.size} such values); replace them by numbers, or by NaN where missing"
        )
    silent = np.flatnonzero(np.isnan(values).all(axis=0))
    if silent.size:
        raise DataError(
            f"column {wide.columns[silent[0]]!r} of {label} holds no value at all: give more "
            "history, in which it has some, or drop it before training"
        )
