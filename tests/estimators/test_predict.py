"""What ``predict`` makes of data as people have them."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

import tsdiff
from tests.estimators.small import SMALL, entry, frame, random_walk, samples_of
from tsdiff.datasets import to_frame
from tsdiff.estimators import SavedModelError
from tsdiff.random import seeded

FlowMatching = tsdiff.FlowMatchingEstimator


@pytest.fixture(scope="module")
def trained():
    return FlowMatching(**SMALL).fit(frame(random_walk()), progress=False)


def moved(predictor):
    """A copy whose network, whatever its training came to, has something to say."""
    copy = deepcopy(predictor)
    torch.nn.init.normal_(copy.model.decoder.network.outlet.weight, 0.0, 0.3, seeded(1))
    return copy


def test_columns_are_matched_by_name(trained):
    table = frame(random_walk())
    usual = trained.predict(table, quantiles=[0.5])
    shuffled = trained.predict(table[["x2", "x0", "x1"]], quantiles=[0.5])
    pd.testing.assert_frame_equal(shuffled, usual)
    with pytest.raises(tsdiff.DataError, match="lack x2 and have zz, unknown"):
        trained.predict(table.rename(columns={"x2": "zz"}))
    unnamed = [entry(random_walk())]
    assert np.isfinite(samples_of(trained, unnamed)).all()


@pytest.mark.parametrize(
    ("freq", "expected"),
    [
        ("ME", ["2033-05-31", "2033-06-30", "2033-07-31", "2033-08-31"]),
        ("MS", ["2033-05-01", "2033-06-01", "2033-07-01", "2033-08-01"]),
        ("6h", ["2020-02-10 00:30", "2020-02-10 06:30", "2020-02-10 12:30", "2020-02-10 18:30"]),
    ],
)
def test_times_continue_the_index(freq, expected):
    start = "2020-01-01 00:30" if freq == "6h" else "2020-01-01"
    index = pd.date_range(start, periods=160, freq=freq)
    table = pd.DataFrame(random_walk().T, index=index, columns=["a", "b", "c"])
    predictor = FlowMatching(**SMALL | {"max_epochs": 1}).fit(table, progress=False)
    for data in (table, tsdiff.from_frame(table)):
        times = predictor.predict(data, num_samples=5, quantiles=[0.5])["time"].unique()
        assert list(pd.DatetimeIndex(times)) == list(pd.DatetimeIndex(expected))


def test_universal_time_is_continued_as_such():
    predictor = FlowMatching(**SMALL).fit(frame(random_walk(), "h"), progress=False)
    table = frame(random_walk(), "h").tz_localize("UTC")
    for rows in (table, table.iloc[-2:]):  # two rows tell no frequency
        times = predictor.predict(rows, 5, quantiles=[0.5])["time"]
        assert times.min() == table.index[-1] + pd.Timedelta(1, "h")


@pytest.mark.parametrize("length", [2, 5, 160])
def test_business_days_go_on_as_business_days(length):
    """Five days of one week could be any days: the model knows better."""
    index = pd.date_range("2024-01-01 06:00", periods=160, freq="B")
    table = pd.DataFrame(random_walk().T, index=index, columns=["a", "b", "c"])
    predictor = FlowMatching(**SMALL | {"max_epochs": 1}).fit(table, progress=False)
    times = predictor.predict(table[:length], 5, quantiles=[0.5])["time"].unique()
    expected = pd.date_range(index[length - 1], periods=5, freq="B")[1:]
    assert list(pd.DatetimeIndex(times)) == list(expected)


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_refused_before_anything_is_drawn(trained, device):
    table = frame(random_walk())
    with pytest.raises(ValueError, match=f"device='{device}' can't be used .*leave it out"):
        trained.predict(table, device=device)
    with pytest.raises(ValueError, match=f"device='{device}' can't be used"):
        trained.log_prob(table, device=device)


@pytest.mark.parametrize("seed", [None, "a", 0.5])
def test_a_seed_that_is_none_is_named(trained, seed):
    for draw in (trained.predict, trained.log_prob):
        with pytest.raises(ValueError, match=f"seed must be an integer, got {seed!r}"):
            draw([entry(random_walk())], seed=seed)
    assert next(trained.model.parameters()).device.type == "cpu"


def test_forecasts_widen_with_the_silence_before_them():
    target = random_walk(400, 2)
    options = SMALL | {"scaling": "whitened", "max_epochs": 1}
    predictor = FlowMatching(**options).fit([entry(target)], progress=False)
    spreads = {}
    for silence in (0, 5, 20):
        data = target.copy()
        if silence:
            data[:, -silence:] = np.nan
        (forecast,) = predictor.predict([entry(data)], num_samples=800)
        assert forecast.start_date == entry(target)["start"] + 400
        assert forecast.samples.shape == (800, 4, 2)
        spreads[silence] = forecast.samples[:, 0].std(0).mean()
    # A random walk's variance grows with the steps since it was last seen.
    assert spreads[5] / spreads[0] == pytest.approx(np.sqrt(6), rel=0.25)
    assert spreads[20] / spreads[0] == pytest.approx(np.sqrt(21), rel=0.25)


def test_more_samples_than_a_chunk(trained):
    many = samples_of(trained, [entry(random_walk())], num_samples=1003)
    assert many.shape == (1, 1003, 4, 3)
    assert len(np.unique(many[0, :, 0, 0])) == 1003


def test_memory_has_no_say_in_what_is_drawn(trained, monkeypatch):
    """Wide data are drawn a few series at a time, and no series sees the others."""
    data = [entry(random_walk(seed=seed)) for seed in range(5)]
    sizes = []
    sample = type(trained.model).sample

    def spied(model, window, *arguments, **options):
        sizes.append(len(window.target))
        return sample(model, window, *arguments, **options)

    monkeypatch.setattr(type(trained.model), "sample", spied)
    together = samples_of(trained, data, num_samples=7)
    monkeypatch.setattr("tsdiff.estimators.predictor._MOST_VALUES", 2 * 7 * 3)
    apart = samples_of(trained, data, num_samples=7)
    assert sizes == [5, 2, 2, 1]
    np.testing.assert_allclose(apart, together, rtol=1e-5)


def test_reduced_precision_is_near_and_leaves_the_model_alone(trained):
    trained, data = moved(trained), [entry(random_walk())]
    usual = samples_of(trained, data)
    reduced = samples_of(trained, data, precision="bf16")
    assert not np.array_equal(reduced, usual)
    np.testing.assert_allclose(reduced, usual, atol=0.1 * usual.std())
    np.testing.assert_array_equal(samples_of(trained, data), usual)
    with pytest.raises(ValueError, match="unknown precision 'fp8': expected one of fp32, bf16"):
        trained.predict(data, precision="fp8")
    with pytest.raises(ValueError, match="unknown precision 'fp8'"):
        FlowMatching(**SMALL, precision="fp8").fit(data, progress=False)


def test_training_in_reduced_precision(tmp_path):
    data = [entry(random_walk())]
    options = SMALL | {"precision": "bf16", "num_validation_windows": 0}
    predictor = FlowMatching(**options).fit(data, progress=False)
    assert all(p.dtype == torch.float32 for p in predictor.model.parameters())
    drawn = samples_of(predictor, data)
    assert np.isfinite(drawn).all()
    predictor.save(tmp_path)
    np.testing.assert_array_equal(samples_of(tsdiff.load(tmp_path), data), drawn)
    assert not np.array_equal(samples_of(predictor, data, precision="fp32"), drawn)


def test_a_compiled_network_is_the_network(trained, monkeypatch):
    compiled, data = moved(trained), [entry(random_walk())]
    usual = samples_of(compiled, data)
    compiled.model.decoder.network.compiled = True
    calls = []

    def translate(module, inputs):
        calls.append(len(inputs))
        return module

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=translate))
    np.testing.assert_allclose(samples_of(compiled, data), usual, rtol=1e-5)
    assert calls

    def broken(module, inputs):
        raise RuntimeError("no compiler")

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile.func, backend=broken))
    with pytest.warns(UserWarning, match="can't be compiled here"):
        np.testing.assert_array_equal(samples_of(compiled, data), usual)


@pytest.mark.parametrize("quantiles", [0.5, [], [0.0, 0.5], [1.5], "median"])
def test_quantiles_that_are_none(trained, quantiles):
    with pytest.raises(ValueError, match="levels between 0 and 1"):
        trained.predict(frame(random_walk()), quantiles=quantiles)


def test_data_frames_are_scored_as_they_are(trained):
    table = frame(random_walk())
    result = tsdiff.evaluate(trained, table)
    assert result.name == "flow matching"
    assert (
        result["crps_sum"].value
        == tsdiff.evaluate(trained, tsdiff.from_frame(table))["crps_sum"].value
    )
    again = tsdiff.backtest(FlowMatching(**SMALL), table, num_windows=2)
    assert again.num_windows == 2


def test_what_is_no_data_says_what_would_be():
    with pytest.raises(TypeError, match=r"got a str: use tsdiff\.read_series"):
        FlowMatching(**SMALL).fit("data.csv")
    with pytest.raises(TypeError, match="got a ndarray"):
        FlowMatching(**SMALL).fit(random_walk())


def test_too_short_to_validate_is_left_untrained_and_says_so():
    short = [entry(random_walk(14))]
    with pytest.warns(UserWarning, match="too short to hold out"):
        predictor = FlowMatching(**SMALL).fit(short, progress=False)
    assert predictor.history == []
    assert np.isfinite(samples_of(predictor, short)).all()
    trained = FlowMatching(**SMALL | {"num_validation_windows": 0}).fit(short, progress=False)
    assert len(trained.history) == SMALL["max_epochs"]


@pytest.mark.parametrize("length", [24, 40, 72, 120])
def test_few_seasons_are_forecast_with_honest_intervals(length):
    """Ordinary business data: monthly, two series, a yearly season and noise."""
    covered = []
    for seed in range(6):  # from all parts of the season
        rng = np.random.default_rng(seed)
        wave = 10 + 3 * np.sin(2 * np.pi * (np.arange(length + 6) + 2 * seed) / 12)
        values = wave + rng.standard_normal((2, length + 6))
        data = [entry(values[:, :length], freq="M")]
        estimator = FlowMatching(prediction_length=6, max_epochs=3, num_batches_per_epoch=10)
        low, high = np.quantile(
            samples_of(estimator.fit(data, progress=False), data, num_samples=200)[0],
            [0.1, 0.9],
            axis=0,
        )
        truth = values[:, length:].T
        covered.append(((low <= truth) & (truth <= high)).mean())
    # Two years hardly show that there is a season.
    assert (0.5 if length == 24 else 0.6) < np.mean(covered) < 0.97


def test_lags_and_contexts_longer_than_the_data_are_refused():
    with pytest.raises(tsdiff.DataError, match="longest of lags is 500"):
        FlowMatching(**SMALL | {"lags": (1, 500)}).fit([entry(random_walk())])
    with pytest.raises(tsdiff.DataError, match="context_length is 10000"):
        FlowMatching(**SMALL | {"context_length": 10_000}).fit([entry(random_walk())])


def test_a_validation_without_a_value_never_wins():
    options = SMALL | {"learning_rate": 1e3, "num_batches_per_epoch": 3, "max_epochs": 1}
    predictor = FlowMatching(**options).fit([entry(random_walk())], progress=False)
    assert np.isfinite(samples_of(predictor, [entry(random_walk())])).all()


def test_damaged_and_foreign_files(trained, tmp_path):
    trained.save(tmp_path)
    trained.save(tmp_path)  # a model may replace a model
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(SavedModelError, match=r"1000 bytes\) is damaged"):
        tsdiff.load(tmp_path)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text('{"mine": 1}')
    with pytest.raises(SavedModelError, match="would be overwritten"):
        trained.save(foreign)
    assert (foreign / "config.json").read_text() == '{"mine": 1}'


def test_a_predictor_says_what_it_is(trained):
    assert repr(trained) == (
        "<GenerativePredictor: flow matching, 3 dimensions, freq 'D', 4 steps ahead, "
        "decoding 'autoregressive'>"
    )


def test_the_order_of_columns_has_no_say_in_scores(trained):
    table = frame(random_walk())
    shuffled = table[["x2", "x0", "x1"]]
    usual = next(trained.predict(table)).samples
    np.testing.assert_array_equal(next(trained.predict(shuffled)).samples, usual[..., [2, 0, 1]])
    for score in ("crps", "energy_score", "crps_sum"):
        one, other = (tsdiff.evaluate(trained, data)[score].value for data in (table, shuffled))
        assert one == pytest.approx(other, rel=1e-12)


def test_names_go_with_forecasts(trained):
    """In the order of the samples, which is that of the data."""
    table = frame(random_walk())
    wanted = trained.predict(table, quantiles=[0.5])
    for data in (table, table[["x2", "x0", "x1"]]):
        (forecast,) = trained.predict(data)
        assert forecast.info["dimension_names"] == list(data.columns)
        found = to_frame(forecast, [0.5]).set_index(["time", "dimension"])["0.5"]
        expected = wanted.set_index(["time", "dimension"])["0.5"].loc[found.index]
        pd.testing.assert_series_equal(found, expected)
    (unnamed,) = trained.predict([entry(random_walk())])
    assert unnamed.info["dimension_names"] == ["x0", "x1", "x2"]
    both = tsdiff.EnsemblePredictor([trained, trained])
    assert set(to_frame(both.predict(table))["dimension"]) == {"x0", "x1", "x2"}


def test_columns_that_are_numbers_are_names_too():
    table = frame(random_walk()).set_axis([0, 1, 2], axis=1)
    predictor = FlowMatching(**SMALL).fit(table, progress=False)
    usual = next(predictor.predict(table)).samples
    shuffled = next(predictor.predict(table[[2, 0, 1]])).samples
    np.testing.assert_array_equal(shuffled, usual[..., [2, 0, 1]])


def test_the_order_of_columns_has_no_say_in_validation():
    table = frame(random_walk())
    train, estimator = table.iloc[:-8], FlowMatching(**SMALL)
    one, other = (
        estimator.fit(train, validation, progress=False)
        for validation in (table, table[["x2", "x0", "x1"]])
    )
    assert one.history == other.history
