"""Two made-up originals in RTS-GMLC's layout, joined by hand and on first use."""

from __future__ import annotations

import gzip
import hashlib
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tsdiff.datasets import (
    DataError,
    DownloadError,
    VerificationError,
    benchmark,
    fetch,
    get_dataset,
    get_info,
)
from tsdiff.datasets.rts_gmlc import join_plants

SOLAR = get_info("rts_gmlc_solar")
DAYS = 40
CALENDAR = ["Year", "Month", "Day", "Period"]


def power(plants: list[str], seed: int) -> pd.DataFrame:
    """Power in MW with one decimal, integers written without it, as the publishers do."""
    times = pd.date_range("2020-01-01", periods=24 * DAYS, freq="h")
    calendar = {"Year": times.year, "Month": times.month, "Day": times.day}
    values = np.random.default_rng(seed).integers(0, 900, size=(len(times), len(plants))) / 10
    columns = dict(zip(plants, values.T, strict=True))
    return pd.DataFrame({**calendar, "Period": times.hour + 1, **columns})


@pytest.fixture(scope="module")
def plants() -> list[pd.DataFrame]:
    names = list(SOLAR.dimension_names)
    return [power(names[:25], 0), power(names[25:], 1)]


@pytest.fixture
def originals(plants, tmp_path):
    folder = tmp_path / "originals"
    folder.mkdir()
    paths = [folder / "DAY_AHEAD_pv.csv", folder / "DAY_AHEAD_rtpv.csv"]
    for path, table in zip(paths, plants, strict=True):
        table.to_csv(path, index=False, float_format="%g")
    return paths


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def info(originals, web, monkeypatch):
    """The catalog's entry with the made-up files' hashes; the server has both files."""
    contents = {path.name: path.read_bytes() for path in originals}
    made_up = replace(
        SOLAR,
        table_sha256=sha256(gzip.decompress(join_plants(originals))),
        originals={f"{web.address}/{name}": sha256(data) for name, data in contents.items()},
    )
    monkeypatch.setattr(benchmark, "get_info", lambda name: made_up)
    web.contents = contents
    return made_up


def test_the_table_is_what_it_should_be(originals, plants):
    table = pd.read_csv(io.BytesIO(gzip.decompress(join_plants(originals))))
    assert tuple(table.columns) == ("ts", *SOLAR.dimension_names)
    assert table["ts"].iloc[[0, 1, 24, -1]].tolist() == [
        "2020-01-01 00:00:00", "2020-01-01 01:00:00", "2020-01-02 00:00:00", "2020-02-09 23:00:00",
    ]  # fmt: skip
    expected = np.hstack([half.drop(columns=CALENDAR) for half in plants])
    np.testing.assert_array_equal(table.drop(columns="ts"), expected)


def test_the_bytes_are_always_the_same(originals):
    assert join_plants(originals) == join_plants(originals)
    lines = gzip.decompress(join_plants(originals)).split(b"\n")
    assert lines[-1] == b""
    assert all(b"." in cell for cell in lines[1].split(b",")[1:])


def test_hours_that_differ_are_refused(originals, plants):
    plants[1].drop(index=7).to_csv(originals[1], index=False)
    with pytest.raises(DataError, match=r"DAY_AHEAD_rtpv\.csv does not hold the same hours"):
        join_plants(originals)


def test_another_file_is_refused(originals, plants):
    plants[0].drop(columns="Period").to_csv(originals[0], index=False)
    with pytest.raises(DataError, match="no column 'Period'"):
        join_plants(originals)


def test_made_of_the_originals_on_first_use(info, web, tmp_path):
    cache = tmp_path / "cache"
    data = get_dataset(info.name, cache=cache)
    assert data.train[0]["target"].shape == (56, 24 * (DAYS - 7))
    assert data.metadata.dimension_names == SOLAR.dimension_names
    assert len(web.ranges) == 2
    left = {path.name for path in cache.iterdir() if path.is_file()}
    assert left == {info.archive, f"{info.archive}.lock"}, "the originals have served"
    assert fetch(info, cache=cache) == cache / info.archive
    assert len(web.ranges) == 2, "asked again for what is in the cache"


def test_a_mirror_saves_the_journey(info, originals, web, tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / info.archive).write_bytes(join_plants(originals))
    assert fetch(info, cache=tmp_path / "cache", mirror=mirror) == mirror / info.archive
    assert not web.ranges


def test_a_mirror_without_the_table_is_no_obstacle(info, web, tmp_path):
    (tmp_path / "mirror").mkdir()
    path = fetch(info, cache=tmp_path / "cache", mirror=tmp_path / "mirror")
    assert path == tmp_path / "cache" / info.archive


def test_a_changed_original_is_refused(info, web, tmp_path):
    web.contents["DAY_AHEAD_rtpv.csv"] += b"\n"
    with pytest.raises(VerificationError, match=r"originals.*DAY_AHEAD_rtpv"):
        fetch(info, cache=tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"{info.archive}.lock"]


def test_a_table_that_turns_out_otherwise_is_refused(info, tmp_path):
    other = replace(info, table_sha256="0" * 64)
    with pytest.raises(VerificationError, match="table's sha256"):
        fetch(other, cache=tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"{info.archive}.lock"]


def test_out_of_reach_the_error_says_how_to_make_the_table(info, web, tmp_path):
    del web.contents["DAY_AHEAD_pv.csv"]
    with pytest.raises(DownloadError) as caught:
        fetch(info, cache=tmp_path / "cache")
    assert not isinstance(caught.value, VerificationError)
    for part in ("404", "join_plants", "TSDIFF_MIRROR", "GridMod/RTS-GMLC", "DAY_AHEAD_rtpv.csv"):
        assert part in str(caught.value)


def test_the_catalog_names_both_originals():
    names = [url.rsplit("/", 1)[-1] for url in SOLAR.originals]
    assert names == ["DAY_AHEAD_pv.csv", "DAY_AHEAD_rtpv.csv"]
    assert all(url.startswith("https://") for url in SOLAR.originals)
    assert all(len(digest) == 64 for digest in SOLAR.originals.values())
