from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from tsdiff.datasets import (
    DataError,
    SeasonalVAR,
    crps_gaussian,
    get_dataset,
    seasonal_var_law,
    split_window,
)

LAW = SeasonalVAR.from_seed(3, num_dims=4)


def test_is_built_from_its_seed():
    again = SeasonalVAR.from_seed(3, num_dims=4)
    np.testing.assert_array_equal(again.transition, LAW.transition)
    np.testing.assert_array_equal(
        again.sample(50, seed=1)["target"], LAW.sample(50, seed=1)["target"]
    )
    assert not np.array_equal(LAW.sample(50, seed=1)["target"], LAW.sample(50, seed=2)["target"])


def test_spectral_radius_and_season():
    assert np.abs(np.linalg.eigvals(LAW.transition)).max() == pytest.approx(0.8)
    hours = np.arange(400)
    np.testing.assert_allclose(LAW.seasonal_mean(hours), LAW.seasonal_mean(hours + 168), rtol=1e-12)
    daily = SeasonalVAR.from_seed(3, num_dims=4, weekly=False)
    np.testing.assert_allclose(
        daily.seasonal_mean(hours), daily.seasonal_mean(hours + 24), rtol=1e-12
    )
    assert np.ptp(LAW.seasonal_mean(hours)[:, 0]) > 0.2 * LAW.level[0]


def test_stationary_covariance_solves_its_equation():
    covariance = LAW.stationary_covariance
    right = LAW.transition @ covariance @ LAW.transition.T + LAW.noise_covariance
    np.testing.assert_allclose(covariance, right, rtol=1e-12)


def test_predictive_law_by_direct_recursion():
    """y_{i+k} − m = Φᵏ u + Σ Φʲ ε_{i+k−j}, written out with powers and no recursion."""
    history = LAW.sample(100, seed=5)
    mean, covariance = LAW.predictive(history, 6)
    deviation = history["target"][:, -1] - LAW.seasonal_mean([99])[0]
    for ahead in range(1, 7):
        powers = [np.linalg.matrix_power(LAW.transition, j) for j in range(ahead + 1)]
        expected = LAW.seasonal_mean([99 + ahead])[0] + powers[ahead] @ deviation
        np.testing.assert_allclose(mean[ahead - 1], expected, rtol=1e-12)
        expected = sum(p @ LAW.noise_covariance @ p.T for p in powers[:ahead])
        np.testing.assert_allclose(covariance[ahead - 1], expected, rtol=1e-12)


def test_joint_law_by_the_matrix_of_all_shocks():
    horizon, dims = 5, LAW.num_dims
    impact = np.zeros((horizon, dims, horizon, dims))
    for step in range(horizon):
        for shock in range(step + 1):
            impact[step, :, shock, :] = np.linalg.matrix_power(LAW.transition, step - shock)
    impact = impact.reshape(horizon * dims, horizon * dims)
    shocks = np.kron(np.eye(horizon), LAW.noise_covariance)
    mean, joint = LAW.predictive_joint(LAW.sample(30), horizon)
    np.testing.assert_allclose(
        joint.reshape(impact.shape), impact @ shocks @ impact.T, rtol=1e-10, atol=1e-14
    )
    marginal_mean, marginal = LAW.predictive(LAW.sample(30), horizon)
    np.testing.assert_array_equal(mean, marginal_mean)
    np.testing.assert_allclose(joint[[2], :, [2], :][0], marginal[2])


def test_the_law_of_the_sum_is_that_of_the_marginals():
    history = LAW.sample(40)
    mean, covariance = LAW.predictive(history, 9)
    total, std = LAW.predictive_sum(history, 9)
    np.testing.assert_allclose(total, mean.sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(std**2, covariance.sum(axis=(1, 2)), rtol=1e-12)


def test_long_horizon_tends_to_the_stationary_law():
    mean, covariance = LAW.predictive(LAW.sample(50), 200)
    np.testing.assert_allclose(covariance[-1], LAW.stationary_covariance, rtol=1e-8)
    np.testing.assert_allclose(mean[-1], LAW.seasonal_mean([249])[0], rtol=1e-8)


def test_long_simulation_has_the_stated_moments():
    target = LAW.sample(200_000, seed=11)["target"].T
    deviation = target - LAW.seasonal_mean(np.arange(len(target)))
    scale = np.sqrt(np.diag(LAW.stationary_covariance))
    np.testing.assert_allclose(deviation.mean(axis=0) / scale, 0, atol=0.03)
    normed = np.outer(scale, scale)
    np.testing.assert_allclose(
        np.cov(deviation.T) / normed, LAW.stationary_covariance / normed, atol=0.03
    )
    lagged = deviation[1:].T @ deviation[:-1] / len(deviation)
    np.testing.assert_allclose(
        lagged / normed, LAW.transition @ LAW.stationary_covariance / normed, atol=0.03
    )


def test_drawn_futures_follow_the_predictive_law():
    history = LAW.sample(321, seed=2)
    forecast = LAW.sample_forecast(history, 12, num_samples=20_000, seed=4)
    mean, covariance = LAW.predictive(history, 12)
    assert forecast.start_date == history["start"] + 321
    spread = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    np.testing.assert_allclose((forecast.samples.mean(axis=0) - mean) / spread, 0, atol=0.03)
    for step in (0, 11):
        normed = np.outer(spread[step], spread[step])
        found = np.cov(forecast.samples[:, step].T)
        np.testing.assert_allclose(found / normed, covariance[step] / normed, atol=0.05)
    sum_mean, sum_std = LAW.predictive_sum(history, 12)
    sums = forecast.samples.sum(axis=2)
    np.testing.assert_allclose((sums.mean(axis=0) - sum_mean) / sum_std, 0, atol=0.03)
    np.testing.assert_allclose(sums.std(axis=0) / sum_std, 1, atol=0.03)


def test_a_later_start_is_known_by_its_time():
    whole = LAW.sample(100)
    late = {**whole, "target": whole["target"][:, 60:], "start": whole["start"] + 60}
    np.testing.assert_allclose(LAW.predictive(late, 5)[0], LAW.predictive(whole, 5)[0])


def test_crps_is_the_integral_of_the_squared_difference():
    grid = np.linspace(-12, 12, 400_001)
    from scipy.stats import norm

    for mean, std, y in ((0.0, 1.0, 0.3), (1.0, 0.5, -0.7)):
        gap = norm.cdf(grid, mean, std) - (grid >= y)
        integral = (gap**2).sum() * (grid[1] - grid[0])
        assert crps_gaussian(mean, std, y) == pytest.approx(integral, abs=1e-4)
    with pytest.raises(ValueError, match="positive"):
        crps_gaussian(0.0, 0.0, 1.0)


def test_the_law_scores_better_than_its_neighbours_on_the_test_windows():
    data = get_dataset("seasonal_var")
    assert data.law is seasonal_var_law()
    scores = []
    for window in data.test:
        history, truth = split_window(window, data.metadata.prediction_length)
        mean, std = data.law.predictive_sum(history, truth.shape[1])
        forecasts = ((mean, std), (mean + 0.5 * std, std), (mean, 1.5 * std), (mean, 0.6 * std))
        scores.append([crps_gaussian(m, s, truth.sum(axis=0)).mean() for m, s in forecasts])
    law, *neighbours = np.mean(scores, axis=0)
    assert law < min(neighbours)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"transition": 1.01 * np.eye(4)}, "not stable: spectral radius 1.01"),
        ({"transition": np.eye(3)}, r"transition has shape \(3, 3\), expected \(4, 4\)"),
        ({"noise_covariance": -np.eye(4)}, "positive definite"),
        ({"amplitudes": np.zeros((1, 2, 4))}, "amplitudes has shape"),
    ],
)
def test_impossible_laws_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(LAW, **change)


def test_histories_off_the_law_are_refused():
    history = LAW.sample(10)
    with pytest.raises(DataError, match="frequency 'D'"):
        LAW.predictive({**history, "start": pd.Period("2020-01-06", "D")}, 3)
    with pytest.raises(DataError, match="shape"):
        LAW.predictive({**history, "target": history["target"][:2]}, 3)
    missing = history["target"].copy()
    missing[1, -1] = np.nan
    with pytest.raises(DataError, match="missing values"):
        LAW.predictive({**history, "target": missing}, 3)
    with pytest.raises(ValueError, match="at least 1"):
        LAW.sample(0)
