"""The data of a benchmark: what is trained on, and which windows are scored.

``literature``
    The data set's own test windows; everything before them may be learned from.
``backtest``
    As many rolling windows as wanted that *end before* the first test window. They are more, so
    that differences have narrower intervals; what is learned from ends before the first of them.
``ending``
    The last windows of all; what is learned from ends before the first of them. A file of the
    user's own has no test windows, hence no other protocol.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tsdiff.datasets import (
    DataEntry,
    DataError,
    DownloadError,
    SeasonalVAR,
    cut_before,
    get_dataset,
    read_series,
    rolling_windows,
    truncate,
)
from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.datasets.windows import first_step

__all__ = ["PROTOCOLS", "DatasetSpec", "Missing", "Synthetic", "Table", "Task", "load", "pinned"]

PROTOCOLS = ("literature", "backtest", "ending")


class Missing(Exception):
    """A data set can't be had here; the message says why."""


@dataclass(frozen=True)
class Synthetic:
    """An hourly Gaussian vector autoregression around seasons, whose dimensions are free."""

    dimensions: int = 8
    length: int = 4000
    num_test_windows: int = 7
    prediction_length: int = 24
    seed: int = 2024


@dataclass(frozen=True)
class Table:
    """A file of the user's own, and how it is read; see :func:`tsdiff.datasets.read_series`.

    ``path`` is absolute. ``sha256`` is the file's hash, and empty until :func:`pinned`.
    """

    path: str
    prediction_length: int
    freq: str | None = None
    time_column: str | None = None
    target_column: tuple[str, ...] | None = None
    item_column: str | None = None
    dimension_column: str | None = None
    fill_gaps: bool = False
    sha256: str = ""

    def options(self) -> dict[str, Any]:
        """What ``read_series`` is handed."""
        names = ("freq", "time_column", "target_column", "item_column", "dimension_column")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return {**given, "fill_gaps": self.fill_gaps}


@dataclass(frozen=True)
class DatasetSpec:
    """A data set of a benchmark, as its configuration names it."""

    name: str
    protocols: tuple[str, ...] = PROTOCOLS[:2]
    num_windows: int = 30
    baselines: tuple[str, ...] | None = None
    likelihood: bool = True
    synthetic: Synthetic | None = None
    table: Table | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """What a run learns from and is scored on.

    Attributes
    ----------
    train
        Entries to learn from.
    windows
        Entries whose last ``prediction_length`` steps are forecast, none of them in ``train``.
    """

    train: list[DataEntry]
    windows: list[DataEntry]
    freq: str
    prediction_length: int
    dimension_names: tuple[str, ...]

    @property
    def target_dim(self) -> int:
        """Number of dimensions."""
        return len(self.dimension_names)

    def fingerprint(self) -> str:
        """Hash of all values, so that other data never pass for these."""
        digest = hashlib.sha256()
        for entry in (*self.train, self.windows[-1]):
            digest.update(f"{entry['start']} {self.freq} {self.dimension_names}".encode())
            for name in ("target", "feat_dynamic_real"):
                values = np.asarray(entry.get(name, ()), dtype=np.float64)
                digest.update(np.ascontiguousarray(values).tobytes())
        ends = [window["target"].shape[1] for window in self.windows]
        digest.update(f"{ends} {self.prediction_length}".encode())
        return digest.hexdigest()


def load(spec: DatasetSpec, protocol: str) -> Task:
    """The task of a data set under a protocol.

    Raises
    ------
    Missing
        The archive can't be had.
    DataError
        The series are too short for so many windows, or a file can't be read or is no longer the
        one that was planned with.
    """
    if spec.table is not None:
        return _earlier(_of_table(spec.name, spec.table), spec)
    if spec.synthetic is not None:
        task = _synthetic(spec.name, spec.synthetic)
    else:
        try:
            data = get_dataset(spec.name, progress=False)
        except DownloadError as error:
            raise Missing(str(error)) from error
        facts = data.metadata
        task = Task(
            data.train, data.test, facts.freq, facts.prediction_length, facts.dimension_names
        )
    if protocol == "literature":
        return task
    if protocol == "ending":
        task = replace(task, train=task.windows[-1:])
    return _earlier(task, spec)


def _earlier(task: Task, spec: DatasetSpec) -> Task:
    """The same training series, whose last windows are now scored."""
    reach = spec.num_windows * task.prediction_length
    shortest = min(entry["target"].shape[1] for entry in task.train)
    if shortest < 2 * reach:
        raise DataError(
            f"{spec.name}: {spec.num_windows} windows of {task.prediction_length} steps would take "
            f"more than half of the {shortest} steps that there are; ask for fewer (num_windows)"
        )
    windows = rolling_windows(task.train, task.prediction_length, spec.num_windows)
    train = cut_before(task.train, windows, task.prediction_length)
    return Task(train, windows, task.freq, task.prediction_length, task.dimension_names)


def pinned(spec: DatasetSpec) -> DatasetSpec:
    """A data set whose file, if it has one, is held to its present content."""
    if spec.table is None:
        return spec
    return replace(spec, table=replace(spec.table, sha256=_sha256(spec.name, spec.table.path)))


def _sha256(name: str, path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{name}: {path} can't be read: {error.strerror}") from error


def _of_table(name: str, table: Table) -> Task:
    """All series of a file, none of them in a window yet."""
    if table.sha256 and table.sha256 != _sha256(name, table.path):
        raise DataError(
            f"{name}: {table.path} has changed since the benchmark started; start it again, and "
            "all methods are scored on what it holds now"
        )
    try:
        series = read_series(table.path, **table.options())
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    names = tuple(series[0]["dimension_names"])
    return Task(series, [], series[0]["start"].freqstr, table.prediction_length, names)


def _synthetic(name: str, options: Synthetic) -> Task:
    law = SeasonalVAR.from_seed(options.seed, options.dimensions)
    horizon, count = options.prediction_length, options.num_test_windows
    series = law.sample(options.length + horizon * count, seed=options.seed + 1)
    names = tuple(str(dim) for dim in range(options.dimensions))
    series = {**series, "item_id": name, "dimension_names": list(names)}
    windows = rolling_windows([series], horizon, count)
    return Task([truncate(series, options.length)], windows, "h", horizon, names)


@business_day_periods()
def first_time(window: DataEntry, prediction_length: int) -> pd.Timestamp:
    """Time of the first step that is forecast."""
    return first_step(window, prediction_length).to_timestamp()
