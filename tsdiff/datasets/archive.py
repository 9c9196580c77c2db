"""The literature's archives: unpacked safely, read as multivariate series.

A table, ``.csv.gz``, is unpacked here too, as an archive of one file; :mod:`tsdiff.datasets.tables`
reads it. Inside the others stand ``train/`` and ``test/`` with one JSON object per line and series.
The test part repeats all ``D`` series once per rolling window, window by window; ``D`` successive
lines are one multivariate entry.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.datasets.catalog import TABLE_SUFFIX, DatasetInfo
from tsdiff.datasets.download import VerificationError, cache_folder, fetch
from tsdiff.datasets.entries import DataEntry, DataError


class UnsafeArchiveError(ValueError):
    """An archive holds something that could touch files outside its own folder."""


def unpacked(
    info: DatasetInfo,
    *,
    cache: str | os.PathLike | None = None,
    mirror: str | os.PathLike | None = None,
    progress: bool = True,
) -> Path:
    """Folder of an unpacked archive in the cache; fetched and unpacked on first use.

    The folder's name carries the archive's hash, and it appears in one rename when everything in it
    is written and verified: what exists is whole.
    """
    digest = (info.sha256 or info.git_blob or info.table_sha256 or "")[:12]
    folder = cache_folder(cache) / f"{info.archive.removesuffix('.tar.gz')}-{digest}"
    if not folder.is_dir():
        archive = fetch(info, cache=cache, mirror=mirror, progress=progress)
        unpack(archive, folder, dict(info.member_sha256))
    return folder


def unpack(archive: Path, folder: Path, member_sha256: dict[str, str] | None = None) -> None:
    """Unpack a tar archive, or a gzipped table, into a folder that does not exist yet.

    All or nothing: the folder appears when it is complete.

    Raises
    ------
    UnsafeArchiveError
        A member is a link or a device, or its name leads out of the folder.
    VerificationError
        A member differs from its entry in ``member_sha256``, or lacks.
    """
    expected = dict(member_sha256 or {})
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        if archive.name.endswith(TABLE_SUFFIX):
            _write_table(archive, temporary)
        else:
            with tarfile.open(archive) as tar:
                for member in tar:
                    _write_member(tar, member, temporary, expected)
        if expected:
            raise VerificationError(f"{archive} lacks {', '.join(sorted(expected))}")
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process unpacked the same archive
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_table(archive: Path, folder: Path) -> None:
    path = folder / archive.name.removesuffix(".gz")
    with gzip.open(archive) as source, path.open("xb") as file:
        shutil.copyfileobj(source, file)


def _write_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, expected: dict[str, str]
) -> None:
    """Write one member as plain bytes: no owner, mode, link or time is taken from the archive."""
    name = PurePosixPath(member.name)
    drive = "\\" in member.name or ":" in member.name
    if name.is_absolute() or ".." in name.parts or drive:
        raise UnsafeArchiveError(f"{tar.name}: the member {member.name!r} leads out of its folder")
    path = folder.joinpath(*name.parts)
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    source = tar.extractfile(member) if member.isreg() else None
    if source is None:
        raise UnsafeArchiveError(
            f"{tar.name}: the member {member.name!r} is a link or a special file; only plain files "
            "and folders are unpacked"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source, path.open("xb") as file:
        while chunk := source.read(1 << 18):
            digest.update(chunk)
            file.write(chunk)
    wanted = expected.pop(str(name), None)
    if wanted and digest.hexdigest() != wanted:
        raise VerificationError(
            f"{tar.name}: sha256 of {member.name} is {digest.hexdigest()}, expected {wanted}"
        )


@business_day_periods()
def read_archive(folder: Path, info: DatasetInfo) -> tuple[DataEntry, list[DataEntry]]:
    """The training range and the rolling test windows of an unpacked archive.

    Returns
    -------
    train : dict
        One entry ``[D, time]``.
    test : list of dict
        One entry per window, from the series' start to the window's end. Windows that continue one
        another are views of one array.

    Raises
    ------
    DataError
        The content does not have the shape that the catalog announces.
    """
    train = list(_read_part(folder, "train", info))
    test = _share_memory(list(_read_part(folder, "test", info)))
    for what, found, announced in (
        ("training entries", len(train), 1),
        ("test windows", len(test), info.num_test_windows),
    ):
        if found != announced:
            raise DataError(f"{info.name}: {found} {what} in {folder}, expected {announced}")
    return train[0], test


def _read_part(folder: Path, part: str, info: DatasetInfo) -> Iterator[DataEntry]:
    group: list[dict] = []
    for row in _read_lines(folder, part):
        # float64 at once: a list of Python floats takes four times the memory.
        group.append({"start": row["start"], "target": np.asarray(row["target"], np.float64)})
        if len(group) == info.target_dim:
            yield _stack(group, info)
            group = []
    if group:
        raise DataError(
            f"{info.name}: the series in {folder}/**/{part} do not divide into groups of "
            f"{info.target_dim}; {len(group)} are left over"
        )


def _read_lines(folder: Path, part: str) -> Iterator[dict]:
    # Names differ between archives: train/train.json, train/data.json, test/test.json.gz.
    files = [
        path
        for path in sorted(folder.glob(f"**/{part}/*"))
        if path.name.endswith((".json", ".jsonl", ".json.gz", ".jsonl.gz"))
        and path.name[0] not in "._"
    ]
    if not files:
        raise DataError(f"no JSON lines in {folder}/**/{part}: not an archive in GluonTS' layout")
    for path in files:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip())


def _stack(group: list[dict], info: DatasetInfo) -> DataEntry:
    """Stack univariate series; what a shorter one lacks at its beginning is missing, NaN."""
    starts: list[Any] = [pd.Period(row["start"], freq=info.freq) for row in group]
    ends = {
        start.ordinal + _steps(info.freq) * len(row["target"])
        for start, row in zip(starts, group, strict=True)
    }
    if len(ends) > 1:
        raise DataError(
            f"{info.name}: series that should form one multivariate series end at different times"
        )
    length = max(len(row["target"]) for row in group)
    target = np.full((len(group), length), np.nan)
    for values, row in zip(target, group, strict=True):
        values[length - len(row["target"]) :] = row["target"]
    return {"target": target, "start": min(starts), "item_id": info.name}


def _steps(freq: str) -> int:
    """How far a period's ordinal moves in one step: 30 for "30min", 1 for "D"."""
    return int(pd.tseries.frequencies.to_offset(freq).n)


def _share_memory(windows: list[DataEntry]) -> list[DataEntry]:
    """Let windows that continue one another be views of the longest.

    56 taxi windows of 1214 series would otherwise take 56 times the memory of one.
    """
    for earlier, later in zip(windows[-2::-1], windows[:0:-1], strict=True):
        length = earlier["target"].shape[1]
        prefix = later["target"][:, :length]
        same_start = earlier["start"] == later["start"]
        if same_start and np.array_equal(earlier["target"], prefix, equal_nan=True):
            earlier["target"] = prefix
    return windows
