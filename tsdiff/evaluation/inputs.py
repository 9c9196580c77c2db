"""What users hand over: series in any of their forms, and names of arguments."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tsdiff.datasets.columns import remembered
from tsdiff.datasets.entries import DataEntry
from tsdiff.datasets.frames import as_entries


def entries_of(
    data: Any, known_columns: str | Sequence[str] | None = None, model: Any = None
) -> list[DataEntry]:
    """Entries as they were given, targets ``[time]`` too; those of a DataFrame or a Series.

    A trained model knows which columns of a frame are known ahead.

    Raises
    ------
    TypeError
        A single entry, a path or an array, or ``known_columns`` of what has no columns.
    """
    if isinstance(data, pd.DataFrame) and known_columns is None:
        names = getattr(getattr(model, "facts", None), "known_columns", ())
        return as_entries(data, known_columns=remembered(data, names))
    tables = (pd.DataFrame, pd.Series, Mapping, str, os.PathLike, np.ndarray)
    if isinstance(data, tables) or known_columns is not None:
        return as_entries(data, known_columns=known_columns)
    return list(data)


def unknown_argument(owner: str, name: str, known: Iterable[str]) -> TypeError:
    """The error that tells of an argument which ``owner`` has not, and of those that it has."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean {close[0]!r}? It" if close else "it"
    return TypeError(f"{owner} has no argument {name!r}; {advice} has: {', '.join(known)}")
