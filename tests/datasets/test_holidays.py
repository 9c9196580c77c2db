"""Holidays as covariates: the right days, as far as they must reach, and no further."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tsdiff.datasets import BenchmarkDataset, rolling_windows, split_window
from tsdiff.datasets.benchmark import _assemble, _split
from tsdiff.datasets.catalog import get_info
from tsdiff.datasets.holidays import holiday_features
from tsdiff.estimators import FlowMatchingEstimator
from tsdiff.evaluation import backtest, baselines, evaluate

LOAD = get_info("gefcom2012_load")
HORIZON = LOAD.prediction_length


def days_of(row: np.ndarray, first: str) -> list[str]:
    return [str(day.date()) for day in pd.date_range(first, periods=len(row))[row > 0]]


def test_federal_holidays_on_the_days_on_which_they_are_observed() -> None:
    features = holiday_features(pd.Period("2004-06-20", "D"), 30)
    assert days_of(features[0], "2004-06-20") == ["2004-07-05"]  # the 4th was a Sunday
    assert days_of(features[1], "2004-06-20") == ["2004-07-04"]
    assert days_of(features[2], "2004-06-20") == ["2004-07-06"]
    year = holiday_features(pd.Period("2007-01-01", "D"), 365)
    assert days_of(year[0], "2007-01-01") == [
        "2007-01-01", "2007-01-15", "2007-02-19", "2007-05-28", "2007-07-04", "2007-09-03",
        "2007-10-08", "2007-11-12", "2007-11-22", "2007-12-25",
    ]  # fmt: skip
    assert year[1, -1] == 1.0, "a holiday of the year after counts"
    assert holiday_features(pd.Period("2007-01-02", "D"), 1)[2, 0] == 1.0, "and one before"


def test_every_hour_of_the_day() -> None:
    hours = holiday_features(pd.Period("2007-07-03 12:00", "h"), 60)
    assert np.flatnonzero(hours[0]).tolist() == list(range(12, 36))
    assert np.flatnonzero(hours[1]).tolist() == list(range(12))
    assert np.flatnonzero(hours[2]).tolist() == list(range(36, 60))


def test_major_holidays_on_their_own_dates() -> None:
    year = holiday_features(pd.Period("2004-01-01", "D"), 366, "US-major")
    assert days_of(year[0], "2004-01-01") == [
        "2004-01-01", "2004-05-31", "2004-07-04", "2004-09-06", "2004-11-25", "2004-12-25",
    ]  # fmt: skip
    assert days_of(year[1], "2004-01-01")[-2:] == ["2004-12-24", "2004-12-31"]
    assert days_of(year[2], "2004-01-01")[0] == "2004-01-02"


def test_an_unknown_calendar_is_refused() -> None:
    with pytest.raises(ValueError, match="no holidays of 'PT' are known, expected one of US, US-m"):
        holiday_features(pd.Period("2007-01-01", "D"), 3, "PT")


def test_longer_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="longer than a day"):
        holiday_features(pd.Period("2007-07-03", "M"), 3)


@pytest.fixture(scope="module")
def load() -> BenchmarkDataset:
    """Two zones of made-up load from July on, with the catalog's word on holidays."""
    length = 24 * 60
    hours = np.arange(length)
    noise = np.random.default_rng(0).standard_normal((2, length))
    start = pd.Period("2007-06-01 00:00", freq="h")
    holidays = holiday_features(start, length, LOAD.holidays)[0]
    target = 100 + 20 * np.sin(hours * np.pi / 12) - 30 * holidays + noise
    info = replace(LOAD, target_dim=2, dimension_names=("a", "b"))
    series = {"target": target, "start": start, "item_id": "load"}
    return _assemble(info, *_split(series, info), ("a", "b"), ())


def test_they_reach_one_horizon_beyond_each_target(load: BenchmarkDataset) -> None:
    whole = holiday_features(load.train[0]["start"], 24 * 61, LOAD.holidays)
    for entry in (*load.train, *load.validation, *load.test):
        steps = entry["target"].shape[1] + HORIZON
        np.testing.assert_array_equal(entry["feat_dynamic_real"], whole[:, :steps])
    assert "US-major" in load.metadata.notes[-1]


def test_windows_are_cut_as_they_should_be(load: BenchmarkDataset) -> None:
    for window in rolling_windows(load.test[-1:], HORIZON, 3):
        history, _ = split_window(window, HORIZON)
        assert history["feat_dynamic_real"].shape[1] == window["target"].shape[1]


def test_baselines_ignore_them(load: BenchmarkDataset) -> None:
    bare = [{k: v for k, v in e.items() if k != "feat_dynamic_real"} for e in load.test]
    for name, baseline in baselines("h", HORIZON, statistical=True).items():
        found, expected = (evaluate(baseline, data, num_samples=5) for data in (load.test, bare))
        assert found["crps"].value == expected["crps"].value, name


def test_models_are_trained_scored_and_saved_with_them(load: BenchmarkDataset, tmp_path) -> None:
    estimator = FlowMatchingEstimator(
        prediction_length=HORIZON, max_epochs=1, num_batches_per_epoch=2, hidden_size=8,
        num_layers=1, num_validation_samples=2,
    )  # fmt: skip
    predictor = estimator.fit(load.train, load.validation[-1:], progress=False)
    assert predictor.facts.num_dynamic_real == 3
    found = evaluate(predictor, load.test[-2:], num_samples=4)
    again = backtest(predictor, load.test[-1:], num_windows=2, num_samples=4)
    assert found["crps"].value == again["crps"].value
    predictor.save(tmp_path / "model")
    (ahead,) = type(predictor).load(tmp_path / "model").predict(load.test[-1:], num_samples=4)
    (before,) = predictor.predict(load.test[-1:], num_samples=4)
    np.testing.assert_array_equal(ahead.samples, before.samples)
    other = dict(load.test[-1])
    other["feat_dynamic_real"] = 1.0 - other["feat_dynamic_real"]
    (turned,) = predictor.predict([other], num_samples=4)
    assert not np.array_equal(turned.samples, before.samples)
