"""Step by step or at once: the choice on laws where it is known which is right."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import tsdiff
from tests.estimators.small import SMALL
from tsdiff.estimators.horizon import HorizonModel
from tsdiff.transforms import profile_fit

FREE = {name: value for name, value in SMALL.items() if name not in ("lags", "prediction_length")}


def table(values: np.ndarray, freq: str) -> pd.DataFrame:
    index = pd.date_range("2023-01-02", periods=len(values), freq=freq)
    return pd.DataFrame(values, index=index, columns=[f"x{i}" for i in range(values.shape[1])])


def days_that_differ(days: int = 120, dims: int = 3, seed: int = 0) -> pd.DataFrame:
    """Whole days are high or low, by a shape that depends on the day of the week."""
    rng = np.random.default_rng(seed)
    hour, day = np.arange(24 * days) % 24, np.arange(24 * days) // 24
    shape = np.exp(-(((hour - 17) / 3.0) ** 2)) + (day % 7 < 5) * np.exp(-(((hour - 8) / 2.5) ** 2))
    size = np.exp(0.15 * rng.standard_normal((days, dims)))[day]
    noise = np.exp(0.08 * rng.standard_normal((24 * days, dims)))
    return table((0.1 + shape)[:, None] * size * noise * (30.0 + 20.0 * np.arange(dims)), "h")


def hours_that_follow(hours: int = 24 * 120, dims: int = 3, seed: int = 0) -> pd.DataFrame:
    """A daily wave and, around it, what decays from hour to hour: the last value tells most."""
    rng = np.random.default_rng(seed)
    noise = np.zeros((hours, dims))
    for step in range(1, hours):
        noise[step] = 0.97 * noise[step - 1] + rng.standard_normal(dims)
    return table(50.0 + 5.0 * np.sin(np.arange(hours) * np.pi / 12.0)[:, None] + noise, "h")


def decoding_of(data: pd.DataFrame, horizon: int = 24, **options) -> str:
    estimator = tsdiff.FlowMatchingEstimator(
        **FREE | {"max_epochs": 1, "num_batches_per_epoch": 1} | options, prediction_length=horizon
    )
    predictor = estimator.fit(data, progress=False)
    assert isinstance(predictor.model, HorizonModel) == (predictor.facts.decoding == "horizon")
    assert predictor.facts.decoding in repr(predictor)
    return predictor.facts.decoding


@pytest.mark.parametrize("seed", range(3))
def test_whole_days_are_drawn_as_such(seed):
    assert decoding_of(days_that_differ(seed=seed)) == "horizon"
    assert decoding_of(days_that_differ(seed=seed).iloc[:, :1]) == "horizon"


@pytest.mark.parametrize("seed", range(3))
def test_what_follows_the_last_value_is_drawn_step_by_step(seed):
    assert decoding_of(hours_that_follow(seed=seed)) == "autoregressive"


def test_walks_and_noise_are_drawn_step_by_step():
    noise = np.random.default_rng(0).standard_normal((1500, 2))
    for freq in ("h", "D", "B"):
        assert decoding_of(table(100.0 + noise.cumsum(0), freq)) == "autoregressive"
        assert decoding_of(table(10.0 + noise, freq)) == "autoregressive"


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_units_have_no_say(unit):
    assert decoding_of(unit * days_that_differ()) == "horizon"
    assert decoding_of(unit * hours_that_follow()) == "autoregressive"


def test_it_is_asked_only_what_nobody_has_told():
    data = days_that_differ()
    for told in ({"scaling": "whitened_seasonal"}, {"linear": "own"}, {"lags": (1, 24)}):
        assert decoding_of(data, **told) == "autoregressive"
        assert decoding_of(data, **told, decoding="horizon") == "horizon"
    assert decoding_of(data, decoding="autoregressive") == "autoregressive"
    assert decoding_of(hours_that_follow(), network="unet") == "horizon"


def test_gaps_that_leave_few_whole_days_and_short_data_speak_for_single_steps():
    data = days_that_differ()
    holes = np.random.default_rng(1).random(data.shape) < 0.05
    assert decoding_of(data.mask(holes)) == "autoregressive"
    few = np.random.default_rng(1).random(data.shape) < 0.0005
    assert decoding_of(data.mask(few)) == "horizon"
    assert decoding_of(data.iloc[: 24 * 9]) == "autoregressive"


def test_of_very_large_data_plans_are_judged_by_the_end_and_made_if_asked_for(monkeypatch):
    data = days_that_differ()
    (series,) = tsdiff.transforms.load_series(tsdiff.datasets.as_entries(data), "h", 24)
    assert len(profile_fit.judged_by([series], 24)) == len(series)
    monkeypatch.setattr(profile_fit, "_MOST_VALUES", 2500 * 3)
    end = profile_fit.judged_by([series], 24)
    assert len(end) == 2500
    assert end.start == series.start + (len(series) - 2500)
    np.testing.assert_array_equal(end.target, series.target[-2500:])
    np.testing.assert_array_equal(end.features, series.features[-2500 - 24 :])
    monkeypatch.setattr(profile_fit, "_MOST_VALUES", 1)  # a hundred seasons all the same
    assert len(profile_fit.judged_by([series], 24)) == 2400
    assert decoding_of(data) == "horizon"
    monkeypatch.setattr(profile_fit, "_MOST_ERRORS", series.target.size)
    assert decoding_of(data) == "autoregressive"
    assert decoding_of(data, decoding="horizon") == "horizon"


def test_the_longest_of_several_series_decides():
    data = days_that_differ()
    short, long = data.iloc[: 24 * 20], days_that_differ(seed=1) * 1000.0
    entries = [*tsdiff.datasets.as_entries(short), *tsdiff.datasets.as_entries(long)]
    for number, entry in enumerate(entries):
        entry["item_id"] = str(number)
    assert decoding_of(entries) == "horizon"


def test_a_model_so_chosen_is_saved_and_made_faster(tmp_path):
    data = days_that_differ(90)
    options = FREE | {"num_modes": 4}
    predictor = tsdiff.FlowMatchingEstimator(**options, prediction_length=24).fit(
        data, progress=False
    )
    assert predictor.facts.decoding == "horizon"
    predictor.save(tmp_path)
    again = tsdiff.load(tmp_path)
    pd.testing.assert_frame_equal(
        again.predict(data, quantiles=[0.5]), predictor.predict(data, quantiles=[0.5])
    )
    assert again.estimator.decoding == "auto"
    quick = predictor.distill(data, max_epochs=1, progress=False)
    assert quick.facts.decoding == "horizon"
    assert np.isfinite(quick.predict(data, quantiles=[0.5])["0.5"]).all()
    with pytest.raises(ValueError, match="train with decoding='autoregressive'"):
        predictor.predict(data, guidance=[tsdiff.guidance.Bounds(lower=0.0)])
