"""Where series come from: benchmark data sets, your own tables, series with a known law.

:func:`get_dataset` gives a benchmark as train, validation and rolling test windows,
:func:`from_frame` and :func:`read_series` turn tables into entries, :func:`to_frame` turns
forecasts into a table. A data set is a list of entries, plain dicts in GluonTS' vocabulary.
"""

from __future__ import annotations

from tsdiff.datasets.benchmark import BenchmarkDataset, DatasetMetadata, get_dataset
from tsdiff.datasets.catalog import DatasetInfo, UnknownDatasetError, get_info, list_datasets
from tsdiff.datasets.download import DownloadError, VerificationError, fetch
from tsdiff.datasets.entries import DataEntry, DataError, DataWarning, validate_entries
from tsdiff.datasets.frames import as_entries, entry_to_frame, from_frame, read_series, to_frame
from tsdiff.datasets.synthetic import (
    POINT_CLOUDS,
    SeasonalVAR,
    checkerboard,
    crps_gaussian,
    seasonal_var_law,
    spiral,
)
from tsdiff.datasets.windows import cut_before, rolling_windows, split_window, truncate

__all__ = [
    "POINT_CLOUDS",
    "BenchmarkDataset",
    "DataEntry",
    "DataError",
    "DataWarning",
    "DatasetInfo",
    "DatasetMetadata",
    "DownloadError",
    "SeasonalVAR",
    "UnknownDatasetError",
    "VerificationError",
    "as_entries",
    "checkerboard",
    "crps_gaussian",
    "cut_before",
    "entry_to_frame",
    "fetch",
    "from_frame",
    "get_dataset",
    "get_info",
    "list_datasets",
    "read_series",
    "rolling_windows",
    "seasonal_var_law",
    "spiral",
    "split_window",
    "to_frame",
    "truncate",
    "validate_entries",
]
