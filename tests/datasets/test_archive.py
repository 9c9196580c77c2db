from __future__ import annotations

import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from tsdiff.datasets import DataError, VerificationError, benchmark
from tsdiff.datasets.archive import UnsafeArchiveError, read_archive, unpack, unpacked

from .conftest import HORIZON, NUM_WINDOWS, TRAIN_LENGTH, json_lines, make_tar


@pytest.fixture
def mirror(tiny_info, archive_bytes, tmp_path):
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / tiny_info.archive).write_bytes(archive_bytes)
    return folder


def row(values, start="2020-01-01"):
    return {"start": start, "target": list(values)}


def write_parts(folder, train, test):
    for part, rows in (("train", train), ("test", test)):
        (folder / "any" / part).mkdir(parents=True)
        (folder / "any" / part / "data.json").write_bytes(json_lines(rows))
        (folder / "any" / part / "._data.json").write_bytes(b"\0 resource fork")
    return folder


def special(kind, name="escape", target="/etc/passwd"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        tar.addfile(member)
    return buffer.getvalue()


HOSTILE = {
    "parent": make_tar({"../escape": b""}),
    "deep parent": make_tar({"train/../../escape": b""}),
    "absolute": make_tar({"/tmp/tsdiff-escape": b""}),
    "drive": make_tar({"C:escape": b""}),
    "backslash": make_tar({"..\\escape": b""}),
    "symbolic link": special(tarfile.SYMTYPE),
    "hard link": special(tarfile.LNKTYPE),
    "fifo": special(tarfile.FIFOTYPE),
    "device": special(tarfile.CHRTYPE),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_leaves_nothing(content, tmp_path):
    archive = tmp_path / "hostile.tar.gz"
    archive.write_bytes(content)
    with pytest.raises(UnsafeArchiveError):
        unpack(archive, tmp_path / "inside" / "folder")
    names = {path.name for path in tmp_path.rglob("*")}
    assert names == {"hostile.tar.gz", "inside"}
    assert not (tmp_path.parent / "escape").exists()


def test_unpacks_once_and_then_needs_no_archive(tiny_info, mirror, tmp_path):
    folder = unpacked(tiny_info, cache=tmp_path / "cache", mirror=mirror)
    (mirror / tiny_info.archive).unlink()
    assert unpacked(tiny_info, cache=tmp_path / "cache", mirror=mirror) == folder
    assert list((tmp_path / "cache").iterdir()) == [folder]


def test_a_folder_that_another_process_made_first_is_kept(archive_bytes, tmp_path):
    archive, folder = tmp_path / "archive.tar.gz", tmp_path / "folder"
    archive.write_bytes(archive_bytes)
    unpack(archive, folder)
    unpack(archive, folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.tar.gz", "folder"]


def test_members_are_verified(archive_bytes, tmp_path):
    archive = tmp_path / "archive.tar.gz"
    archive.write_bytes(archive_bytes)
    for wrong in ({"tiny_nips/train/data.json": "0" * 64}, {"absent": "0" * 64}):
        with pytest.raises(VerificationError):
            unpack(archive, tmp_path / "folder", wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["archive.tar.gz"]


def test_reads_train_and_windows(tiny_info, mirror, series, tmp_path):
    folder = unpacked(tiny_info, cache=tmp_path / "cache", mirror=mirror)
    train, test = read_archive(folder, tiny_info)
    np.testing.assert_array_equal(train["target"], series[:, :TRAIN_LENGTH])
    assert train["start"].freqstr == "D"
    for window, entry in enumerate(test, start=1):
        np.testing.assert_array_equal(entry["target"], series[:, : TRAIN_LENGTH + window * HORIZON])
    assert all(np.shares_memory(test[0]["target"], entry["target"]) for entry in test)


def test_a_series_that_begins_later_is_missing_before(tiny_info, tmp_path):
    info = replace(tiny_info, num_test_windows=1)
    late = row([2.0, 3.0], start="2020-01-02")
    folder = write_parts(tmp_path, [row([1.0, 2.0, 3.0]), late], [row([1.0]), row([1.0])])
    train, _ = read_archive(folder, info)
    np.testing.assert_array_equal(train["target"], [[1, 2, 3], [np.nan, 2, 3]])
    assert str(train["start"]) == "2020-01-01"


@pytest.mark.parametrize(
    ("train", "test", "match"),
    [
        ([row([1, 2]), row([1])], [row([1])] * 2, "end at different times"),
        ([row([1])] * 3, [row([1])] * 2, "left over"),
        ([row([1])] * 4, [row([1])] * 2, "2 training entries"),
        ([row([1])] * 2, [row([1])] * 4, "2 test windows"),
    ],
)
def test_what_the_catalog_does_not_announce_is_refused(tiny_info, tmp_path, train, test, match):
    with pytest.raises(DataError, match=match):
        read_archive(write_parts(tmp_path, train, test), replace(tiny_info, num_test_windows=1))


def test_a_folder_without_series_is_refused(tiny_info, tmp_path):
    with pytest.raises(DataError, match="no JSON lines"):
        read_archive(tmp_path, tiny_info)


def test_the_benchmark_of_an_archive(tiny_info, mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "get_info", lambda name: tiny_info)
    data = benchmark.get_dataset("tiny", cache=tmp_path / "cache", mirror=mirror)
    lengths = [entry["target"].shape[1] for entry in data.test]
    assert lengths == [TRAIN_LENGTH + HORIZON * (n + 1) for n in range(NUM_WINDOWS)]
    lengths = [entry["target"].shape[1] for entry in data.validation]
    assert lengths == [TRAIN_LENGTH - HORIZON * n for n in (2, 1, 0)]
    assert data.train[0]["dimension_names"] == ["0", "1"]
    assert data.metadata.notes == ()


def test_a_training_range_is_cut_before_the_first_test_window(tiny_info, tmp_path):
    values = np.arange(40.0)
    info = replace(tiny_info, num_test_windows=2)
    test = [row(values[:20])] * 2 + [row(values[:25])] * 2
    folder = write_parts(tmp_path, [row(values[:18])] * 2, test)
    train, windows = read_archive(folder, info)
    cut, notes = benchmark._keep_apart(train, windows, info)
    assert cut["target"].shape == (2, 15)
    assert "15 steps" in notes[0]


def test_test_windows_with_a_later_start_leave_the_training_range_alone(tiny_info, tmp_path):
    later = [row(np.arange(20.0), start="2021-06-01")] * 2
    info = replace(tiny_info, num_test_windows=1)
    train, windows = read_archive(write_parts(tmp_path, [row(np.arange(30.0))] * 2, later), info)
    cut, notes = benchmark._keep_apart(train, windows, info)
    assert cut is train
    assert notes == ()
