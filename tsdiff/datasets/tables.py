"""Benchmarks that come as one wide table: a row per time step, a column per dimension.

The catalog says which columns and which last step are used; :mod:`tsdiff.datasets.frames` reads
what is left, as it reads anyone's own table. Empty cells are missing values.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.datasets.catalog import DatasetInfo
from tsdiff.datasets.entries import DataEntry, DataError
from tsdiff.datasets.frames import read_series
from tsdiff.datasets.windows import truncate


@business_day_periods()
def read_table(folder: Path, info: DatasetInfo) -> DataEntry:
    """The whole series of an unpacked table, ``[D, time]``, up to the catalog's last step.

    Raises
    ------
    DataError
        A column lacks, the times have gaps or end before the last step.
    """
    path = folder / info.archive.removesuffix(".gz")
    columns = list(info.dimension_names) or None
    (series,) = read_series(path, freq=info.freq, target_column=columns)
    series["item_id"] = info.name
    if not info.last_step:
        return series
    length = len(pd.period_range(series["start"], end=info.last_step, freq=info.freq))
    available = series["target"].shape[1]
    if not 0 < length <= available:
        last = series["start"] + available - 1
        raise DataError(
            f"{info.name}: {path.name} runs from {series['start']} to {last}, expected it to reach "
            f"{info.last_step}"
        )
    return truncate(series, length)
