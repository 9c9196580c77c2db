"""The point clouds against the laws that their docstrings state."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tsdiff.datasets import POINT_CLOUDS, checkerboard, spiral

CLOUDS = pytest.mark.parametrize("name", sorted(POINT_CLOUDS))


@CLOUDS
def test_is_built_from_its_seed(name):
    draw = POINT_CLOUDS[name]
    points = draw(50, seed=1)
    assert points.shape == (50, 2)
    assert points.dtype == np.float64
    np.testing.assert_array_equal(draw(50, seed=np.random.default_rng(1)), points)
    assert not np.array_equal(draw(50, seed=2), points)
    assert draw(1, seed=0).shape == (1, 2)
    generator = np.random.default_rng(1)
    assert not np.array_equal(draw(50, seed=generator), draw(50, seed=generator))


def test_names_say_which_coordinate_is_stretched():
    for name, draw, factors in (
        ("spiral-8Y", spiral, (1, 8)),
        ("checkerboard-6X", checkerboard, (6, 1)),
    ):
        plain = draw(100, seed=4, stretch=(1, 1))
        np.testing.assert_allclose(POINT_CLOUDS[name](100, seed=4), plain * factors, rtol=1e-15)


@pytest.mark.parametrize("frequency", [(0.3, 0.0), (0.0, 0.1), (1.1, -0.1), (4.0, 0.5)])
def test_spiral_has_its_characteristic_function(frequency):
    """E exp(i k·x): one integral over w = √u, of density 2w, times the noise's Gaussian."""
    count, k = 400_000, np.array(frequency)
    w = (np.arange(20_000) + 0.5) / 20_000
    angle = 3 * np.pi * w - np.pi / 2
    curve = 0.4 * (angle + np.pi) * np.array([np.cos(angle), 8 * np.sin(angle)])
    noise = np.exp(-0.5 * ((0.1 * k[0]) ** 2 + (0.8 * k[1]) ** 2))
    expected = (2 * w * np.exp(1j * (k @ curve))).mean() * noise
    found = np.exp(1j * (spiral(count, seed=5) @ k)).mean()
    assert abs(found - expected) < 4 / np.sqrt(count)
    assert abs(expected) > 10 / np.sqrt(count), "a frequency that tells nothing"


def test_spiral_turns_one_and_a_half_times_outward():
    """The radius of the curve runs from π/2 to 3.5π, scaled by 0.4; noise adds little to it."""
    radius = np.linalg.norm(spiral(100_000, seed=6, stretch=(1, 1)), axis=1) / 0.4
    assert radius.min() < 0.6 * np.pi
    assert 3.5 * np.pi < radius.max() < 3.5 * np.pi + 6 * 0.25
    quantiles = np.array([0.25, 0.5, 0.75])
    expected = 3 * np.pi * np.sqrt(quantiles) + np.pi / 2
    np.testing.assert_allclose(np.quantile(radius, quantiles), expected, rtol=0.01)


def test_checkerboard_is_uniform_on_its_eight_cells():
    count = 80_000
    points = checkerboard(count, seed=7, stretch=(1, 1))
    assert (np.abs(points) <= 2 * np.pi).all()
    assert (np.sin(points).prod(axis=1) < 0).all()
    places = points / np.pi + 2
    cells, inside = np.floor(places).astype(int), places % 1
    occupied, counts = np.unique(cells, axis=0, return_counts=True)
    assert len(occupied) == 8
    assert stats.chisquare(counts).pvalue > 1e-3
    # Within a cell: uniform in either coordinate, and the two independent.
    for axis in (0, 1):
        assert stats.kstest(inside[:, axis], "uniform").pvalue > 1e-3
    fine, _, _ = np.histogram2d(*inside.T, bins=10, range=[(0, 1), (0, 1)])
    assert stats.chisquare(fine.ravel()).pvalue > 1e-3


@CLOUDS
def test_impossible_arguments_are_refused(name):
    draw = POINT_CLOUDS[name]
    for count in (0, -3, 2.5):
        with pytest.raises(ValueError, match=rf"num_points must .* at least 1, got {count}"):
            draw(count, seed=0)
    for stretch in ((1.0,), (1.0, 0.0), (-1.0, 1.0), (np.inf, 1.0), (1.0, np.nan), 2.0):
        with pytest.raises(ValueError, match="two positive factors, of X and Y"):
            draw(5, seed=0, stretch=stretch)
