"""Benchmark data sets as train, validation and rolling test windows.

``train``
    The whole training range, one entry.
``validation``
    Rolling windows at the *end of the training range*, as many as there are test windows, but at
    most a fifth of the range. They overlap ``train``: whoever validates on them must train on what
    stands before the first of them only; the estimators of this package cut it off themselves.
``test``
    Rolling windows after the training range, one entry each, from the series' start to the
    window's end. The last ``prediction_length`` steps are the ones to forecast.

Covariates known in advance, where there are such, reach ``prediction_length`` steps beyond every
entry's target.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import pandas as pd

from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.datasets.catalog import DatasetInfo, get_info
from tsdiff.datasets.entries import DataEntry
from tsdiff.datasets.holidays import with_holidays
from tsdiff.datasets.windows import rolling_windows, truncate

VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class DatasetMetadata:
    """What a data set is and where it comes from; ``notes`` say what was done to it or is odd."""

    name: str
    description: str
    freq: str
    prediction_length: int
    target_dim: int
    num_validation_windows: int
    num_test_windows: int
    dimension_names: tuple[str, ...]
    licence: str
    citation: str
    url: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class BenchmarkDataset:
    """Lists of entries, see the module's docstring; ``law`` is the known law of synthetic data.

    The windows are views of one another's arrays: copy before writing into them.
    """

    metadata: DatasetMetadata
    train: list[DataEntry]
    validation: list[DataEntry]
    test: list[DataEntry]
    law: object | None = None


@business_day_periods()
def get_dataset(
    name: str,
    *,
    cache: str | os.PathLike | None = None,
    mirror: str | os.PathLike | None = None,
    progress: bool = True,
) -> BenchmarkDataset:
    """Load a data set of the catalog, downloading its archive on first use.

    Parameters
    ----------
    name
        A name from :func:`tsdiff.datasets.list_datasets`. ``"ecb_exchange_rate"``,
        ``"seasonal_var"`` and ``"seasonal_var_370"`` need no download.
    cache
        Folder of downloads; else ``TSDIFF_CACHE``, else the system's cache folder.
    mirror
        Folder or http(s) address that holds the archives; else ``TSDIFF_MIRROR``.
    progress
        Show a progress bar while downloading, on a terminal.

    Raises
    ------
    UnknownDatasetError
        A ``KeyError`` with close matches.
    DownloadError
        The archive cannot be had; the message says what to do.

    Examples
    --------
    >>> data = get_dataset("ecb_exchange_rate")
    >>> len(data.train), data.train[0]["target"].shape[0], len(data.test)
    (1, 8, 5)
    """
    info = get_info(name)
    if name == "ecb_exchange_rate":
        return _ecb(info)
    if name == "seasonal_var":
        return _seasonal_var(info, 4000)
    if name == "seasonal_var_370":
        return _seasonal_var(info, 6000)
    from tsdiff.datasets.archive import read_archive, unpacked

    folder = unpacked(info, cache=cache, mirror=mirror, progress=progress)
    if info.is_table:
        from tsdiff.datasets.tables import read_table

        return _assemble(info, *_split(read_table(folder, info), info), _names(info), ())
    train, test = read_archive(folder, info)
    train, notes = _keep_apart(train, test, info)
    return _assemble(info, train, test, _names(info), notes)


def _ecb(info: DatasetInfo) -> BenchmarkDataset:
    from tsdiff.datasets.ecb import load_ecb_rates

    rates, notes = load_ecb_rates()
    series = {
        "target": rates.to_numpy().T.copy(),
        "start": pd.Period(rates.index[0], freq=info.freq),
        "item_id": info.name,
    }
    return _assemble(info, *_split(series, info), tuple(rates.columns), notes)


def _seasonal_var(info: DatasetInfo, train_length: int) -> BenchmarkDataset:
    from tsdiff.datasets.synthetic import seasonal_var_law

    law = seasonal_var_law(info.target_dim)
    series = law.sample(train_length + info.num_test_windows * info.prediction_length, seed=7)
    return _assemble(info, *_split(series, info), _names(info), (), law)


def _names(info: DatasetInfo) -> tuple[str, ...]:
    return info.dimension_names or tuple(str(dim) for dim in range(info.target_dim))


def _split(series: DataEntry, info: DatasetInfo) -> tuple[DataEntry, list[DataEntry]]:
    """Training range and test windows of one whole series."""
    reach = info.num_test_windows * info.prediction_length
    train = truncate(series, series["target"].shape[1] - reach)
    return train, rolling_windows([series], info.prediction_length, info.num_test_windows)


def _keep_apart(
    train: DataEntry, test: list[DataEntry], info: DatasetInfo
) -> tuple[DataEntry, tuple[str, ...]]:
    """Cut a training range that reaches into the first test window: those steps are to forecast."""
    step = pd.tseries.frequencies.to_offset(info.freq).n
    first = min(
        window["start"].ordinal + step * (window["target"].shape[1] - info.prediction_length)
        for window in test
    )
    length = train["target"].shape[1]
    allowed = (first - train["start"].ordinal) // step
    if allowed >= length:
        return train, ()
    note = (
        f"the archive's training range of {length} steps reaches into the first test window; cut "
        f"to {allowed} steps"
    )
    return truncate(train, allowed), (note,)


def _assemble(
    info: DatasetInfo,
    train: DataEntry,
    test: list[DataEntry],
    dimension_names: tuple[str, ...],
    notes: tuple[str, ...],
    law: object | None = None,
) -> BenchmarkDataset:
    for entry in (train, *test):
        entry["dimension_names"] = list(dimension_names)
    room = int(VALIDATION_SHARE * train["target"].shape[1]) // info.prediction_length
    count = min(info.num_test_windows, max(room, 1))
    metadata = DatasetMetadata(
        name=info.name,
        description=info.description,
        freq=info.freq,
        prediction_length=info.prediction_length,
        target_dim=info.target_dim,
        num_validation_windows=count,
        num_test_windows=info.num_test_windows,
        dimension_names=dimension_names,
        licence=info.licence,
        citation=info.citation,
        url=info.url,
        notes=(*info.notes, *notes),
    )
    validation = rolling_windows([train], info.prediction_length, count)
    if info.holidays:
        with_holidays([train, *validation, *test], info.prediction_length, info.holidays)
    return BenchmarkDataset(metadata, [train], validation, test, law)
