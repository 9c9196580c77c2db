"""From data to facts, cuts and moments: frequencies with multiples, names and gaps."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from tests.estimators.small import SMALL, entry, random_walk
from tsdiff.datasets import DataError, cut_before
from tsdiff.estimators import FlowMatchingEstimator, SavedModelError, prepare
from tsdiff.estimators.model import DataFacts
from tsdiff.random import seeded
from tsdiff.solvers import EulerMaruyama
from tsdiff.transforms import WindowSampler, load_series


@pytest.mark.parametrize("freq", ["D", "30min", "2h", "B", "W", "3M"])
def test_training_ends_where_validation_begins(freq: str) -> None:
    """Whatever the multiple: half-hours are not minutes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        entries = [entry(random_walk(100), freq), entry(random_walk(70), freq)]
        validation = prepare.hold_out([entry(random_walk(100), freq)], 4, 3)
        kept = cut_before(entries, validation, 4)
    assert [one["target"].shape[1] for one in kept] == [100 - 3 * 4, 70]


def _series(length: int, end: int = 1000) -> dict:
    """Days that end so many days after a date."""
    return entry(np.zeros((1, length))) | {"start": pd.Period("2020-01-01", "D") + end - length}


@pytest.mark.filterwarnings("ignore::tsdiff.datasets.DataWarning")
@pytest.mark.parametrize("num_windows", [None, 3])
@pytest.mark.parametrize("odd", [_series(20), _series(300, end=400), _series(20, end=1001)])
def test_one_series_that_is_short_or_ended_leaves_the_others_their_windows(
    num_windows: int | None, odd: dict
) -> None:
    """Three windows or more of each of the nine, and all before them to train on."""
    entries = [*(_series(1000) for _ in range(9)), odd]
    held_out = prepare.hold_out(entries, 24, num_windows)
    assert {window["target"].shape[1] for window in held_out} >= {1000, 1000 - 24, 1000 - 48}
    assert len(held_out) >= 27
    kept = [one["target"].shape[1] for one in cut_before(entries, held_out, 24)]
    assert min(kept[:9]) >= 1000 - 4 * 24
    assert kept[9:] == ([300] if odd["target"].shape[1] == 300 else [])


def test_a_series_that_ends_a_little_earlier_has_the_windows_that_are_late_enough() -> None:
    held_out = prepare.hold_out([_series(1000), _series(995, end=995)], 24, 3)
    assert [window["target"].shape[1] for window in held_out] == [952, 976, 971, 1000, 995]


def test_windows_that_no_series_has_room_for_are_refused() -> None:
    with pytest.raises(DataError, match="has 60 steps: 3 windows of 24 steps"):
        prepare.hold_out([_series(60), _series(20)], 24, 3)
    assert prepare.hold_out([_series(60), _series(20)], 24, None) == []


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("M", "M"),
        ("MS", "M"),
        ("Q", "Q-DEC"),
        ("h", "h"),
        ("H", "h"),
        ("W", "W-SUN"),
        ("B", "B"),
        ("30min", "30min"),
        ("Y", "Y-DEC"),
    ],
)
def test_a_frequency_may_be_called_by_any_of_its_names(asked: str, found: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        entries = [entry(random_walk(60), found)]
        facts = _facts(entries, freq=asked)
    assert facts.freq == entries[0]["start"].freqstr


@pytest.mark.parametrize(("asked", "found"), [("h", "D"), ("15min", "30min"), ("W-WED", "W-SUN")])
def test_another_frequency_is_an_error(asked: str, found: str) -> None:
    with pytest.raises(ValueError, match=f"freq='{asked}'.*{found}"):
        _facts([entry(random_walk(60), found)], freq=asked)


def _facts(entries: list[dict], freq: str | None = None, **options) -> DataFacts:
    settings = {"scaling": "auto", "linear": "none"} | options
    return prepare.gather_facts(
        entries,
        load_series(entries, entries[0]["start"].freqstr, 0),
        prediction_length=4,
        freq=freq,
        context_length=12,
        lags=(1, 2),
        **settings,
    )


@pytest.mark.parametrize("scaling", ["increment", "whitened"])
def test_gaps_do_not_shrink_what_the_decoder_is_told(scaling: str) -> None:
    """Half of one dimension is missing: the spread of what was seen is still one."""
    rng = np.random.default_rng(0)
    target = rng.standard_normal((2, 3_000)).cumsum(axis=1)
    # Every second stretch of ten steps: most observed values follow an observed one.
    target[1, (np.arange(3_000) // 10) % 2 == 1] = np.nan
    entries = [entry(target)]
    estimator = FlowMatchingEstimator(**SMALL, scaling=scaling, linear="none")
    model = estimator.build_model(_facts(entries, scaling=scaling))
    series = load_series(entries, "D", 0)
    sampler = WindowSampler(series, model.past_length, 4)
    prepare.fit_statistics(model, series, sampler, seed=0)
    std = model.decoder.axes.unit
    assert std[0].item() == pytest.approx(1.0, abs=0.15)
    assert std[1].item() == pytest.approx(1.0, abs=0.15)


def test_wide_data_share_the_correlation_of_all_training_data() -> None:
    """Residuals of windows too short to tell a correlation are white all the same."""
    rng = np.random.default_rng(0)
    factor = np.tril(rng.normal(size=(20, 20))) / 4.0 + np.eye(20)
    entries = [entry((factor @ rng.standard_normal((20, 6_000))).cumsum(axis=1))]
    estimator = FlowMatchingEstimator(**SMALL, scaling="pooled", linear="none")
    model = estimator.build_model(_facts(entries, scaling="pooled"))
    sampler = WindowSampler(load_series(entries, "D", 0), model.past_length, 4)
    prepare.fit_statistics(model, load_series(entries, "D", 0), sampler, seed=0)
    covariance = factor @ factor.T
    scale = np.sqrt(np.diag(covariance))
    assert np.abs(covariance / np.outer(scale, scale) - np.eye(20)).max() > 0.4
    found = model.coordinates.typical_correlation
    np.testing.assert_allclose(found, covariance / np.outer(scale, scale), atol=0.06)
    window = sampler.take(torch.arange(0, len(sampler), 4))
    residuals, _, frame = model.future_residuals(window)
    assert frame.factor is not None
    assert len(frame.factor) == 1
    rows = residuals.flatten(0, 1)
    np.testing.assert_allclose(rows.T @ rows / len(rows), np.eye(20), atol=0.2)


@pytest.mark.parametrize("linear", ["none", "all"])
@pytest.mark.parametrize("scaling", ["whitened", "pooled", "seasonal", "whitened_level", "mean"])
def test_windows_with_their_residuals_are_the_windows(scaling: str, linear: str) -> None:
    """Two series, one shorter than a window and one with gaps."""
    longer = random_walk(150)
    longer[1, 20:50] = np.nan
    entries = [entry(random_walk(16, seed=1)), entry(longer)]
    estimator = FlowMatchingEstimator(**SMALL, scaling=scaling, linear=linear)
    model = estimator.build_model(_facts(entries, scaling=scaling, linear=linear)).double()
    series = load_series(entries, "D", 0)
    sampler = WindowSampler(series, model.past_length, 4)
    prepare.fit_statistics(model, series, sampler, seed=0)
    which = torch.arange(len(sampler))
    before = sampler.take(which)
    model.keep_residuals(sampler)
    after = sampler.take(which)
    assert (after.plain is None) == (scaling == "whitened_level")
    for one, two in zip(model._teacher_forced(before), model._teacher_forced(after), strict=True):
        torch.testing.assert_close(two, one)


def test_training_does_not_see_a_value_before_its_time() -> None:
    """Contexts of a step's event are functions of earlier steps alone, linear part included."""
    entries = [entry(random_walk(80))]
    for scaling in ("whitened", "whitened_level", "whitened_seasonal"):
        estimator = FlowMatchingEstimator(**SMALL, scaling=scaling, linear="all")
        facts = _facts(entries, scaling=scaling)
        model = estimator.build_model(facts).double()
        window = WindowSampler(load_series(entries, "D", 0), model.past_length, 4).draw(
            2, seeded(1)
        )
        with torch.no_grad():
            before, events, _ = model._teacher_forced(window)
            step = model.past_length + 2
            changed = window.target.clone()
            changed[0, step] += 3.0
            after, moved, _ = model._teacher_forced(window._replace(target=changed))
        rows = torch.arange(8)  # window 0: rows 0-3, window 1: rows 4-7
        same = (before - after).abs().amax((1, 2)) < 1e-12
        assert same[rows != 3].all(), scaling
        assert not same[3], scaling
        assert not torch.equal(events[2], moved[2])
        assert torch.equal(events[4:], moved[4:])


def test_a_drift_that_may_be_noise_is_none() -> None:
    """Of twelve steps means of a third of a spread are noise, of twelve hundred they are not."""
    mean = torch.tensor([0.3, -0.3, 1.0, 0.0])
    few = prepare.without_noise(mean, torch.ones(4) / 12)
    torch.testing.assert_close(few, torch.tensor([0.3 * (1 - 1 / 1.08), -0.0222222, 11 / 12, 0.0]))
    many = prepare.without_noise(mean, torch.ones(4) / 1200)
    torch.testing.assert_close(many, mean, rtol=0.01, atol=0.0)
    assert (prepare.without_noise(mean, torch.ones(4)) == 0.0).all()


def test_short_walks_have_no_drift_and_short_trends_keep_it(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    walk = rng.standard_normal((6, 60))

    def drift(steps: np.ndarray) -> float:
        data = [entry(100.0 + steps.cumsum(1))]
        options = SMALL | {"scaling": "whitened", "num_validation_windows": 0}
        estimator = FlowMatchingEstimator(**options)
        model = estimator.build_model(estimator.fit(data, progress=False).facts)
        series = load_series(data, "D", 0)
        prepare.fit_statistics(model, series, WindowSampler(series, model.past_length, 4), 0)
        return model.decoder.axes.mean.norm().item()

    kinds = walk, 2.0 + walk, 0.2 + rng.standard_normal((6, 2000))
    by_chance, trend, long = map(drift, kinds)
    monkeypatch.setattr(prepare, "_FEW_STEPS", 0)
    plain = [drift(kind) for kind in kinds]
    assert by_chance < 0.5 * plain[0]
    assert trend > 0.9 * plain[1]
    assert long == plain[2]


def test_a_solver_that_is_a_function_cannot_be_saved_and_says_so(tmp_path) -> None:
    estimator = FlowMatchingEstimator(**SMALL, solver=EulerMaruyama(diffusion=torch.ones_like))
    model = estimator.build_model(_facts([entry(random_walk())]))
    from tsdiff.estimators import GenerativePredictor

    with pytest.raises(SavedModelError, match="solver"):
        GenerativePredictor(estimator, model).save(tmp_path)
