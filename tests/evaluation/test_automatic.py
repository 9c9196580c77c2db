"""Last seasons, exponential smoothing and ARIMA: known laws are recovered."""

from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest
from gluonts.model.predictor import Predictor

from tsdiff.evaluation import AutoARIMA, AutoETS, LastSeasons, automatic, baselines

ALL = [LastSeasons(4, 7), AutoETS(4, 7, window=60), AutoARIMA(4, window=60)]


def entry_of(target, freq="D"):
    return {"target": np.asarray(target, dtype=float), "start": pd.Period("2024-01-01", freq)}


def paths(predictor, target, num_samples=100, **kwargs):
    (forecast,) = predictor.predict([entry_of(target)], num_samples=num_samples, **kwargs)
    return forecast.samples


# --- last seasons -----------------------------------------------------------------------------


def test_last_seasons_are_whole_paths_of_all_dimensions():
    target = np.stack([np.arange(60.0), 1000.0 + np.arange(60.0)])
    samples = paths(LastSeasons(3, 5, num_seasons=4), target, 8)
    assert sorted(samples[:, 0, 0]) == [40, 40, 45, 45, 50, 50, 55, 55]
    np.testing.assert_array_equal(np.diff(samples, axis=1), 1.0)
    np.testing.assert_array_equal(samples[..., 1] - samples[..., 0], 1000.0)


def test_last_seasons_beyond_one_season_keep_the_phase():
    samples = paths(LastSeasons(7, 5, num_seasons=2), np.arange(60.0)[None], 2)[..., 0]
    assert sorted(samples[:, 0]) == [45, 50]
    np.testing.assert_array_equal(np.diff(samples, axis=1), 1.0)


def test_last_seasons_of_a_short_history_are_fewer():
    assert set(paths(LastSeasons(5, 5), np.arange(13.0)[None])[:, 0, 0]) == {3, 8}
    with pytest.raises(ValueError, match=r"4 steps of history.*takes 5"):
        paths(LastSeasons(5, 5), np.ones((1, 4)))


def test_last_seasons_fill_from_the_season_before():
    target = np.tile(np.arange(5.0), 8)
    target[-3] = np.nan
    samples = paths(LastSeasons(5, 5), target[None])
    np.testing.assert_array_equal(samples[..., 0], np.tile(np.arange(5.0), (100, 1)))


# --- automatic --------------------------------------------------------------------------------


def test_arima_recovers_an_autoregression():
    rng = np.random.default_rng(0)
    noise, series = rng.normal(size=600), np.zeros(600)
    for step in range(1, 600):
        series[step] = 0.8 * series[step - 1] + noise[step]
    samples = paths(AutoARIMA(3, window=500), 50.0 + series[None], 4000)[..., 0] - 50.0
    exact = series[-1] * 0.8 ** np.arange(1, 4)
    std = np.sqrt(np.cumsum(0.64 ** np.arange(3)))
    np.testing.assert_allclose(samples.mean(0), exact, atol=0.35)
    np.testing.assert_allclose(samples.std(0), std, rtol=0.15)
    assert np.corrcoef(samples[:, 0], samples[:, 1])[0, 1] > 0.4, "paths, not margins"


def test_ets_recovers_a_local_level():
    rng = np.random.default_rng(1)
    level = np.cumsum(rng.normal(size=2000))
    samples = paths(AutoETS(3, window=2000), level[None], 4000)[..., 0]
    np.testing.assert_allclose(samples.mean(0), level[-1], atol=0.5)
    np.testing.assert_allclose(samples.std(0), np.sqrt([1, 2, 3]), rtol=0.2)


@pytest.mark.parametrize("kind", [AutoETS, AutoARIMA])
@pytest.mark.parametrize("period", [7, 24, 48])
def test_seasons_short_and_long(kind, period):
    rng = np.random.default_rng(2)
    profile = 10 * np.sin(2 * np.pi * np.arange(period) / period)
    target = 100 + np.tile(profile, 8) + rng.normal(size=8 * period)
    samples = paths(kind(period, period, window=8 * period), target[None])[..., 0]
    assert np.abs(samples.mean(0) - 100 - profile).mean() < 1.5
    assert 0.5 < samples.std(0).mean() < 2.5


@pytest.mark.parametrize("length", [40, 60, 100])
def test_a_history_of_less_than_two_long_seasons_keeps_its_spread(length):
    """Subtracting the mean of places that were seen once leaves nothing to model."""
    target = np.random.default_rng(0).normal(size=(1, length))
    samples = paths(AutoETS(4, 48), target, 200)
    assert 0.7 < samples.std() < 1.4


def test_dimensions_are_independent():
    walk = np.cumsum(np.random.default_rng(3).normal(size=200))
    samples = paths(AutoETS(2, window=100), np.stack([walk, walk]), 2000)
    assert abs(np.corrcoef(samples[:, 0].T)[0, 1]) < 0.1


def test_units_do_not_matter():
    walk = np.cumsum(np.random.default_rng(4).normal(size=120))[None]
    for kind in (AutoETS, AutoARIMA):
        one, other = paths(kind(2), walk), paths(kind(2), 1e-6 * walk + 7.0)
        np.testing.assert_allclose((other - 7.0) * 1e6, one, rtol=1e-2, atol=1e-2)


def test_only_the_window_is_looked_at():
    target = np.random.default_rng(5).normal(size=(1, 100))
    other = target.copy()
    other[:, :40] = 1e9
    for kind in (AutoETS, AutoARIMA):
        np.testing.assert_array_equal(
            paths(kind(2, window=60), target), paths(kind(2, window=60), other)
        )


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not automatic.is_installed()
    chosen = baselines("h", 24, automatic=True)  # names are to be had all the same
    with pytest.raises(ImportError, match=r"pip install 'tsdiff\[statistical\]'"):
        next(chosen["auto ARIMA"].predict([entry_of(np.arange(60.0))]))


def test_they_are_among_the_baselines_if_asked_for():
    naive = list(baselines("h", 24))
    assert list(baselines("h", 24, automatic=True)) == [*naive, "auto ETS", "auto ARIMA"]
    assert baselines("15min", 4, automatic=True)["auto ETS"] == AutoETS(4, 96)


# --- all of them ------------------------------------------------------------------------------


@pytest.mark.parametrize("predictor", ALL, ids=lambda p: type(p).__name__)
class TestAll:
    def test_forecasts_repeat_and_do_not_depend_on_the_other_series(self, predictor, make_entry):
        entries = [make_entry(seed=s) for s in range(2)]
        both = [f.samples for f in predictor.predict(entries, num_samples=7, seed=1)]
        one = next(predictor.predict(entries[:1], num_samples=7, seed=1)).samples
        np.testing.assert_array_equal(both[0], one)
        assert one.shape == (7, 4, 3)
        other = next(predictor.predict(entries[:1], num_samples=7, seed=2)).samples
        assert not np.array_equal(one, other)

    def test_one_dimension(self, predictor, make_entry):
        row = make_entry(dims=1)["target"][0]
        np.testing.assert_array_equal(
            paths(predictor, row, 5), paths(predictor, row[None], 5)[..., 0]
        )

    def test_serialize_round_trip(self, predictor, tmp_path):
        predictor.serialize(tmp_path)
        assert Predictor.deserialize(tmp_path) == predictor

    def test_constant_series_stay_constant(self, predictor):
        constant = np.full((3, 90), 4.0) * np.arange(3)[:, None]
        np.testing.assert_allclose(paths(predictor, constant), [[[0, 4, 8]] * 4] * 100)

    def test_missing_values(self, predictor, make_entry):
        target = make_entry()["target"].copy()
        target[np.random.default_rng(1).random(target.shape) < 0.2] = np.nan
        target[0, :50], target[1, -5:] = np.nan, np.nan
        samples = paths(predictor, target)
        assert np.isfinite(samples).all()
        assert np.abs(samples).max() < 3 * np.nanmax(np.abs(target))

    def test_empty_series_are_refused(self, predictor):
        with pytest.raises(ValueError, match="has no observed value"):
            paths(predictor, np.full((2, 30), np.nan))


def test_errors_teach():
    with pytest.raises(ValueError, match="needs at least 10"):
        paths(AutoETS(2), np.arange(6.0))
    with pytest.raises(TypeError, match=r"window must be an integer, got 2\.5"):
        AutoARIMA(2, window=2.5)
    with pytest.raises(ValueError, match="num_seasons must be at least 1"):
        LastSeasons(2, 7, num_seasons=0)


def test_a_trend_goes_on() -> None:
    noise = np.random.default_rng(0).standard_normal(300)
    entry = {
        "target": (5 + 0.7 * np.arange(300) + noise)[None],
        "start": pd.Period("2024-01-01", "D"),
    }
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    (forecast,) = AutoETS(24).predict([entry], num_samples=400)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    expected = 5 + 0.7 * np.arange(300, 324)
    np.testing.assert_allclose(forecast.samples[..., 0].mean(0), expected, atol=2.0)
