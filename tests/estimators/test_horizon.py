"""Whole-horizon decoding: every promise of the other mode, by one event per window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import Callback
from scipy import stats

import tsdiff
from tests.estimators.small import SMALL, entry, frame, random_walk, samples_of
from tests.transforms.test_profile import clouded, days, solar
from tsdiff.estimators import ESTIMATORS
from tsdiff.estimators.horizon import HorizonModel
from tsdiff.estimators.lightning_module import TrainingModule, TrainingOptions
from tsdiff.estimators.training import CheckpointError
from tsdiff.guidance import Total

HORIZON = SMALL | {"prediction_length": 24, "decoding": "horizon", "num_modes": 4}
STAGES = {"warm_up": 3, "stage": 3, "num_stages": 3, "num_paths": 16, "path_steps": 4}
BUILT_IN = sorted(n for n, k in ESTIMATORS.items() if k.__module__.startswith("tsdiff."))
LOAD = days(90)


def hourly(target: np.ndarray, **fields) -> dict:
    return entry(target, "h", **fields)


def make(kind=tsdiff.FlowMatchingEstimator, **options):
    known = kind(prediction_length=1).get_params()
    stages = {name: value for name, value in STAGES.items() if name in known}
    return kind(**HORIZON | stages | options)


@pytest.fixture(scope="module")
def trained():
    return make().fit([hourly(LOAD)], progress=False)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_estimator_draws_whole_horizons(name, tmp_path):
    predictor = make(ESTIMATORS[name]).fit([hourly(LOAD)], progress=False)
    assert isinstance(predictor.model, HorizonModel)
    drawn = samples_of(predictor, [hourly(LOAD)])
    assert drawn.shape == (1, 7, 24, 3)
    assert np.isfinite(drawn).all()
    predictor.save(tmp_path)
    np.testing.assert_array_equal(samples_of(tsdiff.load(tmp_path), [hourly(LOAD)]), drawn)


def test_a_window_depends_on_its_own_alone(trained):
    data = [hourly(LOAD), hourly(days(90, seed=5)), hourly(LOAD[:, :1500])]
    together = samples_of(trained, data)
    one_by_one = samples_of(trained, data, batch_size=1)
    np.testing.assert_allclose(one_by_one, together, rtol=1e-6)


def test_untrained_the_model_is_the_closed_form():
    options = {"learning_rate": 1e-12, "max_epochs": 1, "num_validation_windows": 0}
    predictor = make(**options).fit([hourly(LOAD)], progress=False)
    drawn = samples_of(predictor, [hourly(LOAD)], num_samples=2000)[0]
    profile = predictor.model.profile
    series = tsdiff.transforms.load_series([hourly(LOAD)], "h", 24)[0]
    past = torch.from_numpy(series.target[-profile.plan.memory :])[None]
    features = torch.from_numpy(series.features[-profile.plan.memory - 24 :])[None]
    law = profile(past, features)
    noise = torch.randn(2000, 72, dtype=torch.float64, generator=tsdiff.random.seeded(1))
    expected = law.unwhiten(noise).numpy()
    spread = expected.std(0)
    assert np.abs((drawn.mean(0) - expected.mean(0)) / spread).max() < 0.12
    np.testing.assert_allclose(drawn.std(0), spread, rtol=0.1)
    total, theirs = drawn.sum((1, 2)), expected.sum((1, 2))
    assert stats.ks_2samp(total, theirs).pvalue > 1e-3


def test_densities_are_gaussian_where_nothing_was_learned():
    options = {"learning_rate": 1e-12, "max_epochs": 1, "num_validation_windows": 0}
    predictor = make(num_modes=72, **options).fit([hourly(LOAD)], progress=False)
    model = predictor.model
    series = tsdiff.transforms.load_series([hourly(LOAD)], "h", 0)
    window = tsdiff.transforms.forecast_windows(series, model.past_length + 24, 0)
    law = model._frame_of(window)
    modes = law.whiten(window.target[:, model.past_length :])
    expected = -0.5 * (modes.square() + np.log(2 * np.pi)).sum() - law.log_volume.sum()
    found = predictor.log_prob([hourly(LOAD)])
    assert found.shape == (1, 24)
    assert found.sum() == pytest.approx(expected.item(), rel=1e-3)


def test_solar_power_has_no_density_and_stays_positive():
    data = [hourly(solar(90))]
    predictor = make().fit(data, progress=False)
    assert predictor.facts.plan.bounded
    drawn = samples_of(predictor, data, num_samples=50)
    assert (drawn >= 0.0).all()
    with pytest.raises(ValueError, match="rest on a lowest value"):
        predictor.log_prob(data)


def test_what_clouds_did_in_the_last_weeks_is_read_from_the_history():
    scores = np.random.default_rng(4).standard_normal(60)  # too few for a regression
    power, last = clouded(scores), 24 * 10
    predictor = make().fit([hourly(power)], progress=False)
    model = predictor.model
    assert model.history_length > model.past_length
    # Other weeks before the days that the forecast itself is made of.
    spread = {}
    for calm in (0.2, 2.0):
        target = clouded(calm * scores)
        target[:, -last:] = power[:, -last:]
        spread[calm] = samples_of(predictor, [hourly(target)], num_samples=200).std(1).mean()
    assert spread[0.2] < 0.8 * spread[2.0]
    # A history may be shorter, and stands beside longer ones as it stands alone.
    short = hourly(power[:, -last:]) | {"start": hourly(power)["start"] + 24 * 50}
    together = samples_of(predictor, [short, hourly(power)], num_samples=20)
    alone = samples_of(predictor, [short], num_samples=20)
    np.testing.assert_allclose(together[0], alone[0], rtol=1e-6, atol=1e-9)
    assert not np.allclose(together[0], together[1])


def test_forecasts_go_on_beyond_a_horizon_and_a_silence(trained):
    quiet = LOAD.copy()
    quiet[:, -30:] = np.nan
    (late,) = trained.predict([hourly(quiet)], num_samples=300)
    assert late.start_date == hourly(LOAD)["start"] + LOAD.shape[1]
    (usual,) = trained.predict([hourly(LOAD)], num_samples=300)
    # Days wander: a forecast from a day before is wider.
    assert late.samples.std(0).mean() > 1.1 * usual.samples.std(0).mean()


def test_what_it_can_not_do_is_refused(trained):
    with pytest.raises(ValueError, match="draws the whole horizon at once"):
        trained.predict([hourly(LOAD)], guidance=[Total(range(24), 1.0)])
    with pytest.raises(ValueError, match="unknown decoding 'all'"):
        make(decoding="all").fit([hourly(LOAD)])
    with pytest.raises(ValueError, match="num_modes must be a positive integer"):
        make(num_modes=0).fit([hourly(LOAD)])


def test_covariates_and_missing_values():
    rng = np.random.default_rng(1)
    known = rng.standard_normal((2, LOAD.shape[1] + 24))
    target = LOAD.copy()
    target[0, 300:340] = np.nan
    target[2, -2:] = np.nan
    data = [hourly(target, feat_dynamic_real=known)]
    predictor = make().fit(data, progress=False)
    assert np.isfinite(samples_of(predictor, data)).all()
    with pytest.raises(tsdiff.DataError, match="must be known until"):
        predictor.predict([hourly(target, feat_dynamic_real=known[:, :-24])])


@pytest.mark.parametrize("freq", ["D", "B", "W", "MS", "15min"])
def test_other_frequencies(freq):
    table = frame(random_walk(300), freq)
    predictor = make(prediction_length=4).fit(table, progress=False)
    assert np.isfinite(predictor.predict(table, quantiles=[0.5])["0.5"]).all()


def test_a_short_or_gappy_history_is_one_of_whole_days(trained):
    """A value repeated through what is missing would be a day without its shape."""
    (usual,) = samples_of(trained, [hourly(LOAD)], num_samples=200).mean(1)
    short = hourly(LOAD[:, -24 * 3 :]) | {"start": hourly(LOAD)["start"] + 24 * 87}
    gappy = LOAD.copy()
    gappy[1, -40:-4] = np.nan
    for data in (short, hourly(gappy)):
        (found,) = samples_of(trained, [data], num_samples=200).mean(1)
        assert np.abs(found - usual).max() < 2.5  # the daily shape spans 6


def test_scattered_gaps_leave_nothing_to_learn_from_and_fit_says_so():
    target = random_walk(250)
    target[np.random.default_rng(0).random(target.shape) < 0.05] = np.nan
    options = {"max_epochs": 1, "num_batches_per_epoch": 1, "num_validation_windows": 1}
    with pytest.warns(UserWarning, match=r"[0-9.]+% of the training windows.*'autoregressive'"):
        make(**options).fit([entry(target, "M")], progress=False)


@pytest.mark.parametrize("freq", ["D", "Q"])
def test_no_room_for_a_single_forecast_is_refused(freq):
    options = {"prediction_length": 4, "num_validation_windows": 0}
    with pytest.raises(tsdiff.DataError, match=r"65 steps of .* longest series has 60 .*'autoreg"):
        make(**options).fit([entry(random_walk(60), freq)], progress=False)


def test_distilled_and_preferring(trained):
    data = [hourly(LOAD)]
    options = {"max_epochs": 1, "num_batches_per_epoch": 2, "batch_size": 4, "progress": False}
    fast = trained.distill(data, num_steps=1, **options)
    assert samples_of(fast, data).shape == (1, 7, 24, 3)
    tuned = trained.prefer(
        data,
        lambda futures, truths: futures.mean((1, 2)),
        num_windows=8,
        num_candidates=4,
        num_updates=20,
        progress=False,
    )
    before, after = (samples_of(p, data, num_samples=200).mean() for p in (trained, tuned))
    assert after < before


def test_training_learns_what_the_closed_form_can_not():
    """Days that are either bright or dull: two modes of a law that starts as a Gaussian."""
    rng = np.random.default_rng(0)
    bright = np.repeat(rng.integers(0, 2, 300), 24)
    target = 10.0 + 6.0 * bright + 0.3 * rng.standard_normal((2, 24 * 300))
    options = {"num_batches_per_epoch": 40, "max_epochs": 6, "batch_size": 32, "hidden_size": 16}
    predictor = make(**options, learning_rate=3e-3).fit([hourly(target)], progress=False)
    drawn = samples_of(predictor, [hourly(target)], num_samples=500)[0].mean((1, 2))
    between = ((drawn > 11.5) & (drawn < 14.5)).mean()
    assert between < 0.25  # of a Gaussian with these moments it is 0.38


def test_an_interrupted_run_is_resumed_and_another_refused(tmp_path):
    data = [hourly(days(40)[:2])]
    whole = make().fit(data, progress=False)

    class Stop(Exception):
        pass

    class Interrupt(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if trainer.global_step == 6:
                raise Stop

    with pytest.raises(Stop):
        make(trainer_kwargs={"callbacks": [Interrupt()]}).fit(
            data, checkpoint_dir=tmp_path, progress=False
        )
    resumed = make().fit(data, checkpoint_dir=tmp_path, progress=False)
    assert resumed == whole
    assert resumed.history == whole.history
    # Of the same sum, and with a lowest value that is minus infinity for both.
    with pytest.raises(CheckpointError, match="data: "):
        make().fit([hourly(days(40)[1::-1])], checkpoint_dir=tmp_path, progress=False)


def test_infinite_statistics_are_equal_to_themselves(trained):
    """A lowest value is minus infinity where there is none, a constant regressor's spread plus."""

    def settings():
        options = TrainingOptions.of(trained.estimator)
        return TrainingModule(trained.model, [], None, options).settings()

    assert trained.model.profile.regressor_std.isposinf().any()
    assert trained.model.profile.lowest.isneginf().any()
    assert settings() == settings()
