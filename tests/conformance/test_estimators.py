"""One suite over all estimators: what every model promises, whatever its decoder."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from gluonts.evaluation import make_evaluation_predictions
from gluonts.model.predictor import Predictor
from sklearn.base import clone

import tsdiff
from tests.estimators.small import SMALL, entry, frame, random_walk, samples_of
from tsdiff.estimators import ESTIMATORS
from tsdiff.guidance import Total
from tsdiff.networks import NETWORKS
from tsdiff.solvers import GRIDS, SOLVERS, MissingFieldError

# Phases run within a few updates; estimators without any have no such parameters.
STAGES = {"warm_up": 3, "stage": 3, "num_stages": 3, "num_paths": 16, "path_steps": 4}
# Solvers that rebuild the flow from a data prediction, of which a bridge has two.
BUILT_IN = {
    name: kind for name, kind in ESTIMATORS.items() if kind.__module__.startswith("tsdiff.")
}


# Solvers that cannot sample an estimator's process, by its class; of an affine path the flow's end
# is not known.
OF_FEW_STEPS = {"ConsistencyEstimator"}
# A law without a process, which no solver can follow and no condition steer.
OF_NO_PROCESS = {"LowRankGaussianEstimator"}
OF_AFFINE_PATHS = {"consistency"}
# They take the data prediction for the whole of the process, which it isn't of a bridge.
OF_BRIDGES = {"ddim", "dpm++2m", "dpm++2s", "dpm++3m", "exponential_adams", "exponential_heun"}
REFUSES: dict[str, set[str]] = {
    "ConsistencyEstimator": set(SOLVERS) - {"consistency"},
    "LowRankGaussianEstimator": set(SOLVERS),
    "SchrodingerBridgeEstimator": OF_AFFINE_PATHS | OF_BRIDGES,
}


@pytest.fixture(params=sorted(BUILT_IN), scope="module")
def kind(request):
    return BUILT_IN[request.param]


def small(kind, **options):
    """An estimator that trains in a fraction of a second."""
    known = kind(prediction_length=1).get_params()
    stages = {name: value for name, value in STAGES.items() if name in known}
    return kind(**SMALL | stages | options)


@pytest.fixture(scope="module")
def trained(kind):
    return small(kind).fit([entry(random_walk())], progress=False)


@pytest.fixture(scope="module")
def usual(trained):
    """Many samples by the default solver."""
    return samples_of(trained, [entry(random_walk())], num_samples=400)


def weights(predictor):
    return predictor.model.state_dict()


def assert_same_weights(one, other):
    assert weights(one).keys() == weights(other).keys()
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, weights(other)[name]), name


def test_forecasts_have_the_right_shape_and_time(trained):
    series = entry(random_walk())
    (forecast,) = trained.predict([series], num_samples=11)
    assert forecast.samples.shape == (11, 4, 3)
    assert forecast.start_date == series["start"] + 160
    assert forecast.item_id == "a"
    assert np.isfinite(forecast.samples).all()


def test_saved_and_loaded_models_forecast_bit_equal(trained, tmp_path):
    trained.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    loaded = tsdiff.load(tmp_path)
    assert loaded == trained
    series = [entry(random_walk(seed=1))]
    np.testing.assert_array_equal(samples_of(loaded, series), samples_of(trained, series))


def test_gluonts_serialization_round_trip(trained, tmp_path):
    trained.serialize(tmp_path)
    loaded = Predictor.deserialize(tmp_path)
    series = [entry(random_walk(seed=1))]
    np.testing.assert_array_equal(samples_of(loaded, series), samples_of(trained, series))


def test_gluonts_evaluation_predictions(trained):
    data = [entry(random_walk()), entry(random_walk(seed=4))]
    forecasts, truths = make_evaluation_predictions(data, trained, num_samples=5)
    for forecast, truth in zip(forecasts, truths, strict=True):
        assert forecast.samples.shape == (5, 4, 3)
        assert forecast.start_date == truth.index[-4]


def test_a_second_fit_repeats_the_first(kind):
    estimator = small(kind)
    data = [entry(random_walk())]
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = estimator.fit(data, progress=False)
    assert torch.equal(torch.get_rng_state(), state[0]), "fit must leave the global seed alone"
    assert (np.random.get_state()[1] == state[1]).all()  # noqa: NPY002
    torch.manual_seed(99)
    second = clone(estimator).train(data, progress=False)
    assert_same_weights(first, second)
    assert first.history == second.history
    other = clone(estimator).set_params(seed=1).fit(data, progress=False)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(weights(first).values(), weights(other).values(), strict=True)
    )


def test_forecasts_depend_on_the_seed_alone(trained):
    data = [entry(random_walk(seed=s)) for s in range(5)]
    together = samples_of(trained, data)
    in_pairs = samples_of(trained, data, batch_size=2)
    # Matrix products round differently at another batch size, and nothing else may differ.
    np.testing.assert_allclose(in_pairs, together, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(samples_of(trained, data), together)
    assert not np.allclose(samples_of(trained, data, seed=4), together)
    assert not np.allclose(
        together[0] - data[0]["target"][:, -1], together[1] - data[1]["target"][:, -1]
    )


def test_resumed_training_equals_uninterrupted_training(kind, tmp_path):
    data = [entry(random_walk())]
    estimator = small(kind, max_epochs=4, dropout=0.1, num_layers=2, patience=9)
    whole = estimator.fit(data, progress=False)

    class Stop(Exception):
        pass

    from pytorch_lightning.callbacks import Callback

    class Interrupt(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if trainer.global_step == 10:
                raise Stop

    interrupted = clone(estimator).set_params(trainer_kwargs={"callbacks": [Interrupt()]})
    with pytest.raises(Stop):
        interrupted.fit(data, checkpoint_dir=tmp_path, progress=False)
    assert (tmp_path / "last.ckpt").exists()
    resumed = clone(estimator).fit(data, checkpoint_dir=tmp_path, progress=False)
    assert_same_weights(whole, resumed)
    assert whole.history == resumed.history


def test_trainer_kwargs_are_passed_on_and_left_alone(kind):
    kwargs = {"max_epochs": 1, "callbacks": [], "log_every_n_steps": 1}
    before = copy.deepcopy(kwargs)
    predictor = small(kind, trainer_kwargs=kwargs).fit([entry(random_walk())], progress=False)
    assert kwargs == before
    assert [row["epoch"] for row in predictor.history] == [0.0, 1.0]


@pytest.mark.parametrize("network", [n for n in sorted(NETWORKS) if not NETWORKS[n].over_steps])
@pytest.mark.parametrize("preconditioned", [True, False])
def test_every_network(kind, network, preconditioned):
    estimator = small(kind, network=network, preconditioned=preconditioned, max_epochs=1)
    predictor = estimator.fit([entry(random_walk())], progress=False)
    assert np.isfinite(samples_of(predictor, [entry(random_walk())])).all()


@pytest.mark.parametrize("solver", sorted(SOLVERS))
@pytest.mark.parametrize("grid", sorted(GRIDS))
def test_sampled_by_any_solver(trained, usual, solver, grid):
    data = [entry(random_walk())]
    if solver in REFUSES.get(type(trained.estimator).__name__, OF_AFFINE_PATHS):
        with pytest.raises(MissingFieldError, match=type(SOLVERS[solver]).__name__):
            trained.predict(data, solver=solver, num_steps=1, grid=grid)  # before anything is drawn
        return
    steps = 1 if solver == "dopri5" else 20  # it takes as many of its own as it needs
    drawn = samples_of(trained, data, solver=solver, num_steps=steps, grid=grid, num_samples=400)
    spread = usual.std((0, 1, 2))
    assert (abs(drawn.mean((0, 1)) - usual.mean((0, 1))) < 0.35 * usual.std((0, 1))).all()
    # Ancestral steps lose variance at first order, most on a grid with long ones.
    limit = 0.4 if solver == "ancestral" else 0.25
    assert (abs(drawn.std((0, 1, 2)) / spread - 1) < limit).all()


def test_guided_by_a_total(trained):
    data = [entry(random_walk())]
    total = Total(np.full(4, data[0]["target"][:, -1].sum() + 1.0))
    if type(trained.estimator).__name__ in OF_FEW_STEPS | OF_NO_PROCESS:
        with pytest.raises(MissingFieldError, match=r"can.t be steered|no process"):
            trained.predict(data, guidance=total)
        return
    drawn = samples_of(trained, data, num_samples=50, guidance=total)
    np.testing.assert_allclose(drawn.sum(-1), total.values[0], rtol=1e-6)
    assert np.ptp(drawn[..., 0]) > 0.1


def test_densities_of_what_happened(trained):
    data = [entry(random_walk()), entry(random_walk(seed=4))]
    if type(trained.estimator).__name__ in OF_FEW_STEPS:
        with pytest.raises(ValueError, match="no density"):
            trained.log_prob(data)
        return
    density = trained.log_prob(data)
    assert density.shape == (2, 4)
    assert np.isfinite(density).all()
    far = [entry(series["target"] + np.eye(160)[-1] * 50.0) for series in data]
    assert (trained.log_prob(far)[:, -1] < density[:, -1] - 10.0).all()
    np.testing.assert_allclose(trained.log_prob(data, method="elbo"), density, atol=2.0)


def test_data_frame_in_quantiles_out(kind):
    table = frame(random_walk())
    predictor = small(kind).fit(table, progress=False)
    result = predictor.predict(table, num_samples=20, quantiles=[0.1, 0.5, 0.9])
    assert list(result["dimension"].unique()) == ["x0", "x1", "x2"]
    assert len(result) == 4 * 3
    assert result["time"].min() > table.index[-1]
    low, mid, high = (result[c] for c in result.columns[-3:])
    assert (low <= mid).all()
    assert (mid <= high).all()


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("constant", np.full((2, 120), 3.0)),
        ("zero", np.zeros((2, 120))),
        ("one constant dimension", np.stack([np.full(120, 5.0), random_walk(120, 1)[0]])),
        ("duplicated dimension", np.repeat(random_walk(120, 1), 3, axis=0)),
        ("huge", 1e12 + random_walk(120, 2)),
        ("tiny", 1e-9 * random_walk(120, 2)),
        ("single dimension", random_walk(120, 1)),
    ],
)
@pytest.mark.parametrize("scaling", ["auto", "standard", "mean", "whitened_level", "pooled"])
def test_odd_series(kind, name, target, scaling):
    estimator = small(kind, max_epochs=1, num_batches_per_epoch=2, scaling=scaling)
    predictor = estimator.fit([entry(target)], progress=False)
    drawn = samples_of(predictor, [entry(target)])
    assert np.isfinite(drawn).all()
    if name in ("constant", "zero"):
        np.testing.assert_allclose(drawn, target[0, 0], atol=1e-3 if scaling == "auto" else 3.0)
    if name in ("huge", "tiny"):
        size = np.abs(np.diff(target)).mean()
        assert np.abs(drawn - target[:, -1]).max() < 100 * size or scaling == "mean"


def test_horizon_of_one_step(kind):
    predictor = small(kind, prediction_length=1).fit([entry(random_walk())], progress=False)
    assert samples_of(predictor, [entry(random_walk())]).shape == (1, 7, 1, 3)


def test_missing_values_do_not_leak(kind):
    target = random_walk()
    target[0, 40:60] = np.nan
    target[1, -3:] = np.nan
    target[2, :10] = np.nan
    original = target.copy()
    predictor = small(kind, scaling="whitened").fit([entry(target)], progress=False)
    np.testing.assert_array_equal(target, original)
    drawn = samples_of(predictor, [entry(target)])
    assert np.isfinite(drawn).all()
    # A gap at the end is bridged with the last observation; what stood there can't be known.
    filled = target.copy()
    filled[1, -3:] = filled[1, -4]
    assert not np.allclose(samples_of(predictor, [entry(filled)]), drawn)


def test_history_shorter_than_the_context(trained):
    drawn = samples_of(trained, [entry(random_walk()[:, :3])])
    assert np.isfinite(drawn).all()


def test_covariates_of_all_kinds(kind):
    rng = np.random.default_rng(0)

    def series(seed, category):
        return entry(
            random_walk(120, 2, seed),
            feat_dynamic_real=rng.standard_normal((2, 124)),
            feat_static_real=rng.standard_normal(3),
            feat_static_cat=np.array([category]),
        )

    data = [series(0, 0), series(1, 2)]
    predictor = small(kind).fit(data, progress=False)
    assert predictor.facts.cardinalities == (3,)
    drawn = samples_of(predictor, data)
    assert drawn.shape == (2, 7, 4, 2)
    short = data[0] | {"feat_dynamic_real": data[0]["feat_dynamic_real"][:, :120]}
    with pytest.raises(tsdiff.DataError, match="ends after 0 of the 4 steps to forecast"):
        predictor.predict([short])
    with pytest.raises(tsdiff.DataError, match=r"feat_static_cat\[0\].* is 7"):
        predictor.predict([data[0] | {"feat_static_cat": np.array([7])}])


def test_unpickled_from_nothing(trained, tmp_path):
    """A saved model holds JSON and tensors: no byte of pickle."""
    trained.save(tmp_path)
    for path in Path(tmp_path).iterdir():
        assert path.read_bytes()[:2] != b"\x80\x04"
    assert (tmp_path / "config.json").read_text().startswith("{")
