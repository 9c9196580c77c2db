from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
from gluonts.dataset.common import ListDataset

from tsdiff.datasets import DataError, from_frame, validate_entries

START = pd.Period("2024-01-01", "D")


def entry(**fields):
    return {"target": np.arange(12.0).reshape(2, 6), "start": START, **fields}


def test_gives_copies_in_one_shape_and_type():
    target = np.arange(6, dtype=np.float32)
    (checked,) = validate_entries([{"target": target, "start": START}])
    assert checked["target"].shape == (1, 6)
    assert checked["target"].dtype == np.float64
    assert checked["item_id"] == "0"
    checked["target"][:] = -1
    assert target[1] == 1


def test_does_not_mutate():
    given = [entry(feat_dynamic_real=np.ones((1, 8)), feat_static_cat=[1], item_id=7, colour="red")]
    before = copy.deepcopy(given)
    (checked,) = validate_entries(given)
    checked["target"][:] = 0
    checked["feat_dynamic_real"][:] = 0
    assert given[0].keys() == before[0].keys()
    np.testing.assert_array_equal(given[0]["target"], before[0]["target"])
    np.testing.assert_array_equal(given[0]["feat_dynamic_real"], before[0]["feat_dynamic_real"])
    assert checked["item_id"] == "7"
    assert checked["colour"] == "red"
    assert checked["feat_static_cat"].dtype == np.int64


def test_accepts_any_gluonts_data_set():
    dataset = ListDataset([{"target": [1.0, 2.0, 3.0], "start": "2024-01-01"}] * 2, freq="D")
    assert [item["target"].shape for item in validate_entries(dataset)] == [(1, 3)] * 2


def test_missing_values_are_welcome():
    target = np.array([[1.0, np.nan], [np.nan, 2.0]])
    np.testing.assert_array_equal(validate_entries([entry(target=target)])[0]["target"], target)


def test_a_timestamp_beside_a_frequency_is_a_start():
    (checked,) = validate_entries([entry(start=pd.Timestamp("2024-01-01 05:00"), freq="h")])
    assert checked["start"] == pd.Period("2024-01-01 05:00", "h")


INFINITE = np.zeros((2, 6))
INFINITE[1, 4] = np.inf
SILENT = np.zeros((2, 6))
SILENT[1] = np.nan

BAD = {
    "empty": ([], "empty"),
    "no target": ([{"start": START}], "entry 0 has no 'target'"),
    "three axes": ([entry(target=np.zeros((1, 2, 3)))], r"shape \(1, 2, 3\)"),
    "scalar": ([entry(target=3.0)], r"shape \(\)"),
    "ragged": ([entry(target=[[1.0], [1.0, 2.0]])], "rectangular"),
    "text": ([entry(target=["one", "two"])], "rectangular array of numbers"),
    "no steps": ([entry(target=np.zeros((2, 0)))], "empty"),
    "infinite": ([entry(target=INFINITE)], "infinite in dimension 1 at position 4"),
    "silent": ([entry(target=SILENT, item_id="x")], r"\(item_id 'x'\): dimension 1"),
    "no start": ([{"target": [1.0]}], "'start' is None"),
    "timestamp": ([entry(start=pd.Timestamp("2024-01-01"))], "expected a pandas Period"),
    "odd freq": ([entry(start="2024-01-01", freq="fortnight")], "makes no pandas Period"),
    "no time": ([entry(start=pd.NaT, freq="D")], "not a time"),
    "dimensions": (
        [entry(), entry(target=np.zeros((3, 6)))],
        r"entry 1 .*target dimensions 3, entry 0 .*has 2",
    ),
    "frequency": ([entry(), entry(start=pd.Period("2024-01-01", "h"))], "frequency [hH].*has D"),
    "one with features": (
        [entry(feat_static_real=[1.0]), entry()],
        "feat_static_real rows 0",
    ),
    "short feature": ([entry(feat_dynamic_real=np.ones((1, 5)))], "covers 5 steps, the target 6"),
    "long past": ([entry(past_feat_dynamic_real=np.ones((1, 7)))], "exactly as many"),
    "flat feature": ([entry(feat_dynamic_real=np.ones(6))], r"expected \[features, time\]"),
    "missing feature": (
        [entry(feat_dynamic_real=np.array([[1, 2, np.nan, 4, 5, 6]]))],
        "feature 0 at position 2",
    ),
    "negative category": ([entry(feat_static_cat=[-1])], "category numbers"),
    "infinite static": ([entry(feat_static_real=[np.inf])], "finite"),
    "names": ([entry(dimension_names=["a"])], "1 dimension names for a target of 2"),
    "one name twice": ([entry(dimension_names=["1", 1])], "dimension_names has '1' more than once"),
}


@pytest.mark.parametrize(("entries", "match"), BAD.values(), ids=BAD.keys())
def test_bad_entries_teach(entries, match):
    with pytest.raises(DataError, match=match):
        validate_entries(entries)


@pytest.mark.parametrize(
    "thing", [entry(), [np.zeros(3)], pd.DataFrame({"a": [1]}), None, 3.0, {"a": np.zeros(3)}]
)
def test_something_else_is_a_type_error(thing):
    with pytest.raises(TypeError, match="expected a"):
        validate_entries(thing)


@pytest.mark.parametrize(("gather", "items"), [(dict, ["a", "b"]), (dict.values, ["0", "1"])])
def test_frames_of_several_series_are_told_how_to_become_one_table(gather, items):
    days = pd.date_range("2024-01-01", periods=6, freq="D")
    frame = pd.DataFrame({"x": np.arange(6.0)}, index=days)
    frames = gather({"a": frame, "b": frame})
    with pytest.raises(TypeError, match="one long table: tsdiff") as caught:
        validate_entries(frames)
    advice = str(caught.value).partition("tsdiff.")[2]
    entries = eval(advice, {"from_frame": from_frame, "pd": pd, "frames": frames})
    assert [one["item_id"] for one in entries] == items
    assert entries[0]["dimension_names"] == ["x"]
