"""Columns of a frame that aren't forecast: what is known in advance, and what never changes.

The future of *known* columns stands in rows after the last observed value, in which every column of
values is empty: they end the frame, not the history. *Static* columns say the same in every row of
a series.
"""

# pandas carries no complete types: what a checker infers of its indices and cells is too narrow.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportReturnType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tsdiff.datasets.entries import DataError

Names = str | Sequence[str] | None


def as_list(names: Names) -> list[str]:
    """Names given as one, several or none."""
    if names is None:
        return []
    return list(names) if isinstance(names, (list, tuple, pd.Index)) else [names]


def check_roles(df: pd.DataFrame, **roles: Names) -> None:
    """Raise a DataError unless all columns are there, each with one role."""
    duplicated = df.columns[df.columns.duplicated()]
    if len(duplicated):
        raise DataError(f"two columns are called {duplicated[0]!r}: rename one")
    taken: dict[str, str] = {}
    for role, names in roles.items():
        for name in as_list(names):
            if name not in df.columns:
                raise DataError(f"no column {name!r}; the columns are {list(df.columns)}")
            if name in taken:
                raise DataError(
                    f"column {name!r} is given as {taken[name]} and again as {role}: a column has "
                    "one role, leave one out"
                )
            taken[name] = role


def remembered(df: pd.DataFrame, names: Sequence[str]) -> list[Any]:
    """The columns of these names, which a model was trained with as known in advance.

    Raises
    ------
    DataError
        If some lack.
    """
    columns = {str(column): column for column in df.columns}
    if lacking := [name for name in names if name not in columns]:
        raise DataError(
            f"the data lack {', '.join(lacking)}, known in advance when the model was trained: "
            "give it for the history and the steps to forecast"
        )
    return [columns[name] for name in names]


def check_numeric(frame: pd.DataFrame, label: str, mend: str | None = None) -> None:
    """Raise a DataError that shows the first value that is no number."""
    for name, column in frame.items():
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column):
            continue
        if column.isna().all():  # an empty column comes as objects: reported as all missing later
            continue
        as_numbers = pd.to_numeric(column, errors="coerce")
        bad = column[as_numbers.isna() & column.notna()]
        example = f"first such value {bad.iloc[0]!r} at {bad.index[0]}; " if len(bad) else ""
        raise DataError(
            f"column {name!r} of {label} is not numeric (dtype {column.dtype}); {example}"
            f"{mend or _advice(bad)}",
            pandas="" if mend else "pd.to_numeric(..., errors='coerce')",
        )


def _advice(bad: pd.Series) -> str:
    if bad.astype(str).str.fullmatch(r"-?[\d.]*,\d+").any():
        return (
            "do commas stand before decimals? Of a file, say so by decimal=',', or --decimal ',' "
            "on the command line"
        )
    return "leave the column out by naming the others, target_column or --target-column, or mend it"


def once_per_time(known: pd.DataFrame, label: str) -> pd.DataFrame:
    """Known columns of a long frame, whose times repeat for every dimension."""
    groups = known.groupby(level=0)
    several = groups.nunique(dropna=False) > 1  # noqa: PD101 (of each time, not of the column)
    for name in known.columns[several.any()]:
        raise DataError(
            f"known column {name!r} of {label} has several values at {several[name].idxmax()}: it "
            "must be the same for all dimensions. Where each has its own, make it one column per "
            "dimension of a wide frame, df.pivot(...)"
        )
    return groups.first()


def known_fields(
    target: np.ndarray, known: pd.DataFrame, steps: np.ndarray, periods: pd.PeriodIndex, label: str
) -> dict[str, Any]:
    """The target without future rows, and what is known in advance there, too.

    Parameters
    ----------
    target
        ``[D, steps]`` of the whole frame; NaN is missing.
    known
        Known columns, a row for each of ``periods``.
    steps
        Position of each row on the grid.

    Returns
    -------
    dict
        ``target [D, time]``, ``feat_dynamic_real [F, time + future]``, ``known_columns``. The
        future reaches as far as all known columns do.

    Raises
    ------
    DataError
        A known column that isn't numeric, or lacks a value before the last that all have.
    """
    check_numeric(known, label, "make numbers of it: pd.get_dummies has a column for each name")
    features = np.full((known.shape[1], target.shape[1]), np.nan)
    features[:, steps] = known.to_numpy(dtype=np.float64, na_value=np.nan).T
    length = _last(~np.isnan(target).all(axis=0))
    features = features[:, : max(length, _last(np.isfinite(features).all(axis=0)))]
    columns, places = np.nonzero(~np.isfinite(features))
    if len(places):
        time = periods[0] + int(places[0]) * periods.freq.n
        raise DataError(
            f"known column {known.columns[columns[0]]!r} of {label} is missing or infinite at "
            f"{time} ({len(places)} such values): what is known in advance must be known at every "
            "time; fill it, or leave the column out"
        )
    return {
        "target": target[:, :length],
        "feat_dynamic_real": features,
        "known_columns": [str(name) for name in known.columns],
    }


def _last(there: np.ndarray) -> int:
    """Number of steps up to the last that is there."""
    return int(np.flatnonzero(there)[-1]) + 1 if there.any() else 0


def static_fields(static: pd.DataFrame, label: str) -> dict[str, Any]:
    """Features of a series from columns that never change: numbers, and categories by name.

    Raises
    ------
    DataError
        A column that changes within the series, or holds no value.
    """
    real, categories = [], []
    for name, column in static.items():
        values = column.dropna().unique()
        if len(values) != 1:
            found = ", ".join(str(value) for value in values[:3]) or "no value"
            raise DataError(
                f"static column {name!r} of {label} holds {found}: it must say the same in all "
                "rows of a series. What changes and is known ahead goes in known_columns"
            )
        numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        (real if numeric else categories).append(float(values[0]) if numeric else str(values[0]))
    fields = {"feat_static_real": real, "feat_static_cat": categories}
    return {field: values for field, values in fields.items() if values}
