"""A spread is that of the last years: the whole history of a window says what is typical now."""

from __future__ import annotations

import numpy as np
import pytest

import tsdiff
from tests.estimators.small import SMALL, entry, samples_of
from tsdiff.estimators.prepare import validation_set

UNTRAINED = SMALL | {"learning_rate": 1e-12, "max_epochs": 1, "num_validation_windows": 0}


def calming(length: int = 900, turn: int = 500) -> np.ndarray:
    """A walk of three dimensions whose steps are a third as large from ``turn`` on."""
    steps = np.random.default_rng(2).standard_normal((3, length))
    steps[:, turn:] /= 3.0
    return 50.0 + steps.cumsum(1)


@pytest.fixture(scope="module")
def shrunk():
    """A model whose windows say next to nothing of their own spread."""
    predictor = tsdiff.FlowMatchingEstimator(**UNTRAINED, scaling="whitened").fit(
        [entry(calming()[:, :550])], progress=False
    )
    predictor.model.coordinates.pseudo_count.fill_(1e4)
    return predictor


def test_forecasts_follow_a_calmer_market(shrunk):
    past = shrunk.model.past_length
    assert shrunk.model.history_length > past
    walk = calming()
    history = [entry(walk), entry(walk[:, -past:])]
    long, short = samples_of(shrunk, history, num_samples=2000).std(1)[:, 0]
    scale = shrunk.model.coordinates.typical_scale.numpy()
    np.testing.assert_allclose(short, scale, rtol=0.1)
    # Three half-lives of 48 steps: an eighth is what it was in training.
    expected = np.sqrt(0.875 / 9.0 + 0.125 * scale**2)
    np.testing.assert_allclose(long, expected, rtol=0.15)
    assert (long < 0.6 * short).all()


def test_densities_are_those_of_what_is_drawn(shrunk):
    walk = calming()
    drawn = samples_of(shrunk, [entry(walk[:, :-4])], num_samples=20_000)[0, :, 0]
    found = shrunk.log_prob([entry(walk)])[0, 0]
    centred = walk[:, -4] - drawn.mean(0)
    covariance = np.cov(drawn.T)
    _, volume = np.linalg.slogdet(2.0 * np.pi * covariance)
    expected = -0.5 * (centred @ np.linalg.solve(covariance, centred) + volume)
    assert found == pytest.approx(expected, abs=0.1)


def test_a_longer_history_than_that_changes_nothing(shrunk):
    walk = calming()
    length = shrunk.model.history_length
    whole = entry(walk)
    cut = entry(walk[:, -length:]) | {"start": whole["start"] + walk.shape[1] - length}
    np.testing.assert_array_equal(samples_of(shrunk, [whole]), samples_of(shrunk, [cut]))


def test_validation_draws_as_forecasts_do(shrunk):
    model, walk = shrunk.model, calming()
    windows = validation_set([entry(walk)], model)
    assert windows.past.target.shape == (1, model.history_length, 3)
    assert windows.full.target.shape == (1, model.past_length + 4, 3)
    np.testing.assert_array_equal(windows.truth[0].numpy().T, walk[:, -4:])
    np.testing.assert_array_equal(windows.full.target[0, -4:].numpy().T, walk[:, -4:])
    np.testing.assert_array_equal(windows.past.target[0, -1].numpy(), walk[:, -5])
