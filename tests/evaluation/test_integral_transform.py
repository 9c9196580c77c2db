"""The probability integral transform: uniform when calibrated, and not otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tsdiff.evaluation import (
    Evaluation,
    calibration,
    calibration_sum,
    compare,
    pit,
    pit_sum,
    score_samples,
)
from tsdiff.evaluation import integral_transform as it
from tsdiff.evaluation.ensemble import Ensemble


def gaussians(seed=0, *, bias=0.0, width=1.0, count=99, windows=40, steps=10, dims=3):
    rng = np.random.default_rng(seed)
    samples = bias + width * rng.normal(size=(windows, count, steps, dims))
    return samples, rng.normal(size=(windows, steps, dims))


@pytest.mark.parametrize("count", [1, 5, 99])
def test_a_calibrated_gaussian_is_uniform(count):
    samples, target = gaussians(count=count)
    assert stats.kstest(pit(samples, target).ravel(), "uniform").pvalue > 0.01
    assert stats.kstest(pit_sum(samples, target).ravel(), "uniform").pvalue > 0.01


@pytest.mark.parametrize("wrong", [{"bias": 0.5}, {"width": 0.6}, {"width": 1.7}])
def test_a_wrong_law_is_not(wrong):
    samples, target = gaussians(**wrong)
    assert stats.kstest(pit(samples, target).ravel(), "uniform").pvalue < 1e-6
    found = calibration(samples, target)
    assert found.error > 3 * found.expected
    assert found.p_value < 0.02
    assert calibration_sum(samples, target).p_value < 0.02


def test_atoms_are_spread_evenly():
    rng = np.random.default_rng(1)
    samples, target = rng.integers(3, size=(50, 20, 10, 2)), rng.integers(3, size=(50, 10, 2))
    assert stats.kstest(pit(samples, target).ravel(), "uniform").pvalue > 0.01
    assert calibration(samples, target).p_value > 0.05


def test_by_hand():
    samples = np.array([1.0, 2.0, 2.0]).reshape(1, 3, 1, 1)
    # above one, equal to two: anywhere in the last three of four slots
    shares = it.pit_distribution(Ensemble.check(samples, np.full((1, 1, 1), 2.0)))
    np.testing.assert_allclose(shares, [0, 0, 1 / 3, 2 / 3, 1])
    assert it.calibration_error(shares) == pytest.approx((1 / 4 + 1 / 6 + 1 / 12) / 4)
    values = pit(np.repeat(samples, 500, axis=0), np.full((500, 1, 1), 2.0))
    assert 0.25 <= values.min() < 0.27
    assert 0.98 < values.max() <= 1.0


def test_the_error_of_a_constant_bias_is_known():
    """All values below all samples: F jumps to 1 at once, and the error is nearly a half."""
    samples, target = gaussians(bias=100.0)
    assert calibration(samples, target).error == pytest.approx(0.5 * 99 / 100)


def test_p_values_of_calibrated_forecasts_are_uniform_though_steps_depend_on_each_other():
    rng = np.random.default_rng(3)
    found = []
    for _ in range(150):
        paths = np.cumsum(rng.normal(size=(6, 41, 15, 1)), axis=2) + np.zeros(2)
        found.append(calibration(paths[:, 1:], paths[:, 0]))
    assert stats.kstest([f.p_value for f in found], "uniform").pvalue > 0.01
    seen, expected = np.mean([f.error for f in found]), np.mean([f.expected for f in found])
    assert expected == pytest.approx(seen, rel=0.1)
    # Were the 180 values independent, it would be far smaller.
    independent = [calibration(*gaussians(s, windows=6, steps=15, dims=2)).error for s in range(20)]
    assert expected > 2 * np.mean(independent)


def test_missing_values_do_not_count():
    samples, target = gaussians(windows=4)
    target[1, 2:5, 0] = np.nan
    assert np.array_equal(np.isnan(pit(samples, target)), np.isnan(target))
    assert np.isnan(pit_sum(samples, target)).sum() == 3
    target[1] = np.nan
    keep = [0, 2, 3]
    assert calibration(samples, target).error == calibration(samples[keep], target[keep]).error
    nothing = calibration(samples, np.full_like(target, np.nan))
    assert np.isnan([nothing.error, nothing.expected, nothing.p_value]).all()
    target[..., 1] = np.nan  # then no sum is known
    scores = score_samples(samples, target)
    assert np.isnan(scores["pit_error_sum"].value)
    assert np.isnan(scores["pit_error_sum_calibrated"].value)
    assert scores["pit_error"].value > 0


def test_scores_hold_the_error_beside_that_of_the_calibrated():
    samples, target = gaussians(windows=10)
    scores, found = score_samples(samples, target), calibration_sum(samples, target)
    assert scores["pit_error_sum"].value == found.error
    assert scores["pit_error_sum_calibrated"].value == found.expected
    sizes = {"num_windows": 10, "num_samples": 99, "prediction_length": 10, "target_dim": 3}
    table = compare([Evaluation("model", scores, **sizes)])
    assert table.best("pit_error") == ["model"]
    assert table.best("pit_error_calibrated") == []  # a yardstick
    point = score_samples(np.repeat(samples[:, :1], 9, axis=1), target)
    assert point["pit_error"].value > 0.1
    assert point["pit_error_calibrated"].value == pytest.approx(0, abs=1e-12)
