"""Negative log-likelihoods, and the random walk's density."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

from tsdiff.datasets import DataError
from tsdiff.evaluation import LastValue, RandomWalk, negative_log_likelihood


class Given:
    """Has the log-densities it was given."""

    def __init__(self, steps) -> None:
        self.steps, self.options = np.array(steps), None

    def log_prob(self, dataset, **options):
        self.options = options
        return self.steps


def flat_entries(count: int, dims: int = 2) -> list[dict]:
    return [{"target": np.ones((dims, 10)), "start": pd.Period("2024-01-01", "D")}] * count


def test_random_walk_has_the_density_of_its_steps(make_entry):
    entries = [make_entry(seed=s) for s in range(3)]
    found = RandomWalk(5, window=40).log_prob(entries)
    assert found.shape == (3, 5)
    for entry, steps in zip(entries, found, strict=True):
        increments = np.diff(entry["target"])
        past, future = increments[:, :-5][:, -40:], increments[:, -5:]
        law = multivariate_normal(np.zeros(3), past @ past.T / 40)
        np.testing.assert_allclose(steps, law.logpdf(future.T), rtol=1e-6)


def test_random_walk_knows_nothing_of_what_it_is_judged_by(make_entry):
    entry, moved = make_entry(), make_entry()
    moved["target"] = entry["target"].copy()
    moved["target"][:, -1] += 100.0
    one, other = RandomWalk(5).log_prob([entry, moved])
    np.testing.assert_array_equal(one[:-1], other[:-1])
    assert other[-1] < one[-1] - 10.0


def test_random_walk_leaves_out_what_is_missing(make_entry):
    entry = make_entry()
    entry["target"][1, -3] = np.nan
    whole = RandomWalk(5).log_prob([make_entry()])[0]
    (found,) = RandomWalk(5).log_prob([entry])
    assert np.isnan(found).tolist() == [False, False, True, True, False]
    np.testing.assert_allclose(found[[0, 1, 4]], whole[[0, 1, 4]])
    entry["target"][0, -6] = np.nan
    assert np.isnan(RandomWalk(5).log_prob([entry])[0, 0])


def test_random_walk_of_one_dimension():
    walk = np.random.default_rng(0).standard_normal(300).cumsum()
    start = pd.Period("2024-01-01", "D")
    flat, column = ({"target": target, "start": start} for target in (walk, walk[None]))
    one, other = RandomWalk(4).log_prob([flat, column])
    np.testing.assert_array_equal(one, other)


def test_singular_walks_are_widened_to_have_a_density():
    start = pd.Period("2024-01-01", "D")
    rng = np.random.default_rng(0)
    few = {"target": 100.0 + rng.standard_normal((12, 8)).cumsum(axis=1), "start": start}
    assert np.isfinite(RandomWalk(2).log_prob([few])).all()
    walk = rng.standard_normal((2, 200)).cumsum(axis=1)
    pegged = {"target": np.concatenate([walk, np.full((1, 200), 7.46)]), "start": start}
    (found,) = RandomWalk(3).log_prob([pegged])
    (without,) = RandomWalk(3).log_prob([{"target": walk, "start": start}])
    # The floor's density at its centre, and no more.
    peak = -np.log(1e-6 * 7.46) - 0.5 * np.log(2.0 * np.pi)
    np.testing.assert_allclose(found - without, peak, atol=1e-6)
    twins = {"target": np.concatenate([walk, walk[:1]]), "start": start}
    assert np.isfinite(RandomWalk(3).log_prob([twins])).all()


def test_random_walk_errors():
    start = pd.Period("2024-01-01", "D")
    with pytest.raises(DataError, match="leaves no history"):
        RandomWalk(5).log_prob([{"target": np.ones((2, 5)), "start": start}])
    with pytest.raises(ValueError, match="needs at least 2"):
        RandomWalk(5).log_prob([{"target": np.ones((2, 6)), "start": start}])
    assert RandomWalk(5).log_prob([]).shape == (0, 5)


def test_it_is_a_mean_over_values():
    predictor = Given([[-2.0, -4.0], [-6.0, np.nan]])
    score = negative_log_likelihood(predictor, flat_entries(2), method="elbo")
    assert predictor.options == {"method": "elbo"}
    assert score.value == pytest.approx((1.0 + 2.0 + 3.0) / 3)
    # Windows' sums differ from their shares of the mean by -1 and 1.
    assert score.error == pytest.approx(np.sqrt(2.0 * 2.0) / 3.0)


def test_its_error_is_the_standard_error_over_windows():
    rng = np.random.default_rng(0)
    steps = rng.standard_normal((40, 1)) + 0.1 * rng.standard_normal((40, 6))
    score = negative_log_likelihood(Given(steps), flat_entries(40, dims=1))
    assert score.value == pytest.approx(-steps.mean())
    assert score.error == pytest.approx(steps.mean(axis=1).std(ddof=1) / np.sqrt(40))


def test_ends_of_the_scale():
    one = negative_log_likelihood(Given([[-2.0]]), flat_entries(1))
    assert (one.value, np.isnan(one.error)) == (1.0, True)
    none = negative_log_likelihood(Given([[np.nan], [np.nan]]), flat_entries(2))
    assert np.isnan(none.value)
    never = negative_log_likelihood(Given([[-np.inf], [-1.0]]), flat_entries(2))
    assert never.value == np.inf


def test_errors_teach():
    with pytest.raises(TypeError, match="LastValue has no log_prob"):
        negative_log_likelihood(LastValue(3), flat_entries(1))
    with pytest.raises(ValueError, match="at least one window"):
        negative_log_likelihood(RandomWalk(3), [])
    with pytest.raises(ValueError, match=r"windows have \[1, 2\] dimensions"):
        negative_log_likelihood(RandomWalk(3), [*flat_entries(1, 1), *flat_entries(1, 2)])


@pytest.mark.archive
def test_random_walk_on_exchange_rate(archive_mirror):
    from tsdiff.datasets import get_dataset

    data = get_dataset("exchange_rate")
    score = negative_log_likelihood(RandomWalk(data.metadata.prediction_length), data.test)
    assert score.value == pytest.approx(-5.224, abs=0.001)
