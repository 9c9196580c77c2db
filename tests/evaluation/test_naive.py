"""Baselines: their laws, missing values, repeatability, and the archive's known figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from gluonts.model.predictor import Predictor

from tsdiff.datasets import entry_to_frame
from tsdiff.evaluation import LastValue, RandomWalk, SeasonalNaive, baselines, evaluate
from tsdiff.evaluation.naive import season_length

START = pd.Period("2024-01-01", "D")


def paths(predictor, target, num_samples=1, **kwargs):
    entry = {"target": np.asarray(target, dtype=float), "start": START}
    (forecast,) = predictor.predict([entry], num_samples=num_samples, **kwargs)
    assert forecast.start_date == START + entry["target"].shape[-1]
    return forecast.samples


def test_last_value_repeats_the_last_observation():
    samples = paths(LastValue(2), [[1, 2, 3], [4, 5, np.nan]], num_samples=3)
    np.testing.assert_array_equal(samples, np.tile([3.0, 5.0], (3, 2, 1)))


def test_seasonal_naive_continues_the_season():
    samples = paths(SeasonalNaive(5, season_length=3), [[9, 1, 2, 3, 4, 5, 6]])
    np.testing.assert_array_equal(samples[0, :, 0], [4, 5, 6, 4, 5])


def test_seasonal_naive_goes_back_for_missing_values():
    nan = np.nan
    samples = paths(SeasonalNaive(3, season_length=3), [[1, 2, nan, nan, 5, nan]])
    # first place: one season back; last place: never seen, so the last value of all
    np.testing.assert_array_equal(samples[0, :, 0], [1, 5, 5])
    short = paths(SeasonalNaive(3, season_length=3), [[7, 8]])
    np.testing.assert_array_equal(short[0, :, 0], [8, 7, 8])


def walk(dims=3, length=2000, seed=0):
    rng = np.random.default_rng(seed)
    return 10 + np.cumsum(rng.normal(size=(length, dims)) @ rng.normal(size=(dims, dims)), axis=0).T


def test_random_walk_has_the_joint_covariance_growing_linearly():
    history = walk()
    steps = np.diff(history)[:, -60:]
    covariance = steps @ steps.T / 60
    samples = paths(RandomWalk(10), history, num_samples=40_000)
    deviations = samples - history[:, -1]
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    for horizon in (1, 4, 10):
        at = deviations[:, horizon - 1]
        np.testing.assert_allclose(at.mean(0), 0, atol=4 * np.sqrt(horizon * scale.max() / 40_000))
        np.testing.assert_allclose(np.cov(at.T) / scale / horizon, covariance / scale, atol=0.03)


def test_random_walk_survives_more_dimensions_than_increments():
    history = walk(dims=12, length=6)
    samples = paths(RandomWalk(4), history, num_samples=50)
    assert np.isfinite(samples).all()
    assert samples.std(axis=0).min() > 0


def test_random_walk_keeps_its_variance_under_missing_values():
    history = walk(dims=2, length=4000)
    holed = history.copy()
    rng = np.random.default_rng(5)
    holed[rng.random(holed.shape) < 0.3] = np.nan
    holed[:, -1] = history[:, -1]
    window = 3000
    full = paths(RandomWalk(1, window=window), history, num_samples=20_000).std(axis=0)
    gappy = paths(RandomWalk(1, window=window), holed, num_samples=20_000).std(axis=0)
    np.testing.assert_allclose(gappy, full, rtol=0.06)


def test_random_walk_widens_with_the_age_of_the_last_value():
    history = walk(dims=2)
    stale = history.copy()
    stale[0, -3:] = np.nan
    samples = paths(RandomWalk(1), stale, num_samples=20_000)[:, 0]
    expected = paths(RandomWalk(4), history[:, :-3], num_samples=20_000)[:, 3]
    assert samples[:, 0].mean() == pytest.approx(history[0, -4], abs=0.1)
    # the windows differ by three increments in 60
    assert samples[:, 0].std() == pytest.approx(expected[:, 0].std(), rel=0.1)
    late = np.full((2, 50), np.nan)
    late[0], late[1, -1] = np.arange(50.0), 4.0
    assert paths(RandomWalk(3), late, num_samples=5)[..., 1].std() == 0  # nothing known, no spread


def test_random_walk_of_a_value_older_than_its_window_still_widens():
    """The last increments that a dimension has are its window, however long ago they were."""
    history = walk(dims=2)
    stale = history.copy()
    stale[0, -100:] = np.nan
    spread = paths(RandomWalk(1), stale, num_samples=20_000)[:, 0].std(axis=0)
    before = np.diff(history[0, :-100])[-60:]
    assert spread[0] == pytest.approx(np.sqrt(101 * np.mean(before**2)), rel=0.03)
    fresh = paths(RandomWalk(1), history, num_samples=20_000)[:, 0].std(axis=0)
    assert spread[1] == pytest.approx(fresh[1], rel=0.03)


def test_random_walk_stale_values_share_the_steps_that_neither_saw():
    """Cov is min(k_1, k_2) steps' worth, not sqrt(k_1 k_2): beyond that only one of them moved."""
    moves = np.random.default_rng(3).normal(size=400)
    history = np.cumsum(np.stack([moves, moves]), axis=1)
    history[0, -9:] = history[1, -1:] = np.nan
    samples = paths(RandomWalk(1, window=300), history, num_samples=40_000)[:, 0]
    found = np.cov(samples.T)
    assert found[0, 1] / found[1, 1] == pytest.approx(1.0, rel=0.05)
    assert found[0, 0] / found[1, 1] == pytest.approx(5.0, rel=0.05)


def test_random_walk_counts_of_a_long_gap_what_its_window_holds():
    """One move of 100 steps, 50 of them within the window, isn't 100 steps' worth of variance."""
    variances = []
    for seed in range(300):
        history = np.cumsum(np.random.default_rng(seed).normal(size=(1, 300)), axis=1)
        history[0, 190:290] = np.nan
        steps = RandomWalk(1)._scaled_increments(history)
        assert steps.shape == (60, 1)
        variances.append((steps**2).sum())
    assert np.mean(variances) == pytest.approx(1.0, rel=0.2)  # 1.85 if it were


@pytest.mark.parametrize(
    "predictor", [*baselines("D", 2, statistical=True).values()], ids=lambda p: type(p).__name__
)
def test_infinite_values_are_told(predictor):
    history = walk(dims=2, length=200)
    history[1, 5] = np.inf
    with pytest.raises(ValueError, match=r"infinite in dimension 1 at position 5 .*by NaN"):
        paths(predictor, history)


def test_forecasts_repeat_and_do_not_depend_on_the_other_series(make_entry):
    entries = [make_entry(seed=s) for s in range(3)]
    predictor = RandomWalk(4)
    three = [f.samples for f in predictor.predict(entries, num_samples=7, seed=1)]
    one = next(predictor.predict(entries[:1], num_samples=7, seed=1)).samples
    other = next(predictor.predict(entries[:1], num_samples=7, seed=2)).samples
    np.testing.assert_array_equal(three[0], one)
    assert not np.array_equal(one, other)
    assert three[0].shape == (7, 4, 3)


def test_univariate_targets_give_univariate_forecasts():
    assert paths(RandomWalk(4), np.arange(20.0), num_samples=7).shape == (7, 4)


@pytest.mark.parametrize(
    "predictor", [LastValue(3), SeasonalNaive(3, season_length=7), RandomWalk(3, window=20)]
)
def test_serialize_round_trip(predictor, tmp_path, make_entry):
    predictor.serialize(tmp_path)
    loaded = Predictor.deserialize(tmp_path)
    assert loaded == predictor
    entry = make_entry()
    before, after = (next(p.predict([entry], num_samples=5)).samples for p in (predictor, loaded))
    np.testing.assert_array_equal(before, after)


def test_a_frame_gives_what_its_entry_gives(make_entry):
    entry = make_entry(dimension_names=["a", "b", "c"])
    df = entry_to_frame(entry)
    ours, theirs = (next(RandomWalk(4).predict(data, 7)) for data in (df, [entry]))
    np.testing.assert_array_equal(ours.samples, theirs.samples)
    assert ours.start_date == theirs.start_date
    np.testing.assert_array_equal(
        RandomWalk(4, window=30).log_prob(df), RandomWalk(4, window=30).log_prob([entry])
    )


def test_quantiles_come_as_a_table():
    """With the samples' quantiles, the columns' names, and times that go on as the index does."""
    index = pd.date_range("2020-01-31", periods=40, freq="ME")
    df = pd.DataFrame(walk(dims=2, length=40).T, index=index, columns=["north", "south"])
    table = RandomWalk(3).predict(df, quantiles=[0.1, 0.9])
    samples = next(RandomWalk(3).predict(df)).samples
    assert list(table) == ["item_id", "time", "dimension", "mean", "0.1", "0.9"]
    assert list(table["time"].unique()) == list(pd.date_range("2023-05-31", periods=3, freq="ME"))
    south = table[table["dimension"] == "south"]
    np.testing.assert_allclose(south["mean"], samples[..., 1].mean(axis=0))
    low, high = np.quantile(samples[..., 1], [0.1, 0.9], axis=0, method="inverted_cdf")
    assert (abs(south["0.1"] - low) < 0.2 * (high - low)).all()
    with pytest.raises(ValueError, match="levels between 0 and 1"):
        RandomWalk(3).predict(df, quantiles=[10, 90])
    entries = [
        {"target": df.to_numpy().T, "start": START, "dimension_names": n} for n in ("ab", "ba")
    ]
    table = RandomWalk(3).predict(entries, quantiles=[0.5])
    assert list(table["dimension"][::3]) == ["a", "b", "b", "a"]


@pytest.mark.filterwarnings("error")
def test_baselines_by_frequency(make_entry):
    assert list(baselines("h", 24)) == ["last value", "seasonal naive", "random walk"]
    assert list(baselines("YE", 2)) == ["last value", "random walk"]
    assert [season_length(f) for f in ("h", "D", "B", "15min", "ME", "W-SUN")] == [
        24, 7, 5, 96, 12, 52,
    ]  # fmt: skip
    for freq in ("h", "M"):
        entry = make_entry(freq=freq)
        for data in (entry_to_frame(entry), [entry]):
            assert baselines(data, 24) == baselines(freq, 24)
    with pytest.raises(TypeError, match="read_series"):
        baselines(np.zeros(3), 24)
    with pytest.raises(ValueError, match="the data set is empty"):
        baselines([], 24)
    with pytest.raises(ValueError, match="unknown frequency 'often'"):
        season_length("often")


def test_errors_teach():
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        RandomWalk(3, window=0)
    with pytest.raises(TypeError, match=r"prediction_length must be an integer, got 2\.5"):
        LastValue(2.5)
    with pytest.raises(ValueError, match="dimension 1 has no observed value"):
        paths(LastValue(2), [[1, 2], [np.nan, np.nan]])
    with pytest.raises(ValueError, match="needs at least 2"):
        paths(RandomWalk(2), [[1]])
    with pytest.raises(ValueError, match="num_samples must be at least 1"):
        paths(LastValue(2), [[1]], num_samples=0)
    with pytest.raises(TypeError, match=r"LastValue\.predict has no argument 'nonsense'; it has: "):
        paths(LastValue(2), [[1]], nonsense=3)
    with pytest.raises(TypeError, match=r"RandomWalk\.log_prob has no argument 'method'"):
        RandomWalk(2).log_prob([], method="ode")
    with pytest.raises(TypeError, match="wrap it"):
        LastValue(2).predict({"target": [[1.0]], "start": START})
    with pytest.raises(TypeError, match="read_series"):
        LastValue(2).predict("sales.csv")


@pytest.mark.archive
def test_random_walk_on_exchange_rate(archive_mirror):
    """The figure of the literature's protocol: 0.0046, Monte-Carlo sd 0.0002."""
    from tsdiff.datasets import get_dataset

    data = get_dataset("exchange_rate")
    predictor = RandomWalk(data.metadata.prediction_length)
    scores = [evaluate(predictor, data.test, seed=seed)["crps_sum_q19"] for seed in range(8)]
    assert np.mean([score.value for score in scores]) == pytest.approx(0.0046, abs=0.0003)
    assert all(1e-4 < score.error < 4e-4 for score in scores)
