"""One factor of the spread, from held-out windows: forecasts as wide as they should have been."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tsdiff
from tests.estimators.small import SMALL, entry, random_walk, samples_of
from tests.estimators.test_recent_spread import calming
from tsdiff.estimators.calibration import dispersion
from tsdiff.random import seeded

UNTRAINED = SMALL | {"learning_rate": 1e-12, "max_epochs": 1}


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=seeded(seed))


class TestDispersion:
    """The factor itself, where it is known."""

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("spread", [0.5, 1.0, 1.6])
    def test_is_how_much_wider_the_truth_is(self, spread: float, dtype: torch.dtype):
        samples, truth = normal(40, 101, 20, 5, dtype=dtype), normal(40, 20, 5, seed=1, dtype=dtype)
        shift = normal(40, 20, 5, seed=2, dtype=dtype)
        found, windows = dispersion(
            3.0 * samples + shift.unsqueeze(1), 3.0 * spread * truth + shift, torch.ones_like(truth)
        )
        assert found == pytest.approx(spread, rel=0.05)
        assert windows == 40

    def test_does_not_assume_a_gaussian(self):
        samples, truth = normal(40, 101, 20, 5).exp(), normal(40, 20, 5, seed=1).exp()
        found, _ = dispersion(samples, truth, torch.ones_like(truth))
        assert found == pytest.approx(1.0, rel=0.05)

    def test_values_that_are_not_there_say_nothing(self):
        samples, truth = normal(40, 101, 20, 5), 1.5 * normal(40, 20, 5, seed=1)
        observed = torch.ones_like(truth)
        observed[:10], observed[:, :, 0] = 0.0, 0.0
        spoilt = torch.where(observed > 0.0, truth, 1e6)
        found, windows = dispersion(samples, spoilt, observed)
        alone, _ = dispersion(samples[10:, ..., 1:], truth[10:, :, 1:], observed[10:, :, 1:])
        assert found == alone
        assert windows == 30

    def test_samples_without_spread_say_nothing(self):
        samples, truth = normal(40, 101, 20, 5), 0.7 * normal(40, 20, 5, seed=1)
        dark = samples.clone()
        dark[:, :, :12] = 0.0
        found, _ = dispersion(dark, truth, torch.ones_like(truth))
        alone, _ = dispersion(samples[:, :, 12:], truth[:, 12:], torch.ones(40, 8, 5))
        assert found == alone
        assert dispersion(0.0 * samples, truth, torch.ones_like(truth)) == (1.0, 0)

    @pytest.mark.parametrize("spread", [0.0, 1e-9, 1e9])
    def test_is_bounded(self, spread: float):
        truth = spread * normal(10, 4, 2, seed=1)
        found, _ = dispersion(normal(10, 50, 4, 2), truth, torch.ones_like(truth))
        assert found == pytest.approx(0.25 if spread < 1.0 else 4.0, rel=1e-6)


@pytest.fixture(scope="module")
def calmer():
    """A model that knows wilder times, and was told of its last windows; the factor and it."""
    data = [entry(calming(760, turn=660))]
    estimator = tsdiff.FlowMatchingEstimator(
        **UNTRAINED, scaling="pooled", num_validation_windows=20, calibrate=True
    )
    predictor = estimator.fit(data, progress=False)
    return float(predictor.model.calibration), predictor


@pytest.mark.parametrize("still", [1, 2])
def test_dimensions_that_stand_still_have_no_say(still: int):
    """A truth that doesn't move lies in the middle of any forecast."""
    walk = random_walk(760)
    walk[:still, 500:] = walk[:still, 499:500]
    settings = UNTRAINED | {"num_validation_windows": 20, "scaling": "increment"}
    model = tsdiff.FlowMatchingEstimator(**settings).fit([entry(walk)], progress=False).model
    assert float(model.calibration) > 0.9


def test_windows_of_one_date_are_as_good_as_one():
    """Twelve series that do the same say no more than one of them."""
    data = [entry(calming(760, turn=660))]
    settings = UNTRAINED | {"scaling": "pooled", "num_validation_windows": 20}
    one, twelve = (
        float(tsdiff.FlowMatchingEstimator(**settings).fit(some, progress=False).model.calibration)
        for some in (data, 12 * data)
    )
    assert twelve == pytest.approx(one, rel=0.05)


def test_a_calmer_end_makes_forecasts_narrower(calmer):
    factor, predictor = calmer
    assert factor < 0.85
    history = [entry(calming())]
    after = samples_of(predictor, history, num_samples=2000)
    predictor.model.calibration.fill_(1.0)
    before = samples_of(predictor, history, num_samples=2000)
    predictor.model.calibration.fill_(factor)
    # Untrained, and around the last value: the same noise, by that much smaller.
    last = calming()[:, -1]
    np.testing.assert_allclose(after - last, factor * (before - last), rtol=1e-2, atol=1e-3)


def test_densities_are_those_of_what_is_drawn(calmer):
    _, predictor = calmer
    walk = calming()
    drawn = samples_of(predictor, [entry(walk[:, :-4])], num_samples=20_000)[0, :, 0]
    covariance, centred = np.cov(drawn.T), walk[:, -4] - drawn.mean(0)
    volume = np.linalg.slogdet(2.0 * np.pi * covariance)[1]
    expected = -0.5 * (centred @ np.linalg.solve(covariance, centred) + volume)
    assert predictor.log_prob([entry(walk)])[0, 0] == pytest.approx(expected, abs=0.1)


def test_the_factor_is_kept(calmer, tmp_path):
    factor, predictor = calmer
    predictor.save(tmp_path)
    loaded = tsdiff.load(tmp_path)
    assert float(loaded.model.calibration) == factor
    history = [entry(calming())]
    np.testing.assert_array_equal(samples_of(loaded, history), samples_of(predictor, history))


def test_a_model_saved_without_one_has_none(calmer, tmp_path):
    from safetensors.torch import load_file, save_file

    _, predictor = calmer
    predictor.save(tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    tensors = load_file(file)
    del tensors["calibration"]
    save_file(tensors, file)
    assert float(tsdiff.load(tmp_path).model.calibration) == 1.0


def test_guided_forecasts_are_as_wide(calmer):
    """A bound that binds nothing: what is drawn step by step under guidance has the same spread."""
    _, predictor = calmer
    history = [entry(calming())]
    free = samples_of(predictor, history, num_samples=500)
    bound = tsdiff.guidance.Bounds(lower=-1e6)
    guided = samples_of(predictor, history, num_samples=500, guidance=bound)
    np.testing.assert_allclose(guided.std((0, 1)), free.std((0, 1)), rtol=0.15)


@pytest.mark.parametrize("network", ["mlp", "unet"])
def test_whole_horizons_are_calibrated_too(network):
    rng = np.random.default_rng(0)
    steps = np.arange(7 * 160)
    noise = rng.standard_normal((2, len(steps))) * np.where(steps < 7 * 130, 1.0, 0.5)
    data = [entry(20.0 + 5.0 * np.sin(2.0 * np.pi * steps / 7.0) + noise)]
    small = UNTRAINED | {"prediction_length": 7, "lags": (1, 7)}
    predictor = tsdiff.DDPMEstimator(
        **small, decoding="horizon", network=network, num_validation_windows=20, calibrate=True
    ).fit(data, progress=False)
    factor = float(predictor.model.calibration)
    assert factor < 0.95
    after = samples_of(predictor, data, num_samples=1000).std(1)
    predictor.model.calibration.fill_(1.0)
    before = samples_of(predictor, data, num_samples=1000).std(1)
    np.testing.assert_allclose(after.mean(), factor * before.mean(), rtol=0.03)

    def density(factor: float) -> float:
        predictor.model.calibration.fill_(factor)
        return float(predictor.log_prob(data).sum())

    # Gaussian, of 14 values: -|z|²/2 of modes z, which shrink as the spread grows, and its volume.
    plain, volume = density(1.0), 14.0 * np.log(2.0)
    square = 2.0 * (density(2.0) - plain + volume) / (1.0 - 0.25)
    assert density(0.5) == pytest.approx(plain + 0.5 * (1.0 - 4.0) * square + volume, rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "calibrated"),
    [
        ({"scaling": "pooled"}, True),
        ({"scaling": "pooled", "calibrate": False}, False),
        ({"scaling": "whitened_seasonal"}, False),
        ({"scaling": "mean"}, False),
        ({"decoding": "horizon", "lags": (1,)}, False),
    ],
    ids=["steps", "not asked for", "season", "no reference", "horizon"],
)
def test_what_is_calibrated_unless_told_otherwise(settings, calibrated):
    data = [entry(calming(760, turn=660))]
    estimator = tsdiff.FlowMatchingEstimator(
        **UNTRAINED | {"num_validation_windows": 20} | settings
    )
    factor = float(estimator.fit(data, progress=False).model.calibration)
    assert (factor < 0.9) == calibrated
    assert (factor == 1.0) != calibrated


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_no_factor_that_does_harm_is_kept(factor, monkeypatch):
    from tsdiff.estimators import calibration

    monkeypatch.setattr(calibration, "dispersion", lambda *_: (factor, 10**6))
    estimator = tsdiff.FlowMatchingEstimator(**UNTRAINED, scaling="pooled", calibrate=True)
    predictor = estimator.fit([entry(random_walk(600))], progress=False)
    assert float(predictor.model.calibration) == 1.0


def test_without_a_reference_there_is_nothing_to_be_wider_around():
    for scaling in ("mean", "none"):
        estimator = tsdiff.FlowMatchingEstimator(**UNTRAINED, calibrate=True, scaling=scaling)
        with pytest.raises(ValueError, match=f"scaling='{scaling}' has none"):
            estimator.check()


def test_a_student_is_as_wide_as_its_teacher(calmer):
    factor, predictor = calmer
    student = predictor.distill([entry(calming(760, turn=660))], max_epochs=1, progress=False)
    assert float(student.model.calibration) == pytest.approx(factor, rel=0.1)


def test_calibration_needs_windows_that_were_held_out():
    estimator = tsdiff.FlowMatchingEstimator(**UNTRAINED, calibrate=True, num_validation_windows=0)
    with pytest.raises(ValueError, match="holds out none: give validation_data"):
        estimator.fit([entry(random_walk())], progress=False)
    walk = random_walk(300)
    given = [entry(walk[:, :end]) for end in (292, 296, 300)]
    predictor = estimator.fit([entry(walk)], given, progress=False)
    assert float(predictor.model.calibration) != 1.0


def test_calibrate_is_yes_no_or_none():
    estimator = tsdiff.FlowMatchingEstimator(**UNTRAINED, calibrate="yes")
    with pytest.raises(ValueError, match="calibrate must be True, False or None, got 'yes'"):
        estimator.check()
