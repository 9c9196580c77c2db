"""Columns that are known in advance, and columns that never change."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsdiff.datasets import (
    DataError,
    from_frame,
    read_series,
    rolling_windows,
    split_window,
    validate_entries,
)


def planned(rows=10, future=3):
    """Two series that end three days before the plan of promotions and prices does."""
    times = pd.date_range("2024-01-01", periods=rows + future, freq="D")
    df = pd.DataFrame({"a": np.arange(rows + future) * 1.0, "b": 1.0}, index=times)
    df.iloc[rows:] = np.nan
    return df.assign(promo=np.arange(rows + future) % 2, price=np.arange(rows + future) * 0.1)


def steps_of(entry):
    return entry["target"].shape[1], entry["feat_dynamic_real"].shape[1]


KNOWN = {"known_columns": ["promo", "price"]}


def test_trailing_rows_of_known_columns_alone_are_the_future():
    df = planned()
    (entry,) = from_frame(df, **KNOWN)
    assert entry["dimension_names"] == ["a", "b"]
    assert entry["known_columns"] == ["promo", "price"]
    np.testing.assert_array_equal(entry["target"], df[["a", "b"]].to_numpy().T[:, :10])
    np.testing.assert_array_equal(entry["feat_dynamic_real"], df[["promo", "price"]].to_numpy().T)


def test_windows_keep_what_is_known_of_their_future():
    (entry,) = from_frame(planned(), **KNOWN)
    (window,) = rolling_windows([entry], 4, 1)
    history, truth = split_window(window, 4)
    assert truth.shape == (2, 4)
    np.testing.assert_array_equal(history["feat_dynamic_real"], entry["feat_dynamic_real"][:, :10])


def test_missing_values_in_the_history_stay_in_it():
    df = planned()
    df.iloc[4, :2] = np.nan
    df.iloc[9, 0] = np.nan
    (entry,) = from_frame(df, **KNOWN)
    assert entry["target"].shape == (2, 10)
    assert np.isnan(entry["target"]).sum() == 3


def test_the_future_reaches_as_far_as_all_known_columns():
    df = planned()
    df.iloc[-1, 3] = np.nan  # of the last day there is a promotion, but no price yet
    assert from_frame(df, **KNOWN)[0]["feat_dynamic_real"].shape == (2, 12)


def test_without_rows_to_come_nothing_is_known_of_the_future():
    (entry,) = from_frame(planned(future=0), known_columns="promo", target_column="b")
    assert entry["feat_dynamic_real"].shape == (1, 10)
    assert entry["dimension_names"] == ["b"]


def test_each_item_has_its_own_future():
    panel = pd.concat([planned().assign(shop="x"), planned(8, 5).assign(shop="y")])
    first, second = from_frame(panel, item_column="shop", **KNOWN)
    assert steps_of(first) == (10, 13)
    assert steps_of(second) == (8, 13)


def test_long_dimensions_share_what_is_known():
    df = planned()
    long = df.rename_axis("t").reset_index()
    long = long.melt(id_vars=["t", "promo", "price"], var_name="zone")
    options = {"time_column": "t", "dimension_column": "zone", **KNOWN}
    (entry,), (expected,) = from_frame(long, **options), from_frame(df, **KNOWN)
    for field in ("target", "feat_dynamic_real"):
        np.testing.assert_array_equal(entry[field], expected[field])
    long.loc[5, "price"] = 7.0
    with pytest.raises(DataError, match=r"'price'.*several values at 2024-01-06.*df\.pivot"):
        from_frame(long, **options)


def test_files_have_them_too(tmp_path):
    planned().rename_axis("time").to_csv(tmp_path / "plan.csv")
    (entry,) = read_series(tmp_path / "plan.csv", **KNOWN)
    assert steps_of(entry) == (10, 13)


def gap(column, row):
    df = planned().astype(float)
    df.iloc[row, df.columns.get_loc(column)] = np.nan
    return df


BAD = {
    "not there": (planned, {"known_columns": "holiday"}, r"no column 'holiday'.*'promo'"),
    "text": (lambda: planned().assign(promo="no"), KNOWN, r"'promo'.*'no' at 2024.*get_dummies"),
    "missing in the history": (lambda: gap("price", 4), KNOWN, r"'price'.*missing.*2024-01-05"),
    "missing at its end": (lambda: gap("promo", 9), KNOWN, r"'promo'.*missing.*2024-01-10"),
    "missing in the future": (lambda: gap("promo", 11), KNOWN, r"'promo'.*2024-01-12 \(1 such"),
    "infinite": (lambda: planned().assign(price=np.inf), KNOWN, "'price'.*missing or infinite"),
    "a time that lacks": (
        lambda: planned().drop(planned().index[3]),
        {"fill_gaps": True, **KNOWN},
        "'promo'.*missing or infinite at 2024-01-04",
    ),
    "forecast as well": (
        planned,
        {"target_column": ["a", "promo"], **KNOWN},
        "'promo' is given as target_column and again as known_columns",
    ),
    "nothing to forecast": (planned, {"known_columns": list(planned())}, "no column of values"),
    "static as well": (planned, {"static_columns": "promo", **KNOWN}, "again as static_columns"),
    "static that changes": (planned, {"static_columns": "price"}, "'price'.*holds 0.0, 0.1, 0.2"),
    "static without a value": (
        lambda: planned().assign(kind=None),
        {"static_columns": "kind"},
        "'kind'.*holds no value",
    ),
}


@pytest.mark.parametrize(("make", "options", "match"), BAD.values(), ids=BAD.keys())
def test_bad_columns_teach(make, options, match):
    with pytest.raises(DataError, match=match):
        from_frame(make(), **options)


def test_static_columns_are_numbers_or_categories():
    panel = pd.concat(
        [
            planned().assign(shop="x", size=3, kind="kiosk", open=True),
            planned().assign(shop="y", size=9, kind="market", open=False),
        ]
    )
    first, second = from_frame(
        panel, item_column="shop", static_columns=["kind", "size", "open"], **KNOWN
    )
    assert first["dimension_names"] == ["a", "b"]
    assert list(first["feat_static_cat"]) == ["kiosk", "True"]
    assert list(second["feat_static_cat"]) == ["market", "False"]
    assert (first["feat_static_real"], second["feat_static_real"]) == ([3.0], [9.0])


def test_as_many_names_as_known_rows():
    bare = {"target": np.ones(5), "start": pd.Period("2024-01-01", "D"), "known_columns": ["p"]}
    with pytest.raises(DataError, match="1 known_columns for 2 rows of feat_dynamic_real"):
        validate_entries([bare | {"feat_dynamic_real": np.ones((2, 5))}])
    with pytest.raises(DataError, match="1 known_columns for 0 rows"):
        validate_entries([bare])
