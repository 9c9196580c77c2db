"""A made-up table in the layout of the load data, and what the catalog says of the real one."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tsdiff.datasets import (
    DataError,
    DownloadError,
    VerificationError,
    benchmark,
    get_dataset,
    get_info,
)
from tsdiff.datasets.archive import unpacked
from tsdiff.datasets.tables import read_table

LOAD = get_info("gefcom2012_load")
HOURS_AFTER = 5  # of the year that is left out


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    times = pd.date_range("2007-11-01", f"2008-01-01 0{HOURS_AFTER - 1}:00", freq="h", name="ts")
    loads = np.random.default_rng(0).integers(1000, 9000, size=(len(times), 20))
    return pd.DataFrame(loads, times, [f"zone_{zone}" for zone in range(1, 21)])


@pytest.fixture(scope="module")
def content(table) -> bytes:
    return table.to_csv(lineterminator="\n").encode()


@pytest.fixture
def info(content, monkeypatch):
    """The catalog's entry with the made-up table's hash, known to ``get_dataset`` as well."""
    made_up = replace(LOAD, table_sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(benchmark, "get_info", lambda name: made_up)
    return made_up


@pytest.fixture
def mirror(info, content, tmp_path):
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / info.archive).write_bytes(gzip.compress(content))
    return folder


def unpacked_table(folder, frame):
    frame.to_csv(folder / LOAD.archive.removesuffix(".gz"))
    return folder


def test_the_benchmark_of_a_table(info, mirror, table, tmp_path):
    data = get_dataset(info.name, cache=tmp_path / "cache", mirror=mirror)
    used = table.drop(columns=["zone_3", "zone_7"]).loc[:"2007"]
    np.testing.assert_array_equal(data.test[-1]["target"], used.to_numpy().T)
    assert data.metadata.dimension_names == tuple(used.columns)
    lengths = [entry["target"].shape[1] for entry in (*data.train, *data.test)]
    assert lengths == [len(used) - 24 * days for days in (7, 6, 5, 4, 3, 2, 1, 0)]
    assert [entry["target"].shape[1] for entry in data.validation][-1] == lengths[0]
    for entry in (*data.train, *data.validation, *data.test):
        assert entry["item_id"] == info.name
        assert entry["start"] == pd.Period("2007-11-01 00:00", freq="h")
        assert entry["dimension_names"] == list(used.columns)


def test_the_notes_say_what_is_left_out(info, mirror, tmp_path):
    notes = get_dataset(info.name, cache=tmp_path / "cache", mirror=mirror).metadata.notes
    assert "zones 3 and 7 are left out" in notes[0]
    assert "2008 is left out" in notes[1]


def test_unpacks_once_and_then_needs_no_mirror(info, mirror, tmp_path):
    folder = unpacked(info, cache=tmp_path / "cache", mirror=mirror)
    assert list((tmp_path / "cache").iterdir()) == [folder]
    assert [path.name for path in folder.iterdir()] == [info.archive.removesuffix(".gz")]
    get_dataset(info.name, cache=tmp_path / "cache")


def test_any_compressor_will_do(info, content, tmp_path):
    for level in (1, 9):
        folder = tmp_path / str(level)
        folder.mkdir()
        (folder / info.archive).write_bytes(gzip.compress(content, level, mtime=level))
        assert unpacked(info, cache=folder / "cache", mirror=folder).is_dir()


def test_a_mirror_address_serves_tables(info, content, web, tmp_path):
    web.content, web.name = gzip.compress(content), info.archive
    data = get_dataset(info.name, cache=tmp_path, mirror=web.address)
    assert data.train[0]["target"].shape[0] == 18
    assert (tmp_path / info.archive).read_bytes() == web.content
    get_dataset(info.name, cache=tmp_path)
    assert len(web.ranges) == 1


def test_a_table_in_the_cache_is_used(info, content, tmp_path):
    (tmp_path / info.archive).write_bytes(gzip.compress(content))
    assert get_dataset(info.name, cache=tmp_path).train[0]["target"].shape[0] == 18


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: gzip.compress(content.replace(b"zone_3", b"zone_0")),
        lambda content: gzip.compress(content)[:-100],
        lambda content: gzip.compress(content)[:-8] + bytes(8),
        lambda content: content,
        lambda content: b"",
    ],
    ids=["another table", "cut off", "wrong check sum", "not compressed", "empty"],
)
def test_another_table_is_refused(info, mirror, content, web, tmp_path, damage):
    (mirror / info.archive).write_bytes(damage(content))
    web.content, web.name = damage(content), info.archive
    for source in (mirror, web.address):
        with pytest.raises(VerificationError, match=f"expected {info.table_sha256}"):
            get_dataset(info.name, cache=tmp_path / "cache", mirror=source)
    left = [path.name for path in (tmp_path / "cache").iterdir()]
    assert left == [f"{info.archive}.lock"]


def check_lesson(message, *more):
    columns = "ts,zone_1,...,zone_20"
    lesson = (LOAD.archive, columns, "Load_history", "International Journal of Forecasting 30(2)")
    for part in (*lesson, *more):
        assert part in message


def test_without_a_mirror_the_error_says_how_to_make_the_table(tmp_path):
    with pytest.raises(DownloadError) as caught:
        get_dataset("gefcom2012_load", cache=tmp_path)
    check_lesson(
        str(caught.value), "no mirror is set", "TSDIFF_MIRROR", str(tmp_path / LOAD.archive)
    )
    assert not isinstance(caught.value, VerificationError)


def test_a_mirror_without_the_table_is_named(web, tmp_path):
    (tmp_path / "mirror").mkdir()
    for mirror, found in ((tmp_path / "mirror", "holds no"), (web.address, "404")):
        with pytest.raises(DownloadError) as caught:
            get_dataset("gefcom2012_load", cache=tmp_path / "cache", mirror=mirror)
        check_lesson(str(caught.value), str(mirror), found)


def test_a_table_that_differs_meets_the_layout(mirror, tmp_path):
    with pytest.raises(VerificationError) as caught:
        unpacked(LOAD, cache=tmp_path / "cache", mirror=mirror)
    check_lesson(str(caught.value), "table's sha256")


def test_empty_cells_are_missing(table, tmp_path):
    holes = table.astype(float)
    holes.iloc[3, 0] = np.nan
    series = read_table(unpacked_table(tmp_path, holes), LOAD)
    assert np.argwhere(np.isnan(series["target"])).tolist() == [[0, 3]]


def test_all_columns_and_steps_where_the_catalog_says_nothing(table, tmp_path):
    info = replace(LOAD, dimension_names=(), last_step="")
    series = read_table(unpacked_table(tmp_path, table), info)
    np.testing.assert_array_equal(series["target"], table.to_numpy().T)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda table: table.iloc[: -HOURS_AFTER - 1], "to 2007-12-31 22:00, expected"),
        (lambda table: table.iloc[-HOURS_AFTER:], "from 2008-01-01 00:00"),
        (lambda table: table.drop(columns="zone_20"), "no column 'zone_20'"),
        (lambda table: table.drop(table.index[7]), "has gaps"),
    ],
    ids=["too short", "too late", "column", "gap"],
)
def test_what_the_catalog_does_not_announce_is_refused(table, tmp_path, change, match):
    with pytest.raises(DataError, match=match):
        read_table(unpacked_table(tmp_path, change(table)), LOAD)
