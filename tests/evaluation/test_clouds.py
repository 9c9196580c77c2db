"""Straightness, energy distance and two-sample accuracy against closed forms."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from tsdiff.datasets import POINT_CLOUDS, spiral
from tsdiff.evaluation import (
    CloudScore,
    clouds,
    energy_distance,
    evaluations_study,
    straightness,
    two_sample_accuracy,
)

UNIFORM = np.linspace(1, 0, 21)
CURVED = UNIFORM**2.5  # many nodes near data, none of them evenly spaced
UNEVEN = np.array([1.0, 0.97, 0.6, 0.55, 0.1, 0.0])
GRIDS = pytest.mark.parametrize(
    "times", [UNIFORM, CURVED, UNEVEN, UNIFORM[::-1], np.array([1.0, 0.2, 0.0])]
)


def paths(times, *functions):
    """The same path for two points: [K + 1, 2, D]."""
    return np.repeat(np.stack([f(times) for f in functions], axis=-1)[:, None], 2, axis=1)


# --- straightness -------------------------------------------------------------------------------


@GRIDS
def test_straight_lines_do_not_bend(times):
    found = straightness(paths(times, lambda t: 5 - 3 * t, np.zeros_like), times)
    np.testing.assert_allclose(found, 0, atol=1e-11)  # rounding, over steps as short as 6e-4


@GRIDS
def test_parabolas_bend_by_twice_their_coefficient(times):
    trajectory = paths(times, lambda t: 4 * t**2 + t, lambda t: -1.5 * t**2)
    np.testing.assert_allclose(straightness(trajectory, times), [8, 3], rtol=1e-10)
    np.testing.assert_allclose(  # 0.5 of the time only, and four times the curvature in it
        straightness(trajectory, 0.5 * times), [16, 6], rtol=1e-10
    )


def test_uniform_grid_by_hand():
    # second differences 2, -1, 3 over dt = 1/4, the outer ones with weight 3/2
    trajectory = np.cumsum([0.0, 1, 3, 2, 5])[:, None, None]
    by_hand = (1.5 * 2 + 1 + 1.5 * 3) * 4
    np.testing.assert_allclose(straightness(trajectory, np.linspace(0, 1, 5)), [by_hand])


def test_paths_are_averaged_after_the_absolute_value():
    trajectory = np.stack([UNIFORM**2, -3 * UNIFORM**2], axis=1)[..., None]
    np.testing.assert_allclose(straightness(trajectory, UNIFORM), [(2 + 6) / 2])


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("w", [1.0, 3 * np.pi])
def test_sine_converges_to_its_closed_form_with_second_order(w, power):
    """int_0^1 w^2 |sin w t| dt: w (1 - cos w), or 2 w for each of w / pi full half waves."""
    expected = w * (1 - np.cos(w)) if w < np.pi else 2 * w * w / np.pi
    for count in (50, 100, 200, 400):
        times = np.linspace(1, 0, count + 1) ** power
        found = straightness(paths(times, lambda t: np.sin(w * t)), times)
        np.testing.assert_allclose(found, expected, rtol=(power * w / count) ** 2)


def test_float32_paths_are_computed_in_float64():
    trajectory = paths(UNIFORM, np.sin).astype(np.float32)
    found = straightness(trajectory, UNIFORM.astype(np.float32))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, straightness(paths(UNIFORM, np.sin), UNIFORM), rtol=1e-3)


@pytest.mark.parametrize(
    ("trajectory", "times", "match"),
    [
        (np.zeros((3, 2)), np.zeros(3), r"trajectory has shape \(3, 2\), expected \[times"),
        (np.zeros((3, 0, 2)), np.zeros(3), "trajectory has shape"),
        (np.zeros((3, 1, 1)), [1.0, 0.0], r"times have shape \(2,\), expected \(3,\)"),
        (np.zeros((2, 1, 1)), [1.0, 0.0], "at least 3 times, got 2"),
        (np.zeros((3, 1, 1)), [1.0, 0.5, 0.5], "strictly rising or strictly falling"),
        (np.zeros((3, 1, 1)), [1.0, 0.0, 0.5], "strictly rising or strictly falling"),
        (np.zeros((3, 1, 1)), [1.0, np.nan, 0.5], "times: 1 of 3 values are NaN or infinite"),
        (np.full((3, 1, 1), np.inf), [1.0, 0.5, 0.0], "trajectory: 3 of 3 values are NaN"),
    ],
)
def test_impossible_trajectories_are_refused(trajectory, times, match):
    with pytest.raises(ValueError, match=match):
        straightness(trajectory, times)


# --- energy distance ----------------------------------------------------------------------------


def folded_mean(mean, std):
    """E|Z| of Z ~ N(mean, std^2)."""
    z = mean / std
    return 2 * std * stats.norm.pdf(z) + mean * (1 - 2 * stats.norm.cdf(-z))


def gaussian_energy_distance(mean, std):
    """Of N(0, 1) and N(mean, std^2)."""
    return 2 * folded_mean(mean, np.hypot(1, std)) - (2 + 2 * std) / np.sqrt(np.pi)


def test_energy_distance_by_hand():
    x, y = [[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0], [3.0, 0.0]]
    # between: (0 + 0 + 3 + 5 + 5 + 4)/6; within x: 5; within y: 2 (0 + 3 + 3)/6
    assert energy_distance(x, y) == pytest.approx(2 * 17 / 6 - 5 - 2)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.0, 1.0), (0.5, 2.0), (0.0, 3.0)])
def test_energy_distance_of_gaussians(mean, std):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(6_000, 1)), rng.normal(mean, std, size=(5_000, 1))
    assert energy_distance(x, y) == pytest.approx(gaussian_energy_distance(mean, std), abs=0.05)
    squared = stats.energy_distance(x[:, 0], y[:, 0]) ** 2  # with the diagonal: biased upwards
    assert energy_distance(x, y) == pytest.approx(squared, abs=5e-3)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 2.0)])
def test_energy_distance_is_unbiased_in_the_number_of_points(mean, std):
    rng = np.random.default_rng(2)
    found = [
        energy_distance(rng.normal(size=(3, 1)), rng.normal(mean, std, size=(2, 1)))
        for _ in range(20_000)
    ]
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(gaussian_energy_distance(mean, std), abs=4 * error)
    assert min(found) < 0


@pytest.mark.parametrize("name", sorted(POINT_CLOUDS))
def test_energy_distance_of_one_law_is_small(name):
    draw = POINT_CLOUDS[name]
    x = draw(2_000, seed=1)
    same, blurred = draw(2_000, seed=2), draw(2_000, seed=2, stretch=(5.0, 5.0))
    assert abs(energy_distance(x, same)) < 0.01 * energy_distance(x, blurred)


def test_energy_distance_is_a_matter_of_sets():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(200, 3)), rng.normal(1, 1, size=(150, 3))
    expected = energy_distance(x, y)
    assert energy_distance(rng.permutation(x), rng.permutation(y)) == pytest.approx(expected)
    assert energy_distance(y, x) == pytest.approx(expected)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    assert energy_distance(x @ rotation + 1e3, y @ rotation + 1e3) == pytest.approx(expected)
    assert energy_distance(7 * x, 7 * y) == pytest.approx(7 * expected)


@pytest.mark.parametrize("chunk", [1, 50, 1_000])  # less than a row of y, some rows, nearly all
def test_energy_distance_does_not_depend_on_the_chunk_size(chunk, monkeypatch):
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(41, 2)), rng.normal(1, 1, size=(30, 2))
    whole = energy_distance(x, y)
    monkeypatch.setattr(clouds, "_CHUNK", chunk)
    assert energy_distance(x, y) == pytest.approx(whole, rel=1e-12)


def test_energy_distance_holds_few_distances_at_once():
    x = np.random.default_rng(4).normal(size=(5_000, 2))
    energy_distance(x[:2], x[:2])  # imports are no part of it
    tracemalloc.start()
    try:
        energy_distance(x, x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 80e6  # all pairs would be 200 MB


# --- two-sample accuracy ------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(POINT_CLOUDS))
def test_one_law_cannot_be_told_apart(name):
    draw, count = POINT_CLOUDS[name], 3_000
    x, y = draw(count, seed=1), draw(2 * count, seed=2)  # cut to equal numbers
    assert abs(two_sample_accuracy(x, y) - 0.5) < 4 / (2 * np.sqrt(count))


def test_accuracy_of_one_law_varies_as_stated():
    rng = np.random.default_rng(5)
    found = [two_sample_accuracy(*rng.normal(size=(2, 100, 2)), seed=seed) for seed in range(30)]
    stated = 1 / (2 * np.sqrt(100))
    assert abs(np.mean(found) - 0.5) < 4 * stated / np.sqrt(len(found))
    assert np.std(found) < 1.5 * stated


@pytest.mark.parametrize("count", [2, 10, 500])
def test_far_apart_is_told_apart(count):
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(count, 3)), rng.normal(size=(count + 5, 3))
    assert two_sample_accuracy(x, y + 20) == 1


def test_equal_moments_are_not_enough():
    x = spiral(2_000, seed=7)
    y = np.random.default_rng(8).multivariate_normal(x.mean(axis=0), np.cov(x.T), size=2_000)
    assert two_sample_accuracy(x, y) > 0.8


def test_two_gaussians_are_told_apart_as_well_as_they_can_be():
    """No rule does better than the sign of x - d/2 for N(0, 1) and N(d, 1): accuracy Phi(d/2)."""
    rng, distance = np.random.default_rng(9), 2.0
    x, y = rng.normal(size=(5_000, 1)), rng.normal(distance, 1, size=(5_000, 1))
    assert two_sample_accuracy(x, y) == pytest.approx(stats.norm.cdf(distance / 2), abs=0.03)


def test_accuracy_ignores_units_and_repeats_itself():
    x, y = spiral(400, seed=1), spiral(400, seed=2, stretch=(1.5, 8))
    found = two_sample_accuracy(x, y)
    assert two_sample_accuracy(x, y) == found
    assert two_sample_accuracy(x * [0.5, 1024], y * [0.5, 1024]) == found
    assert two_sample_accuracy(x, y, seed=np.random.default_rng(0)) == found
    assert two_sample_accuracy(x, y, seed=1) != found


def test_a_constant_coordinate_does_no_harm():
    x = np.zeros((50, 2))
    assert two_sample_accuracy(x, x) == 0.5


# --- the border, and the table ------------------------------------------------------------------


@pytest.mark.parametrize("score", [energy_distance, two_sample_accuracy])
@pytest.mark.parametrize(
    ("x", "match"),
    [
        (np.zeros(5), r"x has shape \(5,\), expected \[points, dims\]: numbers v are"),
        (np.zeros((5, 0)), r"x has shape \(5, 0\)"),
        (np.zeros((2, 5, 2)), r"x has shape \(2, 5, 2\)"),
        (np.zeros((1, 2)), "x needs at least 2 points, got 1"),
        (np.array([[0.0, np.nan], [np.inf, 1.0]]), "x: 2 of 4 values are NaN or infinite"),
        (np.zeros((5, 3)), r"x has shape \(5, 3\) and y \(4, 2\): expected the same"),
    ],
)
def test_impossible_clouds_are_refused(score, x, match):
    with pytest.raises(ValueError, match=match):
        score(x, np.zeros((4, 2)))


def test_study_has_one_row_for_each_budget():
    truth = spiral(1_000, seed=1)
    asked = []

    def draw(budget):
        asked.append(budget)
        return spiral(1_000, seed=2) * (1 + 1 / budget)

    rows = evaluations_study(draw, truth, [2, 8, 32])
    assert [row.evaluations for row in rows] == asked == [2, 8, 32]
    for row in rows:
        samples = spiral(1_000, seed=2) * (1 + 1 / row.evaluations)
        assert row == CloudScore(
            row.evaluations, energy_distance(samples, truth), two_sample_accuracy(samples, truth)
        )
    assert rows[0].energy_distance > rows[1].energy_distance > rows[2].energy_distance
    assert rows[0].accuracy > rows[1].accuracy > rows[2].accuracy
    assert evaluations_study(draw, truth, []) == []


def test_study_checks_before_it_draws():
    def draw(budget):
        raise AssertionError("drawn")

    for budgets in ([4, 0], [2.5]):
        with pytest.raises(ValueError, match="budget must be a whole number, at least 1"):
            evaluations_study(draw, np.zeros((5, 2)), budgets)
    with pytest.raises(ValueError, match="truth needs at least 2 points"):
        evaluations_study(draw, np.zeros((1, 2)), [4])
    with pytest.raises(ValueError, match=r"draw\(4\): 10 of 10 values are NaN or infinite"):
        evaluations_study(lambda budget: np.full((5, 2), np.nan), np.zeros((5, 2)), [4])


def test_importing_loads_no_classifier():
    code = "import sys, tsdiff.evaluation.clouds; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
