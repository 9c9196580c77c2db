"""Several series of different sizes: each is measured in units of its own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import tsdiff
from tests.estimators.small import SMALL, entry, random_walk, samples_of
from tsdiff.transforms import Sizes, load_series, sizes_of

FACTOR = 4096.0
ONES = Sizes((1.0, 1.0, 1.0), 0.0)


def panel(factor: float, length: int = 160) -> list[dict]:
    """A walk, and another of ``factor`` times its size."""
    small, large = random_walk(length), random_walk(length, seed=1)
    return [entry(small), entry(factor * large, item_id="b")]


def fitted(data: list[dict], **settings) -> tsdiff.GenerativePredictor:
    return tsdiff.DDPMEstimator(**SMALL | settings).fit(data, progress=False)


class TestSizes:
    """What a size is."""

    def test_of_series_is_their_geometric_mean(self):
        """A walk that is longer, and has come further, is of no other size."""
        walk = random_walk(20_000)
        np.testing.assert_allclose(sizes_of([entry(walk)]).typical, 1.0, rtol=0.05)
        data = [entry(walk[:, :2000]), entry(100.0 * walk), entry(np.ones((3, 80)))]
        np.testing.assert_allclose(sizes_of(data).typical, 10.0, rtol=0.05)
        np.testing.assert_array_equal(sizes_of(data[2:]).typical, 1.0)

    def test_what_typical_sizes_say_of_a_series_is_known_from_how_they_differ(self):
        """A weight is that of so many changes: many of series that are alike, none of others."""
        walks = [random_walk(seed=seed) for seed in range(40)]
        alike = sizes_of(entry(walk) for walk in walks)
        apart = sizes_of(entry(np.exp((-0.5, 0.5)[n % 2]) * walk) for n, walk in enumerate(walks))
        strange = sizes_of(entry(10.0**number * walk) for number, walk in enumerate(walks[:9]))
        assert alike.weight == 50.0
        np.testing.assert_allclose(apart.weight, 1.0 / (2.0 * 0.5**2), rtol=0.1)
        assert strange.weight < 0.1

    def test_constants_are_measured_in_the_less_the_longer_they_are(self):
        values = random_walk()
        values[1] = 1e6
        sizes = Sizes((3.0, 4.0, 5.0), 1.0)
        for length in (160, 40, 1):
            (series,) = load_series([entry(values[:, :length])], "D", 0, sizes=sizes)
            assert series.measure.unit[1] == 4.0 / length
            assert series.measure.origin[1] == 1e6

    @pytest.mark.parametrize("level", [0.0, 1e7, -3e4])
    def test_levels_are_origins(self, level):
        (series,) = load_series([entry(random_walk() + level)], "D", 0, sizes=ONES)
        np.testing.assert_allclose(series.target.mean(0), 0.0, atol=1e-7)

    @pytest.mark.parametrize("floor", [0.0, -4.6, 10.0])
    def test_what_values_rest_on_is_an_origin(self, floor):
        values = np.maximum(random_walk(), 10.0) - 10.0 + floor
        (series,) = load_series([entry(values)], "D", 0, sizes=ONES)
        np.testing.assert_array_equal(series.measure.origin, floor)
        assert series.target.min() == 0.0

    def test_short_histories_lean_on_what_is_typical(self):
        """Two changes of a walk may be next to nothing; thirty are told by themselves."""
        walk = random_walk(3000, dims=1)[0]
        short = [entry(walk[None, i : i + 3]) for i in range(0, 2997, 3)]

        def error(weight: float) -> float:
            found = load_series(short, "D", 0, sizes=Sizes((1.0,), weight))
            return float(np.mean([np.log(series.measure.unit) ** 2 for series in found]))

        assert error(20.0) < 0.05 * error(0.0)
        (one,), (other,) = (
            load_series([entry(walk[None, :32])], "D", 0, sizes=Sizes((9.0,), weight))
            for weight in (20.0, 0.0)
        )
        assert one.measure.unit == other.measure.unit

    @pytest.mark.parametrize("fault", [-999.0, 1e5])
    def test_a_fault_is_not_what_all_else_is_measured_in(self, fault):
        values = random_walk(500)
        values[:, 60] = fault
        (series,) = load_series([entry(values)], "D", 0, sizes=ONES)
        np.testing.assert_allclose(series.measure.unit, 1.0, rtol=0.2)

    def test_who_is_seen_every_other_step_has_a_size_too(self):
        values = 1000.0 * random_walk(2000)
        values[:, ::2] = np.nan
        (series,) = load_series([entry(values)], "D", 0, sizes=ONES)
        np.testing.assert_allclose(series.measure.unit, 1000.0, rtol=0.1)

    @pytest.mark.parametrize("factor", [1.0, 3.7e8, 1e-12])
    def test_changes_are_units(self, factor):
        values = factor * random_walk()
        (series,) = load_series([entry(values)], "D", 0, sizes=ONES)
        np.testing.assert_allclose(series.measure.leave(series.target), values.T, rtol=1e-14)
        np.testing.assert_allclose(np.square(np.diff(series.target, axis=0)).mean(0), 1.0)

    def test_gaps_change_nothing(self):
        values = random_walk(2000)
        gappy = values.copy()
        gappy[:, 100:900] = np.nan
        (whole,), (rest,) = (load_series([entry(v)], "D", 0, sizes=ONES) for v in (values, gappy))
        np.testing.assert_allclose(whole.measure.unit, rest.measure.unit, rtol=0.1)

    def test_the_future_is_not_known(self):
        values = random_walk()
        wild = values.copy()
        wild[:, -4:] *= 1e6
        one, other = (load_series([entry(v)], "D", 0, sizes=ONES, future=4) for v in (values, wild))
        np.testing.assert_array_equal(one[0].measure, other[0].measure)

    def test_nothing_is_measured_unless_asked(self):
        (series,) = load_series([entry(1e6 * random_walk())], "D", 0)
        np.testing.assert_array_equal(series.measure.unit, 1.0)
        np.testing.assert_array_equal(series.measure.origin, 0.0)


SETTINGS = [{}, {"decoding": "horizon", "lags": (1,)}, {"scaling": "pooled"}]


@pytest.fixture(scope="module", params=SETTINGS, ids=["steps", "horizon", "pooled"])
def two_sizes(request):
    """Models of the same two series, the second ever so much larger in one of the data sets."""
    return [fitted(panel(factor), **request.param) for factor in (8.0, 8.0 * FACTOR)]


def test_how_much_larger_a_series_is_does_not_matter(two_sizes):
    near, far = two_sizes
    assert near.facts.sizes is not None
    one, other = samples_of(near, panel(8.0)), samples_of(far, panel(8.0 * FACTOR))
    np.testing.assert_array_equal(other[0], one[0])
    np.testing.assert_array_equal(other[1], FACTOR * one[1])


def test_densities_are_in_the_units_of_the_data(two_sizes):
    near, far = two_sizes
    one, other = near.log_prob(panel(8.0)), far.log_prob(panel(8.0 * FACTOR))
    np.testing.assert_array_equal(other[0], one[0])
    np.testing.assert_allclose(other[1], one[1] - 3.0 * np.log(FACTOR), rtol=1e-9)


def test_units_are_saved(two_sizes, tmp_path):
    _, predictor = two_sizes
    predictor.save(tmp_path)
    loaded = tsdiff.load(tmp_path)
    assert loaded == predictor
    assert loaded.facts == predictor.facts
    data = panel(8.0 * FACTOR)
    np.testing.assert_array_equal(samples_of(loaded, data), samples_of(predictor, data))


def test_a_model_saved_before_there_were_units_has_none(tmp_path):
    predictor = fitted([entry(random_walk())])
    predictor.save(tmp_path)
    (file,) = tmp_path.glob("*.json")
    config = json.loads(file.read_text())
    del config["data"]["sizes"]
    file.write_text(json.dumps(config))
    assert tsdiff.load(tmp_path).facts.sizes is None


def test_the_smaller_series_is_forecast_as_well_as_alone():
    """Untrained, where all is the spread of a walk: of one size there would be but one spread."""
    still = {"max_epochs": 1, "learning_rate": 1e-12, "calibrate": False, "scaling": "pooled"}
    data = panel(1000.0, 600)
    alone = samples_of(fitted(data[:1], **still), data[:1], num_samples=2000).std(1)
    beside = samples_of(fitted(data, **still), data[:1], num_samples=2000).std(1)
    np.testing.assert_allclose(beside, alone, rtol=0.25)


@pytest.mark.parametrize("scaling", ["mean", "none"])
def test_who_chooses_other_units_has_them(scaling):
    assert fitted(panel(1000.0), scaling=scaling).facts.sizes is None


def test_a_single_series_is_as_it_is():
    assert fitted(panel(FACTOR)[1:]).facts.sizes is None


@pytest.fixture(scope="module")
def predictor():
    return fitted(panel(FACTOR))


@pytest.fixture
def large():
    return panel(FACTOR)[1]


class TestUnits:
    """Whoever says something of values, or is told of them, does so in the data's units."""

    def test_what_is_observed(self, predictor, large):
        from tsdiff.guidance import Observed

        value = 1.01 * large["target"][1, -1]
        known = np.full((4, 3), np.nan)
        known[2, 1] = value
        samples = samples_of(predictor, [large], guidance=Observed(known))[0]
        np.testing.assert_array_equal(samples[:, 2, 1], value)

    def test_totals_and_bounds(self, predictor, large):
        from tsdiff.guidance import Bounds, Total

        last = large["target"][:, -1]
        # Bounds are met to the last digit, whatever it is that values are measured in.
        bounds = Bounds(lower=(last - 5.0 * FACTOR).tolist(), upper=(last + FACTOR).tolist())
        total = Total(np.full(4, last.sum()))
        samples = samples_of(predictor, [large], guidance=[total, bounds])[0]
        np.testing.assert_allclose(samples.sum(-1), last.sum(), rtol=1e-9)
        assert np.all(samples <= last + FACTOR)

    def test_quantiles(self, predictor, large):
        from tsdiff.guidance import QuantileTarget

        wanted = large["target"][1, -1] + np.array([[0.5, 1.5]]) * FACTOR
        target = QuantileTarget(levels=(0.5, 0.9), values=wanted, weights="1")
        samples = samples_of(predictor, [large], guidance=target, num_samples=400)[0, :, 0, 1]
        found = np.quantile(samples, (0.5, 0.9))
        np.testing.assert_allclose(found, wanted[0], atol=0.25 * FACTOR)

    def test_costs(self, predictor):
        seen = []

        def cost(futures: torch.Tensor, truths: torch.Tensor) -> torch.Tensor:
            seen.extend([*futures, *truths])
            return futures.sum((1, 2))

        options = {"num_windows": 8, "num_candidates": 4, "num_updates": 1, "batch_size": 4}
        predictor.prefer(panel(FACTOR), cost, progress=False, **options)
        size = np.array([float(one.abs().mean()) for one in seen])
        # Walks around ten, and around ten times the factor; nothing between.
        assert np.all((size < 100.0) | (size > FACTOR))
        assert np.any(size < 100.0)
        assert np.any(size > FACTOR)

    def test_distilled(self, predictor):
        student = predictor.distill(panel(FACTOR), max_epochs=1, progress=False)
        assert student.facts == predictor.facts
        small, large = samples_of(student, panel(FACTOR)).std((1, 2, 3))
        assert large > 100.0 * small
