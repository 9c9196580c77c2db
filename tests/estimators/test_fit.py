"""The border of ``fit`` and ``predict``, and what training promises."""

from __future__ import annotations

import json
import os
import signal
import stat

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_lightning import Callback

import tsdiff
from tests.estimators.small import SMALL, entry, frame, random_walk, samples_of
from tsdiff.datasets import DataError, DataWarning, as_entries, cut_before, rolling_windows
from tsdiff.estimators import GenerativePredictor, SavedModelError, prepare
from tsdiff.estimators.lightning_module import MONITOR, _ratio, ensemble_crps_sum
from tsdiff.estimators.training import CheckpointError, TrainingDivergedError
from tsdiff.solvers import DDIM, EulerMaruyama
from tsdiff.transforms import WindowSampler, load_series

FlowMatching = tsdiff.FlowMatchingEstimator


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prediction_length": 0}, "prediction_length must be a positive integer"),
        ({"batch_size": 2.5}, "batch_size must be a positive integer"),
        ({"scaling": "whiten"}, "unknown scaling 'whiten': expected one of auto"),
        ({"linear": "ridge"}, "unknown linear 'ridge'"),
        ({"linear": "own", "scaling": "mean"}, "linear='own' corrects a simple forecast"),
        ({"network": "gnn"}, "unknown network 'gnn': expected one of mlp, dilated"),
        ({"solver": "rk45"}, "unknown solver 'rk45': expected one of euler"),
        ({"num_steps": 0}, "num_steps must be a positive integer"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"learning_rate": "fast"}, "learning_rate must be a number, got 'fast'"),
        ({"dropout": None}, "dropout must be a number, got None"),
        ({"weight_decay": -1.0}, r"weight_decay must not be negative, got -1\.0"),
        ({"gradient_clip": -1.0}, r"gradient_clip must not be negative, got -1\.0"),
        ({"freq": "fortnight"}, "unknown frequency 'fortnight'"),
        ({"lags": (0,)}, "every lag must be a positive integer"),
        ({"lags": ()}, "at least one lag"),
        ({"num_validation_windows": -1}, "num_validation_windows"),
        ({"freq": "h"}, "made for freq='h', and the data have 'D'"),
    ],
)
def test_bad_parameters_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        FlowMatching(**SMALL | options).fit([entry(random_walk())], progress=False)


def test_data_in_units_that_leave_only_rounding_are_told_of():
    estimator = FlowMatching(**SMALL | {"max_epochs": 1})
    with pytest.warns(DataWarning, match="taken for rounding"):
        estimator.fit([entry(1e-20 * random_walk())], progress=False)
    with pytest.raises(DataError, match="squares of values"):
        estimator.fit([entry(1e200 * random_walk())], progress=False)


def infinite():
    target = random_walk()
    target[1, 7] = np.inf
    return [entry(target)]


@pytest.mark.parametrize(
    "data",
    [
        [],
        infinite(),
        [entry(np.full((2, 100), np.nan))],
        [entry(random_walk(4))],
        [entry(random_walk()), entry(random_walk(dims=2))],
        frame(random_walk()).iloc[::-1],
        frame(random_walk()).drop(index=pd.Timestamp("2020-02-02")),
        frame(random_walk()).assign(x1="a"),
    ],
    ids=["empty", "infinite", "all missing", "short", "dimensions", "unsorted", "gap", "text"],
)
def test_bad_data_are_refused_before_training(data):
    with pytest.raises(ValueError) as caught:
        FlowMatching(**SMALL | {"max_epochs": 10**6}).fit(data, progress=False)
    assert len(str(caught.value)) > 30


def test_data_that_do_not_fit_the_model_are_refused():
    predictor = FlowMatching(**SMALL).fit([entry(random_walk())], progress=False)
    with pytest.raises(tsdiff.DataError, match="has 2 dimensions, and the model was made for 3"):
        predictor.predict([entry(random_walk(dims=2))])
    with pytest.raises(tsdiff.DataError, match="has frequency 'h'"):
        predictor.predict([entry(random_walk(), freq="h")])
    with pytest.raises(ValueError, match="num_samples must be a positive integer"):
        predictor.predict([entry(random_walk())], num_samples=0)
    with pytest.raises(ValueError, match="unknown solver"):
        predictor.predict([entry(random_walk())], solver="magic")


def test_training_stops_before_the_first_validation_step():
    data = [entry(random_walk(200))]
    validation = rolling_windows(data, 4, 3)
    kept = cut_before(data, validation, 4)
    assert kept[0]["target"].shape[1] == 200 - 3 * 4
    with pytest.raises(tsdiff.DataError, match="no training data are left"):
        cut_before(data, rolling_windows(data, 4, 49), 4)


def test_what_comes_after_the_cut_has_no_influence():
    """Held-out values choose when to stop; weights after one epoch mustn't know them."""
    target = random_walk(200)
    changed = target.copy()
    changed[:, -8:] += 1000.0
    options = SMALL | {"num_validation_windows": 2, "max_epochs": 1}
    one = FlowMatching(**options).fit([entry(target)], progress=False)
    other = FlowMatching(**options).fit([entry(changed)], progress=False)
    assert one.history[1]["train_loss"] == other.history[1]["train_loss"]
    assert one.history[1]["validation_loss"] != other.history[1]["validation_loss"]


def test_training_can_only_improve_on_the_simple_forecast():
    options = SMALL | {"learning_rate": 3.0, "max_epochs": 2, "gradient_clip": 1e9}
    estimator = FlowMatching(**options)
    predictor = estimator.fit([entry(random_walk())], progress=False)
    assert min(row["validation_score"] for row in predictor.history[1:]) > 1.0
    fresh = estimator.build_model(predictor.facts)
    mine = predictor.model.encoder.state_dict()
    for name, tensor in fresh.encoder.state_dict().items():
        assert torch.equal(tensor, mine[name])


@pytest.mark.parametrize("estimator", [tsdiff.VSDMEstimator, tsdiff.LowRankGaussianEstimator])
def test_a_simple_forecast_of_short_data_is_made_of_all_of_them(estimator):
    """Windows that were held out in vain are no loss: a third of the data, here."""
    target = random_walk(60)
    options = SMALL | {"prediction_length": 6, "scaling": "whitened_level", "max_epochs": 1}
    hopeless = {"learning_rate": 3.0, "gradient_clip": 1e9}
    in_vain = estimator(**options | hopeless).fit([entry(target)], progress=False)
    assert in_vain.history[1][MONITOR] > 1.0
    np.testing.assert_allclose(in_vain.model.coordinates.centre, target.mean(1))
    # As it would be if nothing were held out, and nothing trained.
    plain = estimator(**options).build_model(in_vain.facts)
    series = load_series(as_entries([entry(target)]), "D", 0)
    prepare.fit_statistics(plain, series, WindowSampler(series, plain.past_length, 6), 0)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, in_vain.model.state_dict()[name]), name


def trained_on(length, horizon):
    """Steps before the windows that are held out by default."""
    windows = prepare.hold_out([entry(random_walk(length))], horizon, None)
    return windows[0]["target"].shape[1] - horizon


def test_coordinates_stay_where_weights_or_most_of_the_data_know_them():
    options = SMALL | {"prediction_length": 6, "scaling": "whitened_level", "max_epochs": 1}
    target = 10.0 + np.cos(np.arange(60.0)) + 0.1 * np.random.default_rng(0).normal(size=(2, 60))
    trained = FlowMatching(**options | {"learning_rate": 0.01}).fit([entry(target)], progress=False)
    assert trained.history[1][MONITOR] < 1.0
    kept = target[:, : trained_on(60, 6)]
    assert kept.shape[1] < 54
    np.testing.assert_allclose(trained.model.coordinates.centre, kept.mean(1))
    hopeless = {"learning_rate": 3.0, "gradient_clip": 1e9}
    long = random_walk(400)
    untrained = FlowMatching(**options | hopeless).fit([entry(long)], progress=False)
    assert untrained.history[1][MONITOR] > 1.0
    kept = long[:, : trained_on(400, 6)]
    assert kept.shape[1] > 360
    np.testing.assert_allclose(untrained.model.coordinates.centre, kept.mean(1))


def test_an_interrupt_is_one_and_leaves_the_process_as_it_was():
    """A notebook must go on, and be interrupted again."""

    class Interrupt(Callback):
        def on_train_batch_end(self, *arguments):
            raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    estimator = FlowMatching(**SMALL, trainer_kwargs={"callbacks": Interrupt()})
    try:
        with pytest.raises(KeyboardInterrupt):
            estimator.fit([entry(random_walk())], progress=False)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, handler)


def test_a_diverging_loss_stops_with_an_explanation():
    estimator = FlowMatching(**SMALL | {"learning_rate": 1e30, "gradient_clip": 1e30})
    with pytest.raises(TrainingDivergedError, match="lower learning_rate"):
        estimator.fit([entry(random_walk())], progress=False)


def test_without_validation_windows_all_epochs_are_run():
    options = SMALL | {"num_validation_windows": 0, "max_epochs": 3}
    predictor = FlowMatching(**options).fit([entry(random_walk())], progress=False)
    assert [row["epoch"] for row in predictor.history] == [1.0, 2.0, 3.0]
    assert all(np.isfinite(row["train_loss"]) for row in predictor.history)


def test_untrained_model_is_the_joint_random_walk():
    rng = np.random.default_rng(1)
    factor = np.array([[1.0, 0.0], [0.9, 0.3]])
    target = (factor @ rng.standard_normal((2, 2000))).cumsum(axis=1)
    estimator = FlowMatching(prediction_length=5, num_validation_windows=0, scaling="whitened")
    entries = as_entries([entry(target)])
    series = load_series(entries, "D", 0)
    facts = prepare.gather_facts(
        entries,
        series,
        prediction_length=5,
        freq=None,
        context_length=500,
        lags=None,
        scaling="whitened",
        linear="none",
    )
    model = estimator.build_model(facts)
    prepare.fit_statistics(model, series, WindowSampler(series, model.past_length, 5), 0)
    drawn = samples_of(GenerativePredictor(estimator, model), entries, num_samples=4000)[0]
    change = drawn - target[:, -1]
    standard_error = np.sqrt(np.arange(1, 6)[:, None] * np.diag(factor @ factor.T) / 4000)
    assert (abs(change.mean(0)) < 5 * standard_error).all()
    for step in (0, 4):
        law = (step + 1) * factor @ factor.T
        np.testing.assert_allclose(np.cov(change[:, step].T), law, rtol=0.12, atol=0.02)


def test_solver_objects_survive_saving(tmp_path):
    estimator = FlowMatching(**SMALL | {"solver": DDIM(eta=0.5), "num_steps": 3})
    predictor = estimator.fit([entry(random_walk())], progress=False)
    predictor.save(tmp_path)
    loaded = tsdiff.load(tmp_path)
    assert loaded.estimator.solver == DDIM(eta=0.5)
    data = [entry(random_walk())]
    np.testing.assert_array_equal(samples_of(loaded, data), samples_of(predictor, data))


def test_a_value_that_cannot_be_data_is_warned_of_before_training():
    table = frame(random_walk())
    table.loc["2020-03-01", "x1"] *= 1e6
    broken = FlowMatching(**SMALL | {"trainer_kwargs": {"no_such_option": 1}})
    expected = r"column 'x1' holds .* at 2020-03-01, .* set it to NaN if it is a fault"
    with pytest.warns(DataWarning, match=expected), pytest.raises(TypeError):
        broken.fit(table, progress=False)


@pytest.mark.skipif(os.name != "posix", reason="there are no permissions of POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_who_may_read_a_saved_model_is_up_to_the_umask(mask, tmp_path):
    predictor = FlowMatching(**SMALL).fit([entry(random_walk())], progress=False)
    before = os.umask(mask)
    try:
        predictor.save(tmp_path)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("config.json", "model.safetensors"), 0o666 & ~mask)


def test_what_cannot_be_saved_or_loaded_says_so(tmp_path):
    estimator = FlowMatching(**SMALL | {"solver": EulerMaruyama(diffusion=lambda t: t)})
    predictor = estimator.fit([entry(random_walk())], progress=False)
    with pytest.raises(SavedModelError, match="solver"):
        predictor.save(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        tsdiff.load(tmp_path)
    good = FlowMatching(**SMALL).fit([entry(random_walk())], progress=False)
    good.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, message in (
        ({"estimator": "os.system"}, "unknown estimator"),
        ({"format": 99}, "has format 99"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(SavedModelError, match=message):
            tsdiff.load(tmp_path)
    (tmp_path / "config.json").write_text("not json")
    with pytest.raises(SavedModelError, match="is not the configuration"):
        tsdiff.load(tmp_path)


def test_an_ended_run_is_not_run_again(tmp_path):
    estimator, data = FlowMatching(**SMALL), [entry(random_walk())]
    first = estimator.fit(data, checkpoint_dir=tmp_path, progress=False)
    written = (tmp_path / "last.ckpt").stat().st_mtime_ns
    second = estimator.fit(data, checkpoint_dir=tmp_path, progress=False)
    assert (tmp_path / "last.ckpt").stat().st_mtime_ns == written
    assert first == second
    assert first.history == second.history


def test_checkpoints_of_another_run_are_refused(tmp_path):
    data = [entry(random_walk())]
    FlowMatching(**SMALL).fit(data, checkpoint_dir=tmp_path, progress=False)
    other = FlowMatching(**SMALL | {"learning_rate": 2e-3})
    with pytest.raises(CheckpointError, match=r"learning_rate: 0\.001 there, 0\.002 here"):
        other.fit(data, checkpoint_dir=tmp_path, progress=False)
    with pytest.raises(CheckpointError, match="data: "):
        FlowMatching(**SMALL).fit(
            [entry(random_walk(seed=9))], checkpoint_dir=tmp_path, progress=False
        )


def test_parameters_may_be_arrays_and_numbers_of_numpy(tmp_path):
    data = [entry(random_walk())]
    given = {"lags": np.array([1, 2]), "prediction_length": np.int64(4)}
    predictor = FlowMatching(**SMALL | given).fit(data, progress=False)
    predictor.save(tmp_path)
    assert tsdiff.load(tmp_path) == predictor
    plain = FlowMatching(**SMALL).fit(data, progress=False)
    assert np.array_equal(samples_of(predictor, data), samples_of(plain, data))
    with pytest.raises(ValueError, match="at least one lag"):
        FlowMatching(**SMALL | {"lags": np.array([], int)}).check()


def test_log_densities_are_compared_by_differences():
    """Where spreads are small their zero lies anywhere; worse is worse on either side of it."""
    data = [entry(random_walk())]
    predictor = tsdiff.LowRankGaussianEstimator(**SMALL).fit(data, progress=False)
    untrained, *trained = predictor.history
    for row in trained:
        ratio = row["validation_crps_sum"] / untrained["validation_crps_sum"]
        change = row["validation_loss"] - untrained["validation_loss"]
        assert row[MONITOR] == pytest.approx((np.exp(change) + ratio) / 2)
    for start in (-0.318, 0.0, 1.42):
        scores = [_ratio(start + by, start, in_nats=True) for by in (-0.1, 0.0, 0.018, 1e9)]
        assert scores == sorted(scores)
        assert scores[1] == 1.0
        assert np.isfinite(scores).all()
    assert _ratio(np.nan, -0.3, in_nats=True) == np.inf


def test_the_progress_bar_can_be_silenced(capfd):
    data = [entry(random_walk())]
    FlowMatching(**SMALL).fit(data)
    assert "training" in capfd.readouterr().err
    FlowMatching(**SMALL).fit(data, progress=False)
    assert capfd.readouterr() == ("", "")


def test_validation_score_is_the_fair_ensemble_crps():
    rng = np.random.default_rng(0)
    samples, truth = rng.standard_normal((2, 9, 3, 2)), rng.standard_normal((2, 3, 2))
    ensemble, target = samples.sum(-1), truth.sum(-1)
    pairs = np.abs(ensemble[:, :, None] - ensemble[:, None]).sum((1, 2)) / (9 * 8)
    crps = np.abs(ensemble - target[:, None]).mean(1) - 0.5 * pairs
    expected = crps.sum() / np.abs(target).sum()
    arrays = torch.from_numpy(samples), torch.from_numpy(truth)
    assert ensemble_crps_sum(*arrays, torch.ones(2, 3, 2)) == pytest.approx(expected, rel=1e-12)


def test_a_predictor_keeps_the_parameters_that_it_was_made_with(tmp_path):
    estimator = FlowMatching(**SMALL)
    predictor = estimator.fit([entry(random_walk())], progress=False)
    estimator.set_params(hidden_size=64, num_layers=3)
    predictor.save(tmp_path)
    assert tsdiff.load(tmp_path) == predictor


def test_parameters_follow_scikit_learn():
    estimator = FlowMatching(prediction_length=3)
    assert estimator.get_params()["prediction_length"] == 3
    assert estimator.set_params(seed=5) is estimator
    assert estimator.seed == 5
    with pytest.raises(ValueError, match="has no parameter 'sed'"):
        estimator.set_params(sed=5)
    assert tsdiff.TimeGradEstimator is tsdiff.DDPMEstimator


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (tsdiff.ScoreEstimator, {"sde": "vq"}, "unknown process 'vq': expected one of vp"),
        (tsdiff.ScoreEstimator, {"sde_kwargs": {"beta_min": -1.0}}, "beta_min"),
        (tsdiff.VSDMEstimator, {"zeta": 2.0}, "zeta must lie"),
        (tsdiff.VSDMEstimator, {"structure": "banded"}, "unknown structure 'banded'"),
        (tsdiff.VSDMEstimator, {"decoder_kwargs": {"zeta": 0.9}}, "of its own: use that"),
        (tsdiff.SchrodingerBridgeEstimator, {"method": "sinkhorn"}, "unknown method 'sinkhorn'"),
        (tsdiff.SchrodingerBridgeEstimator, {"solver": "ddim"}, "choose another solver"),
    ],
)
def test_bad_processes_are_named(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**SMALL | options).fit([entry(random_walk())], progress=False)


def test_solvers_inside_dictionaries_are_saved(tmp_path):
    estimator = tsdiff.VSDMEstimator(**SMALL, decoder_kwargs={"path_solver": DDIM(eta=0.5)})
    predictor = estimator.fit([entry(random_walk())], progress=False)
    predictor.save(tmp_path)
    assert tsdiff.load(tmp_path).model.decoder.path_solver == DDIM(eta=0.5)


def test_phases_run_where_no_event_is_whole():
    target = random_walk()
    hidden = np.random.default_rng(1).integers(0, 3, target.shape[1])
    target[hidden, np.arange(target.shape[1])] = np.nan
    estimator = tsdiff.VSDMEstimator(**SMALL, stage=2, num_stages=2, num_paths=8, path_steps=4)
    predictor = estimator.fit([entry(target)], progress=False)
    assert np.isfinite(samples_of(predictor, [entry(target)])).all()


VARIANTS = [
    (tsdiff.FlowMatchingEstimator, {"path": "kac", "path_kwargs": {"rate": 9.0, "speed": 3.0}}),
    (tsdiff.FlowMatchingEstimator, {"path": "uniform"}),
    (tsdiff.FlowMatchingEstimator, {"latent": "learned"}),
    (tsdiff.FlowMatchingEstimator, {"latent": "learned", "latent_energy": "joint"}),
    (tsdiff.FlowMatchingEstimator, {"coupling": "optimal_transport", "path": "cosine"}),
    (tsdiff.FlowMatchingEstimator, {"rectifications": 2}),
    (tsdiff.FlowMatchingEstimator, {"rectifications": 1, "latent": "learned", "num_steps": 1}),
    (tsdiff.InterpolantEstimator, {"noise": 0.5, "power": 2.0}),
]


@pytest.mark.parametrize(("kind", "options"), VARIANTS, ids=[str(v) for _, v in VARIANTS])
def test_variants_are_trained_saved_and_loaded(kind, options, tmp_path):
    series = [entry(random_walk())]
    predictor = kind(**SMALL, **options).fit(
        series, progress=False, checkpoint_dir=tmp_path / "checkpoints"
    )
    predictor.save(tmp_path / "model")
    loaded = tsdiff.load(tmp_path / "model")
    assert np.array_equal(samples_of(predictor, series), samples_of(loaded, series))
    # A run that has ended is taken as it is.
    again = kind(**SMALL, **options).fit(
        series, progress=False, checkpoint_dir=tmp_path / "checkpoints"
    )
    assert np.array_equal(samples_of(predictor, series), samples_of(again, series))


def test_a_rectified_flow_takes_two_evaluations_and_keeps_its_encoder():
    series = [entry(random_walk())]
    plain, rectified = (
        tsdiff.FlowMatchingEstimator(**SMALL, rectifications=number).fit(series, progress=False)
        for number in (0, 1)
    )
    decoder = rectified.model.decoder
    assert (type(decoder.solver).__name__, decoder.num_steps) == ("Euler", 2)
    for ours, theirs in zip(
        rectified.model.encoder.parameters(), plain.model.encoder.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert all(parameter.requires_grad for parameter in rectified.model.parameters())
    assert sum("rectification" in row for row in rectified.history) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rectifications": -1}, "integer of at least 0"),
        ({"rectifications": 1, "path": "cosine"}, "straight lines"),
        ({"path": "kac", "latent": "learned"}, "noise of its own"),
    ],
)
def test_flows_that_make_no_sense_are_refused_before_training(options, message):
    with pytest.raises(ValueError, match=message):
        tsdiff.FlowMatchingEstimator(**SMALL, **options).fit([entry(random_walk())])
