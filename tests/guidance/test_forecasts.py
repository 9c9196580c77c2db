"""``predict(guidance=...)``: forecasts of a random walk, whose law is known, given its future."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import tsdiff
from tests.estimators.small import SMALL, entry, frame, random_walk, samples_of
from tsdiff.guidance import (
    Bounds,
    ClassifierFree,
    Energy,
    Guidance,
    GuidanceError,
    GuidanceWarning,
    Observed,
    QuantileTarget,
    Total,
)

HORIZON, DIMS, COUNT = 4, 3, 1000
SERIES = random_walk(400, DIMS)
LAST = SERIES[:, -1]


@pytest.fixture(scope="module")
def walk():
    """A model that is exactly a random walk: its network is zero, its increments Gaussian."""
    options = {"scaling": "whitened", "linear": "none", "max_epochs": 1}
    estimator = tsdiff.FlowMatchingEstimator(**SMALL | options, num_validation_windows=0)
    predictor = estimator.fit([entry(SERIES)], progress=False)
    decoder = predictor.model.decoder
    # Untrained, its increments are independent in whitened coordinates; it shall know that.
    decoder.set_data_moments(decoder.axes.mean, torch.diag(decoder.axes.unit.square()))
    with torch.no_grad():
        for parameter in decoder.network.outlet.parameters():
            parameter.zero_()
    return predictor


@pytest.fixture(scope="module")
def law(walk):
    """Mean ``[T · D]`` and covariance of the future, from the model's own coordinates."""
    from tsdiff.datasets import as_entries
    from tsdiff.transforms import forecast_windows, load_series

    series = load_series(as_entries([entry(SERIES)]), "D", HORIZON)
    window = forecast_windows(series, walk.model.history_length, HORIZON)
    root = walk.model.frame(walk.model.informed(window)).matrix()[0]
    axes = walk.model.decoder.axes
    drift = (root @ axes.mean.double()).numpy()
    step = (root * axes.unit.double().square() @ root.T).numpy()
    mean = np.concatenate([LAST + drift * (i + 1) for i in range(HORIZON)])
    order = np.arange(1, HORIZON + 1)
    return mean, np.kron(np.minimum.outer(order, order), step)


def conditional(law, matrix, values, noise=0.0):
    mean, covariance = law
    total = matrix @ covariance @ matrix.T + noise**2 * np.eye(len(matrix))
    gain = covariance @ matrix.T @ np.linalg.inv(total)
    return mean + gain @ (values - matrix @ mean), covariance - gain @ matrix @ covariance


def drawn(predictor, guidance, seeds=4, history=SERIES, num_steps=4):
    """``[seeds · COUNT, T, D]``; of a Gaussian law any number of steps is exact."""
    return np.concatenate(
        [
            samples_of(
                predictor,
                [entry(history)],
                num_samples=COUNT,
                guidance=guidance,
                seed=seed,
                num_steps=num_steps,
            )[0]
            for seed in range(seeds)
        ]
    )


def assert_conditional(samples, law, matrix, values, noise=0.0):
    expected, left = conditional(law, matrix, values, noise)
    flat = samples.reshape(len(samples), -1)
    std = np.sqrt(np.diag(law[1]))
    assert np.abs((flat.mean(0) - expected) / std).max() < 0.05
    assert np.abs((np.cov(flat.T) - left) / np.outer(std, std)).max() < 0.05


def test_a_dimension_that_is_known(walk, law):
    path = LAST[0] + np.array([1.0, 2.0, 1.5, 2.0])
    values = np.full((HORIZON, DIMS), np.nan)
    values[:, 0] = path
    samples = drawn(walk, Guidance(Observed(values), particles=1), seeds=12)
    np.testing.assert_array_equal(samples[..., 0], np.broadcast_to(path, (len(samples), HORIZON)))
    assert_conditional(samples, law, np.kron(np.eye(HORIZON), [[1.0, 0.0, 0.0]]), path)


def test_a_later_step_says_something_about_earlier_ones(walk, law):
    values = np.full((HORIZON, DIMS), np.nan)
    values[3] = LAST + 1.0
    samples = drawn(walk, Guidance(Observed(values), particles=16), seeds=3)
    np.testing.assert_array_equal(samples[:, 3], np.broadcast_to(LAST + 1.0, (len(samples), DIMS)))
    assert_conditional(samples, law, np.eye(HORIZON * DIMS)[-DIMS:], LAST + 1.0)


def test_a_known_total(walk, law):
    totals = LAST.sum() + np.array([1.0, 2.0, 0.0, 3.0])
    samples = drawn(walk, Guidance(Total(totals), particles=1), seeds=12)
    np.testing.assert_allclose(
        samples.sum(-1), np.broadcast_to(totals, samples.shape[:2]), rtol=1e-8
    )
    assert_conditional(samples, law, np.kron(np.eye(HORIZON), np.ones((1, DIMS))), totals)


def test_another_models_point_forecast_becomes_a_distribution(walk, law):
    point = np.tile(LAST + 1.0, (HORIZON, 1))
    samples = drawn(walk, Observed(point, std=0.5), seeds=8)
    assert_conditional(samples, law, np.eye(HORIZON * DIMS), point.ravel(), noise=0.5)


def test_an_energy_that_is_quadratic_is_an_observation_with_errors(walk, law):
    goal = torch.tensor(LAST + 1.0)

    def energy(values, step):
        return 0.5 * ((values - goal) / 0.5).square().sum(-1)

    samples = drawn(walk, Energy(energy))
    assert_conditional(samples, law, np.eye(HORIZON * DIMS), np.tile(goal, HORIZON), noise=0.5)


def test_bounds_are_kept_and_the_law_truncated(walk, law):
    lower = LAST - np.array([0.5, np.inf, 0.0])
    samples = drawn(walk, Bounds(lower=lower, upper={"1": LAST[1] + 1.0}))
    assert (samples >= lower).all()
    assert (samples[..., 1] <= LAST[1] + 1.0).all()
    mean, covariance = law
    free = np.random.default_rng(0).multivariate_normal(mean, covariance, size=400_000)
    paths = free.reshape(-1, HORIZON, DIMS)
    kept = paths[((paths >= lower) & (paths[..., 1:2] <= LAST[1] + 1.0)).all((1, 2))]
    std = np.sqrt(np.diag(covariance)).reshape(HORIZON, DIMS)
    assert np.abs((samples.mean(0) - kept.mean(0)) / std).max() < 0.05
    assert np.abs(samples.std(0) / kept.std(0) - 1.0).max() < 0.06


def test_conditions_hold_together(walk):
    totals = LAST.sum() + np.full(HORIZON, 3.0)
    guidance = [Bounds(lower=LAST), Total(totals)]
    samples = drawn(walk, guidance, seeds=1)
    assert (samples >= LAST - 1e-9).all()
    np.testing.assert_allclose(samples.sum(-1), totals[0], rtol=1e-5)


def test_quantiles_that_are_wanted(walk):
    wanted = LAST[1] + np.array([0.0, 2.0, 3.0])
    target = QuantileTarget([0.1, 0.5, 0.9], [wanted, wanted], weights="1")
    samples = drawn(walk, target)
    found = np.quantile(samples[:, 1, 1], [0.1, 0.5, 0.9])
    np.testing.assert_allclose(found, wanted, atol=0.12)
    found = np.quantile(samples[:, 0, 1], [0.1, 0.5, 0.9])
    np.testing.assert_allclose(found, wanted, atol=0.12)  # the second step has weighed it once more


def test_several_quantiles_of_one_step(walk):
    of_one, of_sum = LAST[1] + np.array([-1.0, 2.0]), LAST.sum() + np.array([0.0, 3.0])
    guidance = [
        QuantileTarget([0.2, 0.8], [of_one], weights="1"),
        QuantileTarget([0.2, 0.8], [of_sum]),
    ]
    first = drawn(walk, Guidance(guidance, particles=8))[:, 0]
    np.testing.assert_allclose(np.quantile(first[:, 1], [0.2, 0.8]), of_one, atol=0.1)
    np.testing.assert_allclose(np.quantile(first.sum(-1), [0.2, 0.8]), of_sum, atol=0.15)


def test_a_constant_dimension_may_be_known():
    flat = SERIES.copy()
    flat[1] = 5.0
    estimator = tsdiff.FlowMatchingEstimator(**SMALL | {"max_epochs": 1})
    predictor = estimator.fit([entry(flat)], progress=False)
    plain = samples_of(predictor, [entry(flat)], num_samples=200)
    known = Observed([[np.nan, 5.0, np.nan]] * HORIZON)
    samples = samples_of(predictor, [entry(flat)], num_samples=200, guidance=known)
    assert (samples[..., 1] == 5.0).all()
    ratio = samples[0].std(0)[:, [0, 2]] / plain[0].std(0)[:, [0, 2]]
    assert (abs(ratio - 1.0) < 0.25).all()


def test_what_constants_can_not_add_up_to_is_said():
    """Samples of a law without spread can't be moved, and added up to 0 without a word."""
    estimator = tsdiff.FlowMatchingEstimator(**SMALL | {"max_epochs": 1})
    silent = [entry(np.zeros((2, 200)))]
    predictor = estimator.fit(silent, progress=False)
    with pytest.raises(GuidanceError, match="fulfils the conditions of step 0"):
        samples_of(predictor, silent, guidance=Total([1.0]), num_samples=20)
    kept = samples_of(predictor, silent, guidance=Total([0.0]), num_samples=20)
    assert np.abs(kept[:, 0]).max() < 1e-6


def test_samples_stand_in_no_order(walk):
    """Whoever takes the first few has as good a sample as any."""
    values = np.full((HORIZON, DIMS), np.nan)
    values[3] = LAST + 1.0
    samples = drawn(walk, Guidance(Observed(values), particles=8), seeds=1)
    first = len(np.unique(samples[:50, 0, 0]))
    assert first > 30


def test_samples_do_not_depend_on_batches_or_neighbours(walk):
    data = [{**entry(random_walk(300, DIMS, seed=s)), "item_id": f"s{s}"} for s in range(3)]
    totals = {f"s{s}": Total([data[s]["target"][:, -1].sum() + s]) for s in (0, 2)}
    together = samples_of(walk, data, guidance=totals)
    single = samples_of(walk, data, guidance=totals, batch_size=1)
    np.testing.assert_allclose(single, together, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(together[0, :, 0].sum(-1), data[0]["target"][:, -1].sum())
    np.testing.assert_allclose(together[2, :, 0].sum(-1), data[2]["target"][:, -1].sum() + 2)
    assert np.ptp(together[1, :, 0].sum(-1)) > 0.1
    np.testing.assert_array_equal(samples_of(walk, data, guidance=totals), together)


def test_columns_are_matched_by_name(walk):
    table = frame(SERIES)
    named = tsdiff.FlowMatchingEstimator(**SMALL | {"max_epochs": 1}).fit(table, progress=False)
    known = pd.DataFrame({"x2": [float(LAST[2])]})
    result = named.predict(table, num_samples=20, quantiles=[0.1, 0.9], guidance=Observed(known))
    first = result[result["time"] == result["time"].min()].set_index("dimension")
    assert first.loc["x2", "0.1"] == first.loc["x2", "0.9"] == pytest.approx(LAST[2])
    assert first.loc["x1", "0.1"] < first.loc["x1", "0.9"]
    # A series whose dimensions stand in another order, and an array in that order.
    turned = table[["x2", "x0", "x1"]]
    values = np.array([[np.nan, 1.25, np.nan]])
    result = named.predict(turned, num_samples=5, quantiles=[0.5], guidance=Observed(values))
    first = result[result["time"] == result["time"].min()].set_index("dimension")
    assert first.loc["x0", "0.5"] == pytest.approx(1.25)


@pytest.mark.parametrize("freq", ["D", "B", "MS", "W-SUN"])
def test_rows_are_matched_by_time(freq):
    index = pd.date_range("2015-01-01", periods=200, freq=freq)
    table = pd.DataFrame(SERIES[:, :200].T, index=index, columns=["a", "b", "c"])
    predictor = tsdiff.FlowMatchingEstimator(**SMALL | {"max_epochs": 1}).fit(table, progress=False)
    ahead = pd.date_range(index[-1], periods=4, freq=freq)[1:]
    # From the last step of the history on; the second row is missing.
    known = pd.DataFrame({"b": [99.0, 4.5, 6.5]}, index=[index[-1], ahead[0], ahead[2]])
    options = {"num_samples": 5, "quantiles": [0.5]}
    result = predictor.predict(table, guidance=Observed(known), **options)
    values = result[result["dimension"] == "b"]["0.5"].to_list()
    assert values[0] == 4.5
    assert values[2] == 6.5
    assert values[1] not in (4.5, 6.5, 99.0)
    total = Total(pd.Series([30.0], index=ahead[1:2]))
    result = predictor.predict(table, guidance=total, num_samples=1, quantiles=[0.5])
    sums = result.groupby("time")["mean"].sum().to_list()
    assert sums[1] == pytest.approx(30.0)
    assert sums[0] != pytest.approx(30.0)
    with pytest.raises(ValueError, match="none is about it"):
        predictor.predict(table, guidance=Observed(table.tail(3)), **options)


def test_a_series_that_ends_in_silence_is_guided_from_its_end_on(walk):
    silent = SERIES.copy()
    silent[:, -2:] = np.nan
    values = np.full((1, DIMS), np.nan)
    values[0, 1] = 7.0
    samples = drawn(walk, Observed(values), seeds=1, history=silent)
    assert (samples[:, 0, 1] == 7.0).all()
    assert np.ptp(samples[:, 1, 1]) > 0.1


@pytest.mark.parametrize(
    ("guidance", "message"),
    [
        ([Observed([[5.0, 1.0, np.nan]]), Bounds(upper=2.0)], "'0' is known to be 5 at step 0"),
        ([Observed(np.full((2, 3), 1.0)), Total([3.0, 4.0])], "step 1 contradicts itself, by 0.25"),
        ([Observed([[1.0] * 3]), Observed([[1.0, 2.0, 1.0]])], "step 0 contradicts itself"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_drawn(walk, guidance, message):
    with pytest.raises(GuidanceError, match=message):
        walk.predict([entry(SERIES)], guidance=guidance)


def test_what_no_sample_has_is_said(walk):
    def never(values, step):
        return torch.full_like(values[:, 0], torch.inf)

    with pytest.raises(GuidanceError, match="fulfils the conditions of step 0"):
        samples_of(walk, [entry(SERIES)], guidance=Energy(never))
    with pytest.warns(GuidanceWarning, match="are not met"):
        samples_of(walk, [entry(SERIES)], guidance=QuantileTarget([0.5], [[1e4]]))


def test_an_indicator_is_an_energy(walk):
    """It has no slope: samples are what is left of those that were drawn."""
    edge = LAST[0] + 0.5

    def above(values, step):
        beyond = values[:, 0] > edge if step == 1 else torch.ones(len(values), dtype=torch.bool)
        return torch.where(beyond, 0.0, torch.inf)

    samples = drawn(walk, Energy(above), seeds=1)
    assert (samples[:, 1, 0] > edge).all()
    assert (samples[:, 0, 0] < edge).any()


def test_ways_to_say_the_same(walk):
    values = np.full((2, DIMS), np.nan)
    values[:, 1] = [3.0, 4.0]
    known = samples_of(walk, [entry(SERIES)], guidance=Observed(values, std=0.5))
    for other in (
        Observed(pd.Series([3.0, 4.0], name="1"), std=0.5),
        Observed(pd.DataFrame({"1": [3.0, 4.0]}), std=pd.DataFrame({"1": [0.5, 0.5]})),
        Observed({"1": [3.0, 4.0]}, std={"1": 0.5}),
        Observed(values, std=pd.Series({"1": 0.5, "0": 9.0})),
        Observed(values, std=[9.0, 0.5, 9.0]),
        Observed(pd.DataFrame(values[:, ::-1], columns=list("210")), std=[[9.0, 0.5, 0.1]] * 2),
    ):
        np.testing.assert_array_equal(samples_of(walk, [entry(SERIES)], guidance=other), known)
    bounds = samples_of(walk, [entry(SERIES)], guidance=Bounds(upper=[np.nan, 5.0, np.nan]))
    for other in (Bounds(upper={"1": 5.0}), Bounds(upper={"1": [5.0] * HORIZON})):
        np.testing.assert_array_equal(samples_of(walk, [entry(SERIES)], guidance=other), bounds)
    total = samples_of(walk, [entry(SERIES)], guidance=Total([3.0], weights=[1.0, 1.0, 0.0]))
    for other in (
        Total(pd.DataFrame({"load": [3.0]}), weights=["0", "1"]),
        Total([3.0], weights={"0": 1.0, "1": 1.0}),
    ):
        np.testing.assert_array_equal(samples_of(walk, [entry(SERIES)], guidance=other), total)


def test_a_warning_where_few_samples_carry_the_forecast(walk):
    values = np.full((HORIZON, DIMS), np.nan)
    values[3] = LAST + 6.0
    with pytest.warns(GuidanceWarning, match="particles=8"):
        samples_of(walk, [entry(SERIES)], guidance=Guidance(Observed(values), 2), num_samples=100)
    options = {"guidance": Guidance(Observed(values), 2), "num_samples": 100}
    forecasts = walk.predict([entry(SERIES)], **options)
    for draw in (
        lambda: next(forecasts),
        lambda: walk.predict([entry(SERIES)], quantiles=[0.5], **options),
    ):
        with pytest.warns(GuidanceWarning) as caught:
            draw()
        assert caught[0].filename == __file__  # the line that asked, not one of ours
        assert caught[0].lineno == draw.__code__.co_firstlineno


class TestClassifierFree:
    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls):
        estimator = tsdiff.FlowMatchingEstimator(
            **SMALL | {"learning_rate": 0.01}, condition_dropout=0.3, num_validation_windows=0
        )
        return estimator.fit([entry(SERIES)], progress=False)

    def test_a_weight_of_one_changes_no_bit(self, trained):
        plain = samples_of(trained, [entry(SERIES)])
        np.testing.assert_array_equal(
            samples_of(trained, [entry(SERIES)], guidance=ClassifierFree(1.0)), plain
        )

    def test_other_weights_do_with_any_solver(self, trained):
        plain = samples_of(trained, [entry(SERIES)])
        for solver in (None, "euler_maruyama", "ddim"):
            guided = samples_of(
                trained, [entry(SERIES)], guidance=ClassifierFree(3.0), solver=solver
            )
            assert np.isfinite(guided).all()
            assert not np.allclose(guided, plain)

    def test_beside_other_conditions(self, trained):
        total = Total([float(LAST.sum())])
        guidance = [ClassifierFree(2.0), total]
        samples = samples_of(trained, [entry(SERIES)], guidance=guidance)
        np.testing.assert_allclose(samples[:, :, 0].sum(-1), LAST.sum(), rtol=1e-6)
        alone = samples_of(trained, [entry(SERIES)], guidance=total)
        assert not np.allclose(alone, samples)

    def test_a_model_that_never_missed_its_context_refuses(self, walk):
        with pytest.raises(ValueError, match="condition_dropout above 0"):
            walk.predict([entry(SERIES)], guidance=ClassifierFree(2.0))
        walk.predict([entry(SERIES)], guidance=ClassifierFree(1.0))

    def test_dropout_out_of_range(self):
        estimator = tsdiff.FlowMatchingEstimator(**SMALL, condition_dropout=1.0)
        with pytest.raises(ValueError, match="condition_dropout must lie in"):
            estimator.fit([entry(SERIES)], progress=False)


@pytest.mark.parametrize(
    ("guidance", "message"),
    [
        (lambda: Observed(np.ones((5, 3))), "has 5 steps, and 4 are forecast"),
        (lambda: Observed(np.ones((2, 2))), r"must be \[T, 3\]"),
        (lambda: Observed(np.full((1, 3), np.inf)), "must be finite"),
        (lambda: Observed(np.ones((1, 3)), std=-1.0), "std must be finite"),
        (lambda: Observed(pd.DataFrame({"y": [1.0]})), "column 'y', which is no dimension"),
        (lambda: Total(np.ones(9)), "has 9 steps, and 4 are forecast"),
        (lambda: Total([[1.0]]), r"must be \[T\], got shape"),
        (lambda: Total("much"), "must be numbers"),
        (lambda: Total([1.0, 2.0], std=[1.0, 2.0, 3.0]), "one for each value"),
        (lambda: Observed(np.ones((2, 3)), std=[1.0, 2.0]), "one per dimension"),
        (lambda: Total([1.0], weights={"9": 1.0}), "weights name '9'"),
        (lambda: Total([1.0], weights=[0.0, 0.0, 0.0]), "all weights are 0"),
        (lambda: Observed(np.full((2, 3), np.nan)), "nothing is known"),
        (lambda: Observed(None), r"must be \[T, 3\], got shape \(\) of a NoneType"),
        (lambda: Observed(pd.DataFrame({"1": [1.0]}, index=[3])), "rows are labelled"),
        (lambda: Total([1.0], weights={"0": np.nan}), "3 finite numbers"),
        (lambda: Energy(lambda values, step: 0.0), "must return a tensor"),
        (lambda: Energy(lambda values, step: values[:, 0] * np.nan), "returned NaN"),
        (lambda: Energy(3.0), "give a function"),
        (lambda: ClassifierFree(None), "must be finite"),
        (lambda: pd.DataFrame({"1": [1.0]}), r"known values are Observed\(values\)"),
        (lambda: Bounds(), "give lower, upper, or both"),
        (lambda: Bounds(lower=np.nan), "give lower, upper, or both"),
        (lambda: Bounds(lower=1.0, upper=1.0), "lower must lie below upper"),
        (lambda: Bounds(lower=[1.0, 2.0]), "one number"),
        (lambda: QuantileTarget([0.5, 0.1], [[1.0, 2.0]]), "levels must rise"),
        (lambda: QuantileTarget([0.1, 0.5], [[2.0, 1.0]]), "values must rise"),
        (lambda: QuantileTarget([0.1, 0.5], [[1.0]]), r"must be \[T, 2\]"),
        (lambda: Energy(lambda values, step: values), "one energy per sample"),
        (lambda: ClassifierFree(float("nan")), "must be finite"),
        (lambda: [ClassifierFree(1.0), ClassifierFree(2.0)], "more than once"),
        (lambda: {"a": ClassifierFree(2.0)}, "for all series"),
        (lambda: {"b": Bounds(lower=0.0)}, "'b', which is no series"),
        (lambda: Guidance(Bounds(lower=0.0), particles=0), "at least 1"),
        (lambda: Guidance(Bounds(lower=0.0), particles=2.0), "must be an integer"),
        (lambda: Bounds(lower="low"), "Bounds: lower must be numbers"),
    ],
)
def test_what_does_not_fit_is_said(walk, guidance, message):
    with pytest.raises((ValueError, TypeError), match=message):
        samples_of(walk, [entry(SERIES)], guidance=guidance())


def test_other_mistakes(walk):
    with pytest.raises(TypeError, match="made of conditions"):
        walk.predict([entry(SERIES)], guidance=[1.0])
    with pytest.raises(ValueError, match="sampler of its own"):
        walk.predict([entry(SERIES)], guidance=Bounds(lower=0.0), solver="heun")
    kac = tsdiff.FlowMatchingEstimator(**SMALL | {"max_epochs": 1}, path="kac")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor = kac.fit([entry(SERIES)], progress=False)
    with pytest.raises(ValueError, match="Kac"):
        predictor.predict([entry(SERIES)], guidance=Bounds(lower=0.0))
