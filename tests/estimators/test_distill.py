"""Few-step models of series: trained in one go, or made of a predictor that there is already."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tsdiff
from tests.estimators.small import SMALL, entry, random_walk, samples_of
from tsdiff.decoders import Consistency

STAGES = {"stage": 3, "num_stages": 2, "num_paths": 16, "path_steps": 4}
TEACHERS = {
    tsdiff.DDPMEstimator: {},
    tsdiff.FlowMatchingEstimator: {"path": "lipschitz"},
    tsdiff.InterpolantEstimator: {"noise": 0.5},
    tsdiff.ScoreEstimator: {"sde": "ve"},
    tsdiff.VSDMEstimator: STAGES,
}
every_teacher = pytest.mark.parametrize(
    ("kind", "options"), TEACHERS.items(), ids=[kind.__name__ for kind in TEACHERS]
)
SERIES = [entry(random_walk())]


@every_teacher
def test_any_predictor_can_be_distilled(kind, options, tmp_path):
    teacher = kind(**SMALL, **options).fit(SERIES, progress=False)
    before = samples_of(teacher, SERIES)
    student = teacher.distill(SERIES, progress=False, max_epochs=1, num_steps=4)
    assert np.array_equal(samples_of(teacher, SERIES), before)
    assert [row["epoch"] for row in student.history] == [0.0, 1.0]
    decoder = student.model.decoder
    assert isinstance(decoder, Consistency)
    assert decoder.teacher is None
    assert decoder.num_steps == 4
    assert student.facts == teacher.facts
    for ours, theirs in zip(
        student.model.encoder.parameters(), teacher.model.encoder.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)  # but for averaging
        assert ours.requires_grad
    student.save(tmp_path)
    loaded = tsdiff.load(tmp_path)
    assert loaded == student
    assert np.array_equal(samples_of(loaded, SERIES), samples_of(student, SERIES))


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "distillation"},
        {"objective": "distillation", "teacher": "VSDMEstimator", "teacher_kwargs": STAGES},
        {"objective": "distillation", "preconditioned": False, "num_steps": 1},
        {"objective": "moments"},
        {"objective": "moments", "latent": "learned", "num_steps": 1},
    ],
    ids=str,
)
def test_objectives_are_trained_saved_and_loaded(options, tmp_path):
    estimator = tsdiff.ConsistencyEstimator(**SMALL, **options)
    predictor = estimator.fit(SERIES, progress=False, checkpoint_dir=tmp_path / "checkpoints")
    predictor.save(tmp_path / "model")
    loaded = tsdiff.load(tmp_path / "model")
    assert np.array_equal(samples_of(predictor, SERIES), samples_of(loaded, SERIES))
    # Runs that have ended are taken as they are.
    again = estimator.fit(SERIES, progress=False, checkpoint_dir=tmp_path / "checkpoints")
    assert np.array_equal(samples_of(predictor, SERIES), samples_of(again, SERIES))
    assert again.history == predictor.history


def test_resumed_distillation_equals_uninterrupted_distillation(tmp_path):
    """Cut off in the teacher's run, and again in the student's."""
    from pytorch_lightning.callbacks import Callback

    class Stop(Exception):
        pass

    class Interrupt(Callback):
        def __init__(self, updates):
            self.left = updates

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            self.left -= 1
            if self.left == 0:
                raise Stop

    options = SMALL | {"objective": "distillation", "patience": 9}
    whole = tsdiff.ConsistencyEstimator(**options).fit(SERIES, progress=False)
    # A run has eight updates, and checkpoints after four: the second starts from there.
    for updates in (6, 4 + 6):
        cut = tsdiff.ConsistencyEstimator(
            **options, trainer_kwargs={"callbacks": [Interrupt(updates)]}
        )
        with pytest.raises(Stop):
            cut.fit(SERIES, checkpoint_dir=tmp_path, progress=False)
    assert (tmp_path / "student" / "last.ckpt").exists()
    resumed = tsdiff.ConsistencyEstimator(**options).fit(
        SERIES, checkpoint_dir=tmp_path, progress=False
    )
    assert resumed.history == whole.history
    assert np.array_equal(samples_of(resumed, SERIES), samples_of(whole, SERIES))


def test_distilling_in_one_go_or_two_is_the_same_but_for_rounding():
    """Frequencies of the network are slower from the start in the first case."""
    whole = tsdiff.ConsistencyEstimator(**SMALL, objective="distillation")
    predictor = whole.fit(SERIES, progress=False)
    assert sum("teacher" in row for row in predictor.history) == 3
    teacher = tsdiff.FlowMatchingEstimator(**SMALL).fit(SERIES, progress=False)
    student = teacher.distill(SERIES, progress=False)
    names = [set(p.model.state_dict()) for p in (predictor, student)]
    assert names[0] == names[1]
    assert student.estimator.teacher == "FlowMatchingEstimator"
    spread = [samples_of(p, SERIES, num_samples=400).std(1) for p in (predictor, student)]
    assert (np.abs(spread[0] / spread[1] - 1.0) < 0.25).all()


@pytest.mark.parametrize(
    "options", [{"path": "kac"}, {"latent": "learned"}, {"rectifications": 1}], ids=str
)
def test_what_has_no_gaussian_noise_is_refused(options):
    teacher = tsdiff.FlowMatchingEstimator(**SMALL, **options).fit(SERIES, progress=False)
    with pytest.raises(ValueError, match="independent Gaussian noise"):
        teacher.distill(SERIES, progress=False)
    with pytest.raises(ValueError, match="independent Gaussian noise"):
        tsdiff.ConsistencyEstimator(**SMALL, objective="distillation", teacher_kwargs=options).fit(
            SERIES, progress=False
        )


def test_bridges_are_refused():
    """Noise that the student puts back is independent of the data, and a bridge's isn't."""
    bridge = tsdiff.SchrodingerBridgeEstimator(**SMALL).fit(SERIES, progress=False)
    with pytest.raises(ValueError, match="independent Gaussian noise"):
        bridge.distill(SERIES, progress=False)


def test_few_steps_are_not_made_fewer():
    predictor = tsdiff.ConsistencyEstimator(**SMALL).fit(SERIES, progress=False)
    with pytest.raises(ValueError, match="distil its teacher"):
        predictor.distill(SERIES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "magic"}, "unknown objective 'magic'"),
        ({"latent": "learned"}, "for objective='moments'"),
        ({"objective": "moments", "latent": "magic"}, "unknown latent"),
        ({"objective": "distillation", "teacher": "Magic"}, "unknown teacher 'Magic'"),
        ({"objective": "distillation", "teacher": "ConsistencyEstimator"}, "unknown teacher"),
        ({"objective": "distillation", "teacher_kwargs": {"hidden_size": 3}}, "process alone"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_before_training(options, message):
    with pytest.raises(ValueError, match=message):
        tsdiff.ConsistencyEstimator(**SMALL, **options).fit(SERIES, progress=False)


def test_data_and_parameters_must_fit_the_model():
    teacher = tsdiff.FlowMatchingEstimator(**SMALL).fit(SERIES, progress=False)
    with pytest.raises(tsdiff.DataError, match="made for 3"):
        teacher.distill([entry(random_walk(dims=2))], progress=False)
    with pytest.raises(ValueError, match="for another objective fit a ConsistencyEstimator"):
        teacher.distill(SERIES, objective="moments")
    for name, value in {"hidden_size": 3, "decoding": "horizon", "num_modes": 4}.items():
        with pytest.raises(ValueError, match=f"{name} is that of the trained model"):
            teacher.distill(SERIES, **{name: value})
    short = [entry(random_walk(length=9))]
    with pytest.raises(tsdiff.DataError, match="num_validation_windows=0"):
        teacher.distill(short, progress=False)
