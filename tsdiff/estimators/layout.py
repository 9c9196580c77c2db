"""What a data set's rows are called: columns that a model knows are found again by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from tsdiff.datasets import DataError, DataWarning

_MOST_NAMES = 5  # that an error tells


def align_dimensions(entries: list[dict[str, Any]], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Entries with their dimensions in the order of ``names``.

    Entries that name no dimensions, or were trained on without names, are taken as they are.

    Raises
    ------
    DataError
        If an entry names other dimensions; the message says which.
    """
    return [_align(entry, names) for entry in entries]


def _align(entry: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    theirs = names_of(entry)
    if theirs == names:
        return entry
    if set(theirs) == set(names) and len(theirs) == len(names):
        order = [theirs.index(name) for name in names]
        return entry | {"target": entry["target"][order], "dimension_names": list(names)}
    if theirs == default_names(len(theirs)) or names == default_names(len(names)):
        return entry  # a wrong number is refused with the other checks
    raise DataError(
        f"{_difference(theirs, names)}: the dimensions must be the {len(names)} that the model "
        "was trained on, in any order; rename or select the columns"
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
