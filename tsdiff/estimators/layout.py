"""What a data set's rows are called: columns that a model knows are found again by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsdiff.datasets import DataError, DataWarning, as_entries
from tsdiff.datasets.columns import remembered

if TYPE_CHECKING:
    from tsdiff.estimators.model import DataFacts

_MOST_NAMES = 5  # that an error tells


@dataclass(frozen=True)
class Layout:
    """Names of what was trained on; :class:`DataFacts` has the same ones.

    Attributes
    ----------
    dimension_names
        Of the D dimensions.
    known_columns
        Of the rows of ``feat_dynamic_real``; empty where they came without.
    categories
        Of each ``feat_static_cat``; empty where these are numbers.
    """

    dimension_names: tuple[str, ...]
    known_columns: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, entries: Sequence[dict[str, Any]]) -> Layout:
        """The layout of validated entries: names are the first one's, categories those of all."""
        columns = zip(*(entry.get("feat_static_cat", ()) for entry in entries), strict=True)
        return cls(names_of(entries[0]), _known(entries[0]), tuple(map(_labels, columns)))


def _labels(column: Sequence[Any]) -> tuple[str, ...]:
    """Categories in an order that the series' order has no say in; none of plain numbers."""
    named = any(isinstance(value, str) for value in column)
    return tuple(sorted({str(value) for value in column})) if named else ()


def _known(entry: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(name) for name in entry.get("known_columns") or ())


def read(data: Any, layout: Layout | DataFacts, freq: str | None) -> list[dict[str, Any]]:
    """Validated entries of data for a model: of a DataFrame, its known columns are found by name.

    Raises
    ------
    DataError
        If the data can't be used, or lack a column that was known in advance in training.
    """
    if not isinstance(data, (pd.DataFrame, pd.Series)) or not layout.known_columns:
        return as_entries(data, freq)
    df = data.to_frame() if isinstance(data, pd.Series) else data
    return as_entries(df, freq, remembered(df, layout.known_columns))


def arranged(entries: list[dict[str, Any]], layout: Layout | DataFacts) -> list[dict[str, Any]]:
    """Entries with dimensions and known columns in the order, and categories as the numbers, of
    those trained on.

    What came without names is taken as it is; numbers of rows are checked elsewhere.

    Raises
    ------
    DataError
        If an entry has other dimensions, known columns or categories; the message says which.
    """
    entries = align_dimensions(entries, layout.dimension_names, layout.known_columns)
    entries = [_align_known(entry, layout.known_columns) for entry in entries]
    return [_encode(entry, layout.categories) for entry in entries]


def _align_known(entry: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    theirs = _known(entry)
    if theirs == names or not theirs or not names:
        return entry
    if set(theirs) != set(names):
        raise DataError(
            f"{_difference(theirs, names)}: known_columns must be the {len(names)} that the model "
            "was trained on, in any order"
        )
    order = [theirs.index(name) for name in names]
    return entry | {
        "feat_dynamic_real": entry["feat_dynamic_real"][order],
        "known_columns": list(names),
    }


def _encode(entry: dict[str, Any], categories: tuple[tuple[str, ...], ...]) -> dict[str, Any]:
    given = entry.get("feat_static_cat")
    if given is None or len(given) != len(categories):
        return entry  # a wrong number is refused with the other checks
    numbers = []
    for column, (value, labels) in enumerate(zip(given, categories, strict=True)):
        if str(value) not in labels and (labels or isinstance(value, str)):
            raise DataError(
                f"feat_static_cat[{column}] of series {entry.get('item_id')!r} is {value!r}, and "
                f"training saw {shortened(labels) or 'numbers'}: a category must have been there "
                "to be known"
            )
        numbers.append(labels.index(str(value)) if labels else value)
    return entry | {"feat_static_cat": np.array(numbers, dtype=np.int64)}


def align_dimensions(
    entries: list[dict[str, Any]], names: tuple[str, ...], known: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """Entries with their dimensions in the order of ``names``.

    ``known`` are columns that are no dimensions, to say so where they are given as such. Entries
    that name no dimensions, or were trained on without names, are taken as they are.

    Raises
    ------
    DataError
        If an entry names other dimensions; the message says which.
    """
    return [_align(entry, names, known) for entry in entries]


def _align(entry: dict[str, Any], names: tuple[str, ...], known: tuple[str, ...]) -> dict[str, Any]:
    theirs = names_of(entry)
    if theirs == names:
        return entry
    if set(theirs) == set(names) and len(theirs) == len(names):
        order = [theirs.index(name) for name in names]
        return entry | {"target": entry["target"][order], "dimension_names": list(names)}
    if theirs == default_names(len(theirs)) or names == default_names(len(names)):
        return entry  # a wrong number is refused with the other checks
    mend = "rename or select the columns"
    if given := [name for name in theirs if name in known]:
        mend = f"{shortened(given)} was known in advance: tsdiff.from_frame(df, known_columns=...)"
    raise DataError(
        f"{_difference(theirs, names)}: the dimensions must be the {len(names)} that the model "
        f"was trained on, in any order; {mend}"
    )


def _difference(found: Sequence[str], wanted: Sequence[str]) -> str:
    """What lacks and what is unknown, in words."""
    lacking = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    parts = [f"lack {shortened(lacking)}"] if lacking else []
    parts += [f"have {shortened(unknown)}, unknown to the model"] if unknown else []
    return f"the data {' and '.join(parts)}"


def shortened(names: Iterable[str]) -> str:
    """The first few names, and how many there are beyond."""
    names = list(names)
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def names_of(entry: dict[str, Any]) -> tuple[str, ...]:
    """Names of an entry's dimensions, made up where it has none."""
    names = entry.get("dimension_names") or default_names(entry["target"].shape[0])
    return tuple(str(name) for name in names)


def default_names(count: int) -> tuple[str, ...]:
    """Names of dimensions that came without."""
    return tuple(str(i) for i in range(count))


def without_unread(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries without what no model reads.

    Warns
    -----
    DataWarning
        If there is any: a user who gave it expects it to count.
    """
    field = "past_feat_dynamic_real"
    if not any(entry.get(field) is not None for entry in entries):
        return entries
    warnings.warn(
        f"no model here reads {field}, covariates of the past alone: they are left out. Give what "
        "is known ahead as feat_dynamic_real, and what is not as dimensions of the target",
        DataWarning,
        stacklevel=3,
    )
    return [{key: value for key, value in entry.items() if key != field} for entry in entries]


def warn_of_plans(entries: list[dict[str, Any]], horizon: int) -> None:
    """Warn of dimensions that go on for exactly a horizon after all others end: hardly by accident.

    Warns
    -----
    DataWarning
        If a series has some: taken as history, they move the forecast behind them.
    """
    for entry in entries:
        if entry["target"].shape[1] <= horizon:
            continue
        there = np.isfinite(entry["target"][:, -horizon - 1 :])
        plan = there.all(axis=1)
        ended = there[:, 0] & ~there[:, 1:].any(axis=1)
        if plan.any() and ended.any() and (plan | ended).all():
            names = [name for name, one in zip(names_of(entry), plan, strict=True) if one]
            warnings.warn(
                f"the last {horizon} steps, as many as are forecast, have values of "
                f"{shortened(names)} alone, and the forecast starts after them: if these are known "
                f"in advance, train with known_columns={names[:_MOST_NAMES]}",
                DataWarning,
                stacklevel=3,
            )
            return
