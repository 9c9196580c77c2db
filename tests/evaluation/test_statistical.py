"""Climatology, vector autoregression and seasonal ridge: known laws are recovered."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from gluonts.model.predictor import Predictor
from scipy.stats import multivariate_normal
from sklearn import linear_model

from tsdiff.datasets import SeasonalVAR, crps_gaussian, get_dataset, split_window
from tsdiff.evaluation import (
    Climatology,
    SeasonalRidge,
    VectorAutoregression,
    backtest,
    baselines,
    evaluate,
    negative_log_likelihood,
)
from tsdiff.evaluation.autoregression import stable
from tsdiff.evaluation.calendars import calendar_groups
from tsdiff.evaluation.regression import shrunk_covariance
from tsdiff.evaluation.ridge import _Ridge

ALL = [Climatology(4), VectorAutoregression(4), SeasonalRidge(4, season_length=7, lags=(1, 2))]
MONDAY = "2024-01-01"


def entry_of(target, freq="B", start=MONDAY):
    return {"target": np.asarray(target, dtype=float), "start": pd.Period(start, freq)}


def paths(predictor, entry, num_samples=100, **kwargs):
    (forecast,) = predictor.predict([entry], num_samples=num_samples, **kwargs)
    assert np.isfinite(forecast.samples).all()
    return forecast.samples


def coordinates(steps, dims=1):
    """A series that says when each value was: step number plus dimension / 10."""
    return np.arange(steps) + np.arange(dims)[:, None] / 10


# --- the calendar -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freq", "counts"),
    [("h", [168, 48, 24]), ("15min", [672, 192, 96]), ("D", [7, 2]), ("M", [12]), ("B", [])],
)
def test_calendar_by_frequency(freq, counts):
    groups = calendar_groups(pd.Period(MONDAY, freq), 1500)
    assert [len(np.unique(labels)) for labels in groups] == counts


# --- climatology ------------------------------------------------------------------------------


def test_climatology_replays_whole_paths_of_the_same_hour_and_weekday():
    weeks = 20
    samples = paths(Climatology(24), entry_of(coordinates(168 * weeks + 30, 2), "h"), 400)
    steps = samples[..., 0]
    assert (np.diff(steps, axis=1) == 1).all()
    np.testing.assert_allclose(samples[..., 1] - steps, 0.1)
    assert (steps[:, 0] % 168 == 30).all()  # Tuesday, six o'clock
    assert len(np.unique(steps[:, 0])) == weeks
    latest = paths(Climatology(24, max_paths=10), entry_of(coordinates(3390, 2), "h"), 400)
    assert latest[:, 0, 0].min() == 30 + 168 * 10


def test_climatology_falls_back_to_coarser_groups():
    three_weeks = paths(Climatology(24), entry_of(coordinates(168 * 3), "h"), 400)[..., 0]
    days = np.unique(three_weeks[:, 0] // 24)
    assert (three_weeks[:, 0] % 24 == 0).all()
    assert (days % 7 < 5).all()  # Monday is next: working days alone
    assert len(days) == 15
    # As many days as steps to forecast: no past path, but vectors of each hour.
    short = paths(Climatology(72), entry_of(coordinates(70), "h"), 50)[..., 0]
    assert (short % 24 == (70 + np.arange(72)) % 24).all()
    assert len(np.unique(np.diff(short))) > 1
    anywhere = paths(Climatology(5), entry_of(coordinates(40), "B"), 2000)[..., 0]
    assert (np.diff(anywhere, axis=1) == 1).all()
    assert len(np.unique(anywhere[:, 0])) == 36
    assert (paths(Climatology(5), entry_of([[3.0]], "D")) == 3.0).all()


def test_climatology_has_the_marginal_law_of_the_season():
    rng = np.random.default_rng(0)
    spread = 1.0 + np.arange(7)
    factor = np.array([[1.0, 0.0], [0.8, 0.6]])
    weeks = factor @ rng.standard_normal((3000, 2, 7)) * spread + 10 * spread
    series = weeks.swapaxes(0, 1).reshape(2, -1)
    samples = paths(Climatology(7), entry_of(series, "D"), 20_000)
    np.testing.assert_allclose(samples.mean(axis=0)[:, 0], 10 * spread, rtol=0.02)
    np.testing.assert_allclose(samples.std(axis=0)[:, 1], spread, rtol=0.05)
    for step in range(7):
        assert np.corrcoef(samples[:, step].T)[0, 1] == pytest.approx(0.8, abs=0.04)


def test_climatology_leaves_out_missing_values():
    series = coordinates(700, 2)
    series[1, 100:150] = np.nan
    samples = paths(Climatology(7), entry_of(series, "D"), 2000)
    np.testing.assert_allclose(samples[..., 1] - samples[..., 0], 0.1)
    rare = np.tile(np.arange(7.0), 60)[None].repeat(2, axis=0)
    rare[np.random.default_rng(0).random(rare.shape) < 0.5] = np.nan
    filled = paths(Climatology(7), entry_of(rare, "D"), 200)
    assert set(np.unique(filled[:, :5])) <= {0.0, 1.0, 2.0, 3.0, 4.0}


# --- vector autoregression --------------------------------------------------------------------


def simulated_var(coefficients, covariance, steps, seed=0):
    """``[D, time]`` of a VAR(p), started at zero and warmed up."""
    rng = np.random.default_rng(seed)
    order, dims, _ = coefficients.shape
    noise = rng.standard_normal((steps + 200, dims)) @ np.linalg.cholesky(covariance).T
    series = np.zeros((steps + 200, dims))
    for step in range(order, len(series)):
        past = series[step - order : step][::-1]
        series[step] = np.einsum("pij,pj->i", coefficients, past) + noise[step]
    return series[200:].T


def second_order():
    coefficients = np.array(
        [[[0.5, 0.2, 0.0], [0.0, 0.4, -0.3], [0.1, 0.0, 0.6]], 0.25 * np.eye(3)]
    )
    covariance = np.array([[1.0, 0.6, 0.0], [0.6, 2.0, -0.5], [0.0, -0.5, 1.5]])
    return coefficients, covariance


def predictive(coefficients, covariance, past, horizon):
    """Mean ``[T, D]`` and covariances ``[T, D, D]``, by the companion form."""
    order, dims, _ = coefficients.shape
    companion = np.eye(order * dims, k=-dims)
    companion[:dims] = np.concatenate(list(coefficients), axis=1)
    state, spread, noise = past.reshape(-1), np.zeros((order * dims,) * 2), np.zeros_like(companion)
    noise[:dims, :dims] = covariance
    means, covariances = [], []
    for _ in range(horizon):
        state, spread = companion @ state, companion @ spread @ companion.T + noise
        means.append(state[:dims])
        covariances.append(spread[:dims, :dims])
    return np.stack(means), np.stack(covariances)


@pytest.mark.parametrize("criterion", ["aic", "bic"])
def test_autoregression_recovers_the_predictive_law(criterion):
    coefficients, covariance = second_order()
    series = simulated_var(coefficients, covariance, 20_000)
    predictor = VectorAutoregression(6, criterion=criterion)
    samples = paths(predictor, entry_of(series + 5.0), 20_000)
    mean, spread = predictive(coefficients, covariance, series[:, :-3:-1].T, 6)
    for step in range(6):
        size = np.sqrt(np.diag(spread[step]))
        unit = np.outer(size, size)
        found = np.cov(samples[:, step].T)
        np.testing.assert_allclose(found / unit, spread[step] / unit, atol=0.05)
        np.testing.assert_allclose((samples[:, step].mean(0) - 5 - mean[step]) / size, 0, atol=0.08)
    # Joint over time, too: one path's steps are those of one walk through the law.
    lagged = np.corrcoef(samples[:, 0, 0], samples[:, 1, 0])[0, 1]
    assert lagged > 0.4


def test_the_order_is_found():
    coefficients, covariance = second_order()
    series = simulated_var(coefficients, covariance, 5000)
    law, _, _ = VectorAutoregression(1, max_lags=6)._fit(series, pd.Period(MONDAY, "B"))
    assert law.order == 2
    np.testing.assert_allclose(law.coefficients, coefficients, atol=0.06)
    np.testing.assert_allclose(law.covariance, covariance, atol=0.12)


def test_few_steps_are_seldom_given_too_many_lags():
    """The Bayesian criterion finds the order; Akaike's takes more, one time in six or so."""
    found = {"aic": [], "bic": []}
    for seed in range(40):
        series = np.random.default_rng(seed).standard_normal((1, 400))
        for step in range(1, 400):
            series[0, step] += 0.6 * series[0, step - 1]
        for criterion, orders in found.items():
            predictor = VectorAutoregression(1, max_lags=6, criterion=criterion)
            orders.append(predictor._fit(series, pd.Period(MONDAY, "B"))[0].order)
    assert np.mean(np.equal(found["bic"], 1)) > 0.9
    assert np.mean(np.equal(found["aic"], 1)) < 0.85


def test_means_of_the_calendar_take_their_share_of_the_noise():
    """168 means of 1,680 hours: what is left of the noise is a tenth too small."""
    noise = np.random.default_rng(5).standard_normal((6, 1680))
    law, _, _ = VectorAutoregression(1, max_lags=1)._fit(noise, pd.Period(MONDAY, "h"))
    assert np.diag(law.covariance).mean() == pytest.approx(noise.var(), rel=0.02)


def test_autoregression_has_little_regret_on_the_seasonal_var():
    data = get_dataset("seasonal_var")
    horizon = data.metadata.prediction_length
    found = evaluate(VectorAutoregression(horizon), data.test, num_samples=300)
    law, size, truth = 0.0, 0.0, 0.0
    for entry in data.test:
        history, target = split_window(entry, horizon)
        mean, std = data.law.predictive_sum(history, horizon)
        law += crps_gaussian(mean, std, target.sum(axis=0)).sum()
        size += np.abs(target.sum(axis=0)).sum()
        step = history["target"].shape[1]
        seasonal = data.law.seasonal_mean(np.arange(step - 1, step + horizon)).T
        deviation = np.concatenate([history["target"][:, -1:], target], axis=1) - seasonal
        noise = deviation[:, 1:] - data.law.transition @ deviation[:, :-1]
        truth -= multivariate_normal(np.zeros(8), data.law.noise_covariance).logpdf(noise.T).sum()
    assert 0.98 < found["crps_sum_fair"].value / (law / size) < 1.05
    assert found["coverage_80"].value == pytest.approx(0.8, abs=0.03)
    surprise = negative_log_likelihood(VectorAutoregression(horizon), data.test).value
    nats = truth / (8 * horizon * len(data.test))
    assert 0.0 < surprise - nats < 0.04


def test_the_density_is_of_one_step_after_the_observed_ones():
    coefficients, covariance = second_order()
    series = simulated_var(coefficients, covariance, 3000)
    predictor = VectorAutoregression(5)
    (found,) = predictor.log_prob([entry_of(series)])
    law, deviations, mean = predictor._fit(series[:, :-5], pd.Period(MONDAY, "B"))
    both = np.concatenate([deviations, series[:, -5:].T - mean])
    for step in range(5):
        at = len(both) - 5 + step
        expected = sum(law.coefficients[k] @ both[at - 1 - k] for k in range(law.order))
        logpdf = multivariate_normal(expected, law.covariance).logpdf(both[at])
        assert found[step] == pytest.approx(logpdf, rel=1e-6)
    series[1, -3] = np.nan
    (holed,) = predictor.log_prob([entry_of(series)])
    assert np.isnan(holed).tolist() == [False, False, True, True, True]  # of second order
    np.testing.assert_array_equal(holed[:2], found[:2])


def test_missing_values_at_the_end_are_drawn_from_their_law():
    phi, covariance = np.array([[[0.9, 0.0], [0.0, 0.9]]]), np.array([[1.0, 0.8], [0.8, 1.0]])
    series = simulated_var(phi, covariance, 20_000)
    holed = series.copy()
    holed[1, -1] = np.nan
    samples = paths(VectorAutoregression(1), entry_of(holed), 20_000)[:, 0]
    # y_1 given both last-but-one values and y_0: mean and variance of a bivariate normal.
    seen = series[0, -1] - 0.9 * series[0, -2]
    last = 0.9 * series[1, -2] + 0.8 * seen
    assert samples[:, 1].mean() == pytest.approx(0.9 * last, abs=0.1)
    assert samples[:, 1].var() == pytest.approx(1 + 0.81 * 0.36, rel=0.06)
    assert samples[:, 0].var() == pytest.approx(1.0, rel=0.06)


def test_missing_values_leave_the_estimates_right():
    coefficients, covariance = second_order()
    series = simulated_var(coefficients, covariance, 20_000)
    series[np.random.default_rng(3).random(series.shape) < 0.03] = np.nan
    law, _, _ = VectorAutoregression(1)._fit(series, pd.Period(MONDAY, "B"))
    np.testing.assert_allclose(law.coefficients[:2], coefficients, atol=0.06)
    # Had gaps been interpolated, noise would seem to persist.
    noise = np.random.default_rng(0).standard_normal((2, 20_000))
    noise[np.random.default_rng(4).random(noise.shape) < 0.1] = np.nan
    law, _, _ = VectorAutoregression(1, max_lags=1)._fit(noise, pd.Period(MONDAY, "B"))
    np.testing.assert_allclose(law.coefficients, 0.0, atol=0.03)
    np.testing.assert_allclose(law.covariance, np.eye(2), atol=0.04)


def test_many_dimensions_do_not_explode():
    rng = np.random.default_rng(0)
    walks = np.cumsum(rng.standard_normal((137, 300)), axis=1)
    samples = paths(VectorAutoregression(200), entry_of(walks), 20)
    assert np.abs(samples).max() < 10 * np.abs(walks).max()
    (found,) = VectorAutoregression(5).log_prob([entry_of(walks)])
    # Nothing is to be gained on walks; little may be lost: the law has 1.42 nats per value.
    assert 1.4 < -found.mean() / 137 < 1.7


def test_a_series_that_explodes_is_not_followed():
    rng = np.random.default_rng(0)
    growing = 1.06 ** np.arange(120) * (1.0 + 0.01 * rng.standard_normal((2, 120)))
    samples = paths(VectorAutoregression(100), entry_of(growing), 50)
    assert np.abs(samples).max() < 4 * growing.max()  # else it would double every 12 steps


def test_the_window_forgets():
    rng = np.random.default_rng(0)
    loud, quiet = 30 + 10 * rng.standard_normal((2, 500)), rng.standard_normal((2, 200))
    entry = entry_of(np.concatenate([loud, quiet], axis=1))
    samples = paths(VectorAutoregression(3, window=200), entry, 5000)
    np.testing.assert_allclose(samples.std(axis=0), 1.0, atol=0.2)
    np.testing.assert_allclose(samples.mean(axis=0), 0.0, atol=0.3)


def test_coefficients_are_scaled_back_onto_the_unit_circle():
    wild = np.stack([1.1 * np.eye(2), np.array([[0.2, 0.3], [0.0, 0.1]])])
    scaled = stable(wild)
    companion = np.eye(4, k=-2)
    companion[:2] = np.concatenate(list(scaled), axis=1)
    radius = np.abs(np.linalg.eigvals(companion)).max()
    assert 0.99 < radius <= 1.0 + 1e-9
    mild = second_order()[0]
    np.testing.assert_array_equal(stable(mild), mild)


def test_covariances_are_shrunk_as_far_as_they_are_noise():
    rng = np.random.default_rng(0)
    independent = shrunk_covariance(rng.standard_normal((40, 60)))
    off = ~np.eye(60, dtype=bool)
    assert np.abs(independent[off]).max() < 0.1
    assert np.linalg.eigvalsh(independent).min() > 0.1
    factor = np.linalg.cholesky(second_order()[1])
    plenty = shrunk_covariance(rng.standard_normal((50_000, 3)) @ factor.T)
    np.testing.assert_allclose(plenty, second_order()[1], atol=0.04)


# --- seasonal ridge ---------------------------------------------------------------------------


def linear_seasons(count, season=6, dims=2, seed=0, noise=0.3):
    """Seasons that are a matrix times the one before, with noise that dimensions share."""
    rng = np.random.default_rng(seed)
    matrix = 0.7 * np.linalg.qr(rng.standard_normal((season, season)))[0]
    seasons = np.zeros((count, dims, season))
    common = noise * rng.standard_normal((count, 1, season))
    own = 0.5 * noise * rng.standard_normal((count, dims, season))
    for k in range(1, count):
        seasons[k] = seasons[k - 1] @ matrix.T + common[k] + own[k]
    return matrix, seasons


def flat(seasons):
    return seasons.swapaxes(0, 1).reshape(seasons.shape[1], -1)


def test_ridge_recovers_a_linear_law_of_seasons():
    matrix, seasons = linear_seasons(4000)
    predictor = SeasonalRidge(12, season_length=6, lags=(1, 2), window=4000)
    samples = paths(predictor, entry_of(3.0 + flat(seasons)), 20_000)
    first = seasons[-1] @ matrix.T
    np.testing.assert_allclose(samples[:, :6].mean(0).T - 3, first, atol=0.05)
    np.testing.assert_allclose(samples[:, 6:].mean(0).T - 3, first @ matrix.T, atol=0.05)
    # 0.09 common and 0.0225 own; twice that, less half, where the matrix turns and shrinks it.
    variance = 0.09 + 0.0225
    np.testing.assert_allclose(samples[:, :6].var(0), variance, rtol=0.1)
    np.testing.assert_allclose(samples[:, 6:].var(0), variance * 1.49, rtol=0.1)
    for step in (0, 5, 11):
        assert np.corrcoef(samples[:, step].T)[0, 1] == pytest.approx(0.8, abs=0.05)


def test_ridge_is_calibrated_with_few_seasons():
    """60 seasons and 12 coefficients: residuals in sample would cover too little."""
    _, seasons = linear_seasons(2000)
    predictor = SeasonalRidge(6, season_length=6, lags=(1, 2), window=60)
    found = backtest(predictor, [entry_of(flat(seasons))], num_windows=150, num_samples=200)
    assert found["coverage_80"].value == pytest.approx(0.8, abs=0.03)
    assert found["coverage_sum_80"].value == pytest.approx(0.8, abs=0.04)


def test_residuals_of_the_ridge_are_those_of_fits_without_their_rows(monkeypatch):
    rng = np.random.default_rng(6)
    x = 50.0 + rng.standard_normal((12, 3))
    y = 9.0 + x @ rng.standard_normal((3, 2)) + rng.standard_normal((12, 2))
    share = 0.05
    monkeypatch.setattr("tsdiff.evaluation.ridge._PENALTIES", np.array([share]))
    penalty = share * len(x) * (x - x.mean(axis=0)).var()
    for row, found in enumerate(_Ridge.fit(x, y).residuals):
        rest = np.delete(x, row, axis=0), np.delete(y, row, axis=0)
        without = linear_model.Ridge(alpha=penalty).fit(*rest)
        np.testing.assert_allclose(found, y[row] - without.predict(x[row : row + 1])[0], rtol=1e-8)


def test_ridge_draws_residuals_of_whole_seasons_of_all_dimensions():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((1, 400))
    opposite = np.concatenate([noise, -noise]) + 7.0
    samples = paths(SeasonalRidge(8, season_length=4, lags=(1,)), entry_of(opposite), 300)
    np.testing.assert_allclose(samples.sum(axis=2), 14.0, atol=1e-9)
    assert samples[..., 0].std() > 0.5


def test_ridge_drops_lags_that_a_short_history_cannot_serve():
    _, seasons = linear_seasons(12)
    entry = entry_of(flat(seasons))
    short, of_one = (SeasonalRidge(3, 6, lags=lags) for lags in ((1, 2, 7), (1, 2)))
    np.testing.assert_array_equal(paths(short, entry), paths(of_one, entry))


def test_ridge_leaves_out_seasons_with_missing_values():
    matrix, seasons = linear_seasons(3000)
    holed = flat(seasons)
    holed[0, np.random.default_rng(0).integers(0, holed.shape[1] - 12, 300)] = np.nan
    predictor = SeasonalRidge(6, season_length=6, lags=(1,), window=3000)
    samples = paths(predictor, entry_of(holed), 5000)
    np.testing.assert_allclose(samples.mean(0).T, seasons[-1] @ matrix.T, atol=0.07)


# --- all of them ------------------------------------------------------------------------------


@pytest.mark.parametrize("predictor", ALL, ids=lambda p: type(p).__name__)
class TestAll:
    def test_forecasts_repeat_and_do_not_depend_on_the_other_series(self, predictor, make_entry):
        entries = [make_entry(seed=s) for s in range(3)]
        three = [f.samples for f in predictor.predict(entries, num_samples=7, seed=1)]
        one = paths(predictor, entries[0], 7, seed=1)
        np.testing.assert_array_equal(three[0], one)
        assert not np.array_equal(one, paths(predictor, entries[0], 7, seed=2))
        assert one.shape == (7, 4, 3)

    def test_one_dimension(self, predictor, make_entry):
        entry = make_entry(dims=1)
        column = paths(predictor, entry, 5)
        assert column.shape == (5, 4, 1)
        row = paths(predictor, entry | {"target": entry["target"][0]}, 5)
        np.testing.assert_array_equal(row, column[..., 0])

    def test_serialize_round_trip(self, predictor, tmp_path, make_entry):
        predictor.serialize(tmp_path)
        loaded = Predictor.deserialize(tmp_path)
        assert loaded == predictor
        assert hash(loaded) == hash(predictor)
        entry = make_entry()
        np.testing.assert_array_equal(paths(predictor, entry), paths(loaded, entry))

    def test_constant_series_stay_constant(self, predictor):
        constant = np.full((3, 120), 4.0) * np.arange(3)[:, None]
        np.testing.assert_allclose(
            paths(predictor, entry_of(constant, "D")), [[[0, 4, 8]] * 4] * 100
        )

    @pytest.mark.parametrize("share", [0.02, 0.6])
    def test_missing_values_everywhere(self, predictor, share, make_entry):
        entry = make_entry(length=400)
        target = entry["target"].copy()
        target[np.random.default_rng(1).random(target.shape) < share] = np.nan
        target[0, :50], target[1, -5:] = np.nan, np.nan
        samples = paths(predictor, entry | {"target": target})
        assert samples.std(axis=0).min() > 0
        assert np.abs(samples).max() < 3 * np.nanmax(np.abs(target))

    def test_forecasts_do_not_see_what_they_forecast(self, predictor, make_entry):
        entry = make_entry()
        before = evaluate(predictor, [entry], keep_forecasts=True).forecasts[0].samples
        entry["target"] = entry["target"].copy()
        entry["target"][:, -4:] = 1e6
        after = evaluate(predictor, [entry], keep_forecasts=True).forecasts[0].samples
        np.testing.assert_array_equal(before, after)

    def test_empty_and_silent_series_are_refused(self, predictor):
        for target in (np.empty((2, 0)), [[1.0] * 90, [np.nan] * 90]):
            with pytest.raises(ValueError, match="has no observed value"):
                paths(predictor, entry_of(target))


def test_calibrated_on_the_seasonal_law():
    law = SeasonalVAR.from_seed(5, num_dims=4)
    entry = law.sample(24 * 250, seed=1)
    for predictor in (Climatology(24), VectorAutoregression(24), SeasonalRidge(24, 24)):
        found = backtest(predictor, [entry], num_windows=60)
        assert found["coverage_80"].value == pytest.approx(0.8, abs=0.05), predictor


def test_they_are_among_the_baselines_if_asked_for():
    naive = baselines("h", 24)
    every = baselines("h", 24, statistical=True)
    assert list(every)[: len(naive)] == list(naive)
    assert list(every)[len(naive) :] == [
        "climatology", "vector autoregression", "last seasons", "seasonal ridge",
    ]  # fmt: skip
    assert "seasonal ridge" not in baselines("YE", 2, statistical=True)


def test_errors_teach():
    short = entry_of(np.ones((2, 8)))
    with pytest.raises(ValueError, match="8 steps are too few for an autoregression"):
        paths(VectorAutoregression(2), short)
    with pytest.raises(ValueError, match="needs at least 45; take more history, or SeasonalNaive"):
        paths(SeasonalRidge(2, season_length=5), short)
    with pytest.raises(ValueError, match="unknown criterion 'hq', expected 'aic' or 'bic'"):
        VectorAutoregression(2, criterion="hq")
    with pytest.raises(ValueError, match="must be different numbers of seasons"):
        SeasonalRidge(2, season_length=5, lags=(1, 1))
    with pytest.raises(ValueError, match="each of lags must be at least 1, got 0"):
        SeasonalRidge(2, season_length=5, lags=(0,))
    with pytest.raises(ValueError, match="max_paths=3 is below min_paths=10"):
        Climatology(2, max_paths=3)
    with pytest.raises(TypeError, match=r"window must be an integer, got 2\.5"):
        VectorAutoregression(2, window=2.5)
    late = np.ones((2, 90))
    late[1, 30:] = np.nan
    with pytest.raises(ValueError, match="dimension 1 has no observed value in the last 50"):
        paths(VectorAutoregression(2, window=50), entry_of(late))


@pytest.mark.archive
def test_seasonal_ridge_on_load(archive_mirror):
    """What is to be beaten on load: 0.060 over 7 days, 0.045 over 30."""
    data = get_dataset("gefcom2012_load")
    ridge = SeasonalRidge(24, season_length=24)
    seven, thirty = (backtest(ridge, [data.test[-1]], num_windows=n) for n in (7, 30))
    assert seven["crps_sum_q19"].value == pytest.approx(0.0604, abs=0.005)
    assert thirty["crps_sum_q19"].value == pytest.approx(0.0454, abs=0.003)
