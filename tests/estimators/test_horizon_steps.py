"""Whole horizons drawn step beside step, by a U-Net over the steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import tsdiff
from tests.estimators.small import SMALL, entry, samples_of
from tests.estimators.test_horizon import BUILT_IN, STAGES
from tests.transforms.test_profile import HOUR, days, fitted, solar, windows
from tests.transforms.test_profile import hourly as series_of
from tsdiff.decoders import FlowMatching
from tsdiff.estimators import ESTIMATORS
from tsdiff.estimators.horizon import HorizonModel
from tsdiff.estimators.horizon_events import LeadingModes, WhitenedSteps
from tsdiff.networks import TemporalUNet
from tsdiff.random import seeded

STEPS = SMALL | {
    "prediction_length": 24,
    "decoding": "horizon",
    "network": "unet",
    "network_kwargs": {"width": 16},
    "num_batches_per_epoch": 2,
    "max_epochs": 1,
    "num_validation_windows": 0,
}
LOAD = days(60)


def hourly(target: np.ndarray, **fields) -> dict:
    return entry(target, "h", **fields)


def make(kind=tsdiff.FlowMatchingEstimator, **options):
    known = kind(prediction_length=1).get_params()
    stages = {"warm_up": 1, "stage": 1, "num_stages": 1, "num_paths": 4, "path_steps": 2}
    stages = {name: stages[name] for name in STAGES if name in known}
    return kind(**STEPS | stages | options)


@pytest.fixture(scope="module")
def trained():
    return make(num_validation_windows=3).fit([hourly(LOAD)], progress=False)


class TestWhitening:
    """Both kinds of events are all that the closed form's modes are, turned."""

    @pytest.mark.parametrize("bounded", [False, True])
    @pytest.mark.parametrize("dims", [1, 3])
    def test_there_and_back(self, bounded, dims):
        series = series_of(solar(60, dims) if bounded else days(60, dims))
        plan = replace(HOUR, bounded=bounded, depth=3)
        past, features, _ = windows(plan, series, [1000, 1011])
        frame = fitted(plan, series)(past, features)
        modes = torch.randn(2, 24 * dims, dtype=torch.float64, generator=seeded(1))
        for events in (LeadingModes(5, 24, dims), WhitenedSteps(24, dims)):
            event, left = events.split(frame, modes)
            assert event.shape == (2, events.length, events.dim)
            assert left.shape == (2, events.num_left)
            torch.testing.assert_close(events.join(frame, event, left), modes)
            # Orthogonal: white stays white, and densities need no volume.
            size = event.square().sum((1, 2)) + left.square().sum(1)
            torch.testing.assert_close(size, modes.square().sum(1))

    def test_the_event_is_the_white_version_that_is_nearest_to_the_errors(self):
        """``C^{-1/2} r`` of errors with covariance ``C``: symmetric, so of one order."""
        series = series_of(days(60, 2))
        past, features, future = windows(HOUR, series, [1000, 1011, 1100])
        frame = fitted(HOUR, series)(past, features)
        event, _ = WhitenedSteps(24, 2).split(frame, frame.whiten(future))
        errors = ((future - frame.mean) / frame.scale).flatten(1)
        for row in range(3):
            axes = torch.kron(frame.time_axes[row], frame.dimension_axes[row])
            spread = torch.empty(48, dtype=torch.float64)
            spread[frame.order[row]] = frame.deviation[row]
            root = axes @ torch.diag(1.0 / spread) @ axes.mT
            torch.testing.assert_close(event[row].flatten(), root @ errors[row])

    def test_samples_of_a_window_stand_together(self):
        series = series_of(days(60))
        past, features, _ = windows(HOUR, series, [1000, 1011])
        profile, events = fitted(HOUR, series), WhitenedSteps(24, 3)
        event = torch.randn(6, 24, 3, dtype=torch.float64, generator=seeded(1))
        together = events.join(profile(past, features), event, event[:, 0, :0])
        alone = events.join(profile(past[1:], features[1:]), event[3:], event[3:, 0, :0])
        torch.testing.assert_close(together[3:], alone)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_estimator_draws_steps(name, tmp_path):
    predictor = make(ESTIMATORS[name]).fit([hourly(LOAD)], progress=False)
    assert isinstance(predictor.model, HorizonModel)
    assert predictor.model.event_dim == 3
    drawn = samples_of(predictor, [hourly(LOAD)])
    assert drawn.shape == (1, 7, 24, 3)
    assert np.isfinite(drawn).all()
    predictor.save(tmp_path)
    np.testing.assert_array_equal(samples_of(tsdiff.load(tmp_path), [hourly(LOAD)]), drawn)


def test_untrained_the_model_is_the_closed_form():
    """Sample by sample: it hands on the noise that it starts from."""
    predictor = make(learning_rate=1e-30).fit([hourly(LOAD)], progress=False)
    model = predictor.model
    series = tsdiff.transforms.load_series([hourly(LOAD)], "h", 24)
    window = tsdiff.transforms.forecast_windows(series, model.past_length, 24)
    # A solver that is exact of Gaussian laws.
    drawn = model.sample(window, 5, [seeded(1)], solver="exponential_adams")[0]
    frame = model._frame_of(window)
    noise = torch.randn(5, 24, 3, generator=seeded(1)).double()
    expected = frame.unwhiten(WhitenedSteps(24, 3).join(frame, noise, noise[:, 0, :0]))
    torch.testing.assert_close(drawn, expected, rtol=1e-5, atol=1e-5)
    # Density likewise.
    whole = tsdiff.transforms.load_series([hourly(LOAD)], "h", 0)
    window = tsdiff.transforms.forecast_windows(whole, model.past_length + 24, 0)
    frame = model._frame_of(window)
    modes = frame.whiten(window.target[:, model.past_length :])
    nats = -0.5 * (modes.square() + np.log(2 * np.pi)).sum() - frame.log_volume.sum()
    found = predictor.log_prob([hourly(LOAD)], num_steps=2, num_probes=1)
    assert found.sum() == pytest.approx(nats.item(), rel=1e-3)


@pytest.mark.parametrize(("horizon", "dims"), [(1, 1), (1, 3), (5, 1), (7, 2)])
def test_horizons_and_dimensions_of_any_number(horizon, dims):
    predictor = make(prediction_length=horizon).fit([hourly(LOAD[:dims])], progress=False)
    drawn = samples_of(predictor, [hourly(LOAD[:dims])])
    assert drawn.shape == (1, 7, horizon, dims)
    assert np.isfinite(drawn).all()


def test_a_window_depends_on_its_own_alone(trained):
    data = [hourly(LOAD), hourly(days(60, seed=5)), hourly(LOAD[:, :1200])]
    together = samples_of(trained, data)
    one_by_one = samples_of(trained, data, batch_size=1)
    np.testing.assert_allclose(one_by_one, together, rtol=1e-5)


def test_gaps_covariates_and_forecasts_beyond_a_horizon():
    rng = np.random.default_rng(1)
    known = rng.standard_normal((1, LOAD.shape[1] + 24))
    target = LOAD.copy()
    target[0, 300:340] = np.nan
    target[:, -5:] = np.nan  # what is asked for ends within the second horizon
    data = [hourly(target, feat_dynamic_real=known)]
    predictor = make(condition_dropout=0.2).fit(data, progress=False)
    assert np.isfinite(samples_of(predictor, data)).all()
    assert np.isfinite(
        samples_of(predictor, data, guidance=[tsdiff.guidance.ClassifierFree(2.0)])
    ).all()


def test_solar_power_stays_positive():
    data = [hourly(solar(60))]
    assert (samples_of(make().fit(data, progress=False), data) >= 0.0).all()


def test_what_it_can_not_do_is_refused(trained):
    with pytest.raises(ValueError, match="draws the whole horizon at once"):
        trained.predict([hourly(LOAD)], guidance=[tsdiff.guidance.Total(range(24), 1.0)])
    with pytest.raises(ValueError, match="take decoding='horizon' with it"):
        make(decoding="autoregressive").fit([hourly(LOAD)])


def test_distilled_and_preferring(trained):
    options = {"max_epochs": 1, "num_batches_per_epoch": 2, "batch_size": 4, "progress": False}
    fast = trained.distill([hourly(LOAD)], num_steps=1, **options)
    assert samples_of(fast, [hourly(LOAD)]).shape == (1, 7, 24, 3)
    tuned = trained.prefer(
        [hourly(LOAD)],
        lambda futures, truths: futures.mean((1, 2)),
        num_windows=4,
        num_candidates=2,
        num_updates=2,
        progress=False,
    )
    assert np.isfinite(samples_of(tuned, [hourly(LOAD)])).all()


def test_a_law_of_steps_whose_moments_are_those_of_noise():
    """Signs of which each third is the product of two, all uncorrelated, and noise."""

    def events(rows: int, generator: torch.Generator) -> torch.Tensor:
        signs = 2.0 * torch.randint(0, 2, (rows, 4, 2), generator=generator) - 1.0
        signs = torch.cat([signs, signs.prod(-1, keepdim=True)], dim=-1).view(rows, 12, 1)
        return (signs + 0.2 * torch.randn(rows, 12, 1, generator=generator)) / 1.04**0.5

    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = FlowMatching(TemporalUNet(1, 1, width=16), 1)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=1e-2)
    for update in range(150):
        data = events(64, seeded(1, update))
        loss = decoder.loss(data, torch.zeros(64, 12, 1), generator=seeded(2, update)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        drawn = decoder.sample(torch.zeros(500, 12, 1), generator=seeded(3))
    assert drawn.view(500, 4, 3).prod(-1).sign().mean() > 0.12  # 0 of any Gaussian
