"""Records survive the disk, and a file is whole or not there."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import orjson
import pytest

from tests.benchmark.records import failed, record
from tsdiff.benchmark import Key, Record, Store
from tsdiff.benchmark.record import RecordError
from tsdiff.evaluation import compare


def test_a_record_survives_json():
    before = record()
    after = Record.from_json(before.to_json())
    assert after.to_json() == before.to_json()
    assert after.result() == before.result()
    assert (after.key, after.fans, after.machine) == (before.key, before.fans, before.machine)
    assert math.isnan(after.costs.sampling_seconds)
    assert after.costs.peak_memory is None
    for metric, score in before.evaluation.scores.items():
        assert after.evaluation[metric].value == score.value, metric  # every bit of it
        assert after.evaluation[metric].error == score.error, metric


def test_costs_and_times_are_no_part_of_the_result():
    one = record()
    other = replace(one, costs=replace(one.costs, cpu_seconds=9.0), machine=None, finished="x")
    assert one.result() == other.result()
    assert one.result() != replace(one, pit_counts=(3.0, 2.0)).result()


def test_significance_can_be_had_from_files(tmp_path):
    store = Store(tmp_path)
    runs = [record("good", s) for s in range(2)] + [record("bad", s, shift=2.0) for s in range(2)]
    direct = compare(r.evaluation for r in runs).significance("crps_sum", against="good")
    for run in runs:
        store.write(run)
    read = [r.evaluation for name in ("good", "bad") for r in store if r.key.method == name]
    again = compare(read).significance("crps_sum", against="good")["bad"]
    assert again.value == pytest.approx(direct["bad"].value, rel=1e-6)
    assert again.lower == pytest.approx(direct["bad"].lower, rel=1e-6)
    assert again.is_significant


def test_records_are_found_by_key_and_digest(tmp_path):
    store = Store(tmp_path)
    run = record("Schrödinger bridge, ε = 0.1", seed=3)
    path = store.write(run)
    assert path.name == f"walk.literature.Schr_dinger_bridge_0_1.3-{run.digest[:12]}.json"
    assert store.read(run.key, run.digest).result() == run.result()
    assert store.read(run.key, "f" * 64) is None
    assert store.read(Key("walk", "literature", "other", 3), run.digest) is None
    assert list(Store(tmp_path / "nowhere")) == []


def test_the_last_record_of_a_run_stays(tmp_path):
    store = Store(tmp_path)
    store.write(failed())
    assert next(iter(store)).error == "ValueError: no"
    store.write(record("broken"))
    assert [r.failed for r in store] == [False]


def test_what_a_killed_writer_left_is_ignored_and_removed(tmp_path):
    store = Store(tmp_path)
    path = store.write(record())
    half = path.with_name(f".{path.name}.1-a.part")
    half.write_bytes(path.read_bytes()[:100])
    assert len(list(store)) == 1
    assert store.clean() == 1
    assert os.listdir(store.folder) == [path.name]


def test_a_damaged_record_counts_as_none(tmp_path):
    store = Store(tmp_path)
    run = record()
    path = store.write(run)
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    assert store.read(run.key, run.digest) is None
    assert list(store) == []
    for damage in ({"mood": 1}, {"terms": {"crps": ["x"]}}, {"scores": {"crps": 1.0}}):
        content = orjson.loads(whole)
        content["evaluation"] |= damage
        path.write_bytes(orjson.dumps(content))
        assert store.read(run.key, run.digest) is None, damage
        assert list(store) == [], damage


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "not a record"),
        (b"[]", "not a record"),
        (b"{}", "not a record: KeyError: 'format'"),
        (b'{"format": 99}', "format 99, expected 1"),
    ],
)
def test_what_is_no_record_is_told(text, message):
    with pytest.raises(RecordError, match=message):
        Record.from_json(text)


def test_a_writer_that_fails_leaves_nothing(tmp_path, monkeypatch):
    store = Store(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        store.write(record())
    assert os.listdir(store.folder) == []
