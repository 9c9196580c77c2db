from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsdiff.datasets import (
    DataError,
    DataWarning,
    cut_before,
    rolling_windows,
    split_window,
    validate_entries,
)


def series(length, item_id, **fields):
    return {
        "target": np.arange(2.0 * length).reshape(2, length),
        "start": pd.Period("2024-01-01", "D"),
        "item_id": item_id,
        **fields,
    }


def test_windows_come_from_earliest_to_latest_and_series_by_series():
    windows = rolling_windows([series(20, "x"), series(30, "y")], 4, num_windows=3)
    assert [(w["item_id"], w["target"].shape[1]) for w in windows] == [
        ("x", 12), ("y", 22), ("x", 16), ("y", 26), ("x", 20), ("y", 30),
    ]  # fmt: skip
    np.testing.assert_array_equal(windows[1]["target"], series(30, "y")["target"][:, :22])
    assert len(validate_entries(windows)) == 6


def test_stride():
    windows = rolling_windows([series(20, "x")], 4, num_windows=3, stride=1)
    assert [w["target"].shape[1] for w in windows] == [18, 19, 20]


def test_dynamic_features_are_cut_alike():
    given = series(10, "x", feat_dynamic_real=np.arange(13.0)[None])
    first, last = rolling_windows([given], 2, num_windows=2)
    assert first["feat_dynamic_real"].shape == (1, 8)
    assert last["feat_dynamic_real"].shape == (1, 10)
    history, truth = split_window(first, 2)
    assert history["target"].shape == (2, 6)
    assert history["feat_dynamic_real"].shape == (1, 8)
    np.testing.assert_array_equal(truth, given["target"][:, 6:8])


def test_univariate_targets():
    given = {"target": np.arange(10.0), "start": pd.Period("2024-01-01", "D")}
    assert [len(w["target"]) for w in rolling_windows([given], 3, 2)] == [7, 10]


def test_one_step_of_history_is_the_least():
    assert rolling_windows([series(7, "x")], 3, 2)[0]["target"].shape == (2, 4)
    with pytest.raises(
        DataError, match=r"'x'\) has 6 steps: 2 windows of 3 steps, 3 apart, need 6"
    ):
        rolling_windows([series(6, "x")], 3, 2)
    with pytest.raises(DataError, match="no history"):
        split_window(series(6, "x"), 6)


@pytest.mark.parametrize(
    "arguments",
    [{"prediction_length": 0, "num_windows": 1}, {"prediction_length": 1, "num_windows": 0},
     {"prediction_length": 1, "num_windows": 1, "stride": 0}],
)  # fmt: skip
def test_counts_below_one_are_refused(arguments):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        rolling_windows([series(9, "x")], **arguments)


def test_series_of_different_ends_are_cut_at_the_same_step():
    """The first window of "early" starts on its 28th day, and that of "late" 20 days later."""
    late = series(40, "late") | {"start": pd.Period("2024-01-11", "D")}
    new = series(35, "new") | {"start": pd.Period("2024-01-26", "D")}
    entries = [series(30, "early"), late, new]
    kept = cut_before(entries, rolling_windows(entries, 1, 3), 1)
    assert [(one["item_id"], one["target"].shape[1]) for one in kept] == [
        ("early", 27), ("late", 17), ("new", 2),
    ]  # fmt: skip
    newer = new | {"start": pd.Period("2024-01-28", "D")}
    with pytest.warns(DataWarning, match="1 of 4 series have no more than 1 steps before"):
        assert len(cut_before([*entries, newer], rolling_windows(entries, 1, 3), 1)) == 3
