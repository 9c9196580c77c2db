"""Ensembles: the mixture of their members, in samples, densities, files and the benchmark."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

import tsdiff
from tests.estimators.small import SMALL, entry, frame, random_walk, samples_of
from tsdiff import EnsembleEstimator, EnsemblePredictor, FlowMatchingEstimator, ScoreEstimator
from tsdiff.evaluation import evaluate, negative_log_likelihood


@pytest.fixture(scope="module")
def data() -> list[dict]:
    return [entry(random_walk())]


@pytest.fixture(scope="module")
def predictor(data) -> EnsemblePredictor:
    return EnsembleEstimator(FlowMatchingEstimator(**SMALL, seed=1), 3).fit(data, progress=False)


def test_members_are_what_the_estimator_trains_from_their_seeds(predictor, data) -> None:
    assert [member.estimator.seed for member in predictor.members] == [3, 4, 5]
    alone = FlowMatchingEstimator(**SMALL, seed=4).fit(data, progress=False)
    assert predictor.members[1] == alone
    weights = [member.model.decoder.network.inlet.weight for member in predictor.members]
    assert not weights[0].equal(weights[1])


def test_ensembles_of_different_seeds_have_no_member_in_common() -> None:
    seeds = [
        member.seed
        for seed in range(3)
        for member in EnsembleEstimator(FlowMatchingEstimator(**SMALL, seed=seed)).make_members()
    ]
    assert len(set(seeds)) == 15


def test_samples_are_the_members_own_in_equal_shares(predictor, data) -> None:
    pooled = samples_of(predictor, data, num_samples=8, seed=3)
    assert pooled.shape == (1, 8, 4, 3)
    first = samples_of(predictor.members[0], data, num_samples=3, seed=3)
    np.testing.assert_array_equal(pooled[:, :3], first)
    alike = samples_of(predictor.members[1], data, num_samples=3, seed=3)
    assert not np.array_equal(pooled[:, 3:6], alike), "each member has noise of its own"
    np.testing.assert_array_equal(pooled, samples_of(predictor, data, num_samples=8, seed=3))
    assert not np.array_equal(pooled, samples_of(predictor, data, num_samples=8, seed=4))


def test_a_mixture_scores_no_worse_than_its_members_on_average(predictor, data) -> None:
    count, options = len(predictor.members), {"num_samples": 600, "seed": 0}
    mixture = evaluate(predictor, data, **options)["crps_sum"]
    each = [evaluate(member, data, **options)["crps_sum"].value for member in predictor.members]
    assert len(each) == count
    assert mixture.value < np.mean(each) + 3.0 * mixture.error


def test_quantiles_continue_a_frame(predictor) -> None:
    given = frame(random_walk())
    table = predictor.predict(given, 30, quantiles=[0.1, 0.9], seed=2)
    assert table["time"].min() == given.index[-1] + pd.Timedelta(1, "D")
    drawn = samples_of(predictor, [entry(random_walk())], num_samples=30, seed=2)[0]
    means = table["mean"].to_numpy().reshape(4, 3)
    np.testing.assert_allclose(means, drawn.mean(axis=0))
    assert (table["0.1"] < table["0.9"]).all()


def test_the_density_is_that_of_a_mixture_of_paths(predictor, data) -> None:
    options = {"num_steps": 8}
    each = np.stack([member.log_prob(data, **options) for member in predictor.members])
    found = predictor.log_prob(data, **options)
    paths = each.sum(axis=2)
    assert found.sum(axis=1) == pytest.approx(
        np.log(np.exp(paths - paths.max(0)).mean(axis=0)) + paths.max(0)
    )
    # Given its first step, members that foresaw it count more for the second.
    weight = np.exp(each[:, 0, 0]) / np.exp(each[:, 0, 0]).sum()
    assert found[0, 1] == pytest.approx(math.log(weight @ np.exp(each[:, 0, 1])))
    surprise = negative_log_likelihood(predictor, data, **options)
    assert surprise.value == pytest.approx(-found.mean() / 3)


def test_steps_that_are_missing_have_no_density_and_spoil_none(predictor) -> None:
    target = random_walk()
    target[1, -3] = np.nan
    found = predictor.log_prob([entry(target)], num_steps=8)
    each = np.stack([m.log_prob([entry(target)], num_steps=8) for m in predictor.members])
    np.testing.assert_array_equal(np.isnan(found), np.isnan(each).any(axis=0))
    assert np.isfinite(found[0, 0])


def test_what_follows_the_impossible_is_no_likelier() -> None:
    target = random_walk()
    estimator = EnsembleEstimator(FlowMatchingEstimator(**SMALL, path="uniform"), 2)
    predictor = estimator.fit([entry(target[:, :-4])], progress=False)
    target[:, -3] = 1e4
    found = predictor.log_prob([entry(target)], num_steps=8)
    assert np.isfinite(found[0, 0])
    assert (found[0, 1:] == -np.inf).all()


def test_it_is_saved_and_loaded(predictor, data, tmp_path) -> None:
    predictor.save(tmp_path / "m")
    for loaded in (tsdiff.load(tmp_path / "m"), EnsemblePredictor.load(tmp_path / "m")):
        assert isinstance(loaded, EnsemblePredictor)
        assert loaded == predictor
        np.testing.assert_array_equal(samples_of(loaded, data), samples_of(predictor, data))
    assert predictor != EnsemblePredictor(predictor.members[:2])
    predictor.serialize(tmp_path)
    assert EnsemblePredictor.deserialize(tmp_path).name == "3 flow matching"
    predictor.members[0].save(tmp_path / "one")
    assert isinstance(tsdiff.load(tmp_path / "one"), tsdiff.GenerativePredictor)


def test_what_cant_be_saved_leaves_what_was_there(predictor, data, tmp_path) -> None:
    predictor.save(tmp_path)
    members = [*predictor.members[:2], FlowMatchingEstimator(**SMALL).fit(data, progress=False)]
    members[2].estimator.set_params(network_kwargs={"width": object()})
    with pytest.raises(tsdiff.estimators.SavedModelError, match="network_kwargs"):
        EnsemblePredictor(members).save(tmp_path)
    assert tsdiff.load(tmp_path) == predictor


def test_neither_overwrites_the_other(predictor, tmp_path) -> None:
    predictor.save(tmp_path / "m")
    with pytest.raises(tsdiff.estimators.SavedModelError, match="holds an ensemble"):
        predictor.members[0].save(tmp_path / "m")
    predictor.members[0].save(tmp_path / "one")
    with pytest.raises(tsdiff.estimators.SavedModelError, match="holds a single model"):
        predictor.save(tmp_path / "one")
    (tmp_path / "m" / "ensemble.json").write_text("{}")
    with pytest.raises(tsdiff.estimators.SavedModelError, match="no list of an ensemble"):
        tsdiff.load(tmp_path / "m")
    with pytest.raises(FileNotFoundError, match="no saved ensemble"):
        EnsemblePredictor.load(tmp_path / "one")


def test_an_interrupted_run_is_continued(data, predictor, tmp_path) -> None:
    estimator = EnsembleEstimator(FlowMatchingEstimator(**SMALL, seed=1), 3)
    again = estimator.fit(data, checkpoint_dir=tmp_path, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["member-0", "member-1", "member-2"]
    np.testing.assert_array_equal(samples_of(again, data), samples_of(predictor, data))


def test_members_of_different_kinds(predictor, data) -> None:
    other = ScoreEstimator(**SMALL).fit(data, progress=False)
    mixed = EnsemblePredictor([*predictor.members[:2], other])
    assert mixed.name == "2 flow matching + 1 SGM"
    assert samples_of(mixed, data).shape == (1, 7, 4, 3)


def test_what_makes_no_sense_is_told(predictor, data) -> None:
    with pytest.raises(ValueError, match="at least 3, one for each member, got 2"):
        predictor.predict(data, 2)
    with pytest.raises(ValueError, match="takes no guidance"):
        predictor.predict(data, guidance=tsdiff.guidance.Bounds(lower=0.0))
    with pytest.raises(ValueError, match="at least one member"):
        EnsemblePredictor([])
    shorter = FlowMatchingEstimator(**SMALL | {"prediction_length": 2}).fit(data, progress=False)
    with pytest.raises(ValueError, match=r"dimensions\) \(2, 'D'"):
        EnsemblePredictor([predictor.members[0], shorter])
    with pytest.raises(ValueError, match="num_members must be a positive integer"):
        EnsembleEstimator(FlowMatchingEstimator(**SMALL), 0).fit(data)
    with pytest.raises(TypeError, match="members must be trained models"):
        EnsemblePredictor([predictor])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="seed must be an integer, got None"):
        EnsembleEstimator(FlowMatchingEstimator(**SMALL, seed=None), 2).fit(data)  # type: ignore[arg-type]
    assert samples_of(predictor, data, seed=-1).shape == (1, 7, 4, 3)
    with pytest.raises(TypeError, match="must be an estimator of this package"):
        EnsembleEstimator("flow").fit(data)  # type: ignore[arg-type]


def test_parameters_are_sklearns() -> None:
    estimator = EnsembleEstimator(FlowMatchingEstimator(**SMALL), num_members=2)
    copy = clone(estimator).set_params(estimator__hidden_size=16, num_members=4)
    assert (copy.estimator.hidden_size, copy.num_members) == (16, 4)
    assert (estimator.estimator.hidden_size, estimator.num_members) == (8, 2)
    assert estimator.get_params()["estimator__hidden_size"] == 8
    assert estimator.title() == "2 flow matching"
    other = clone(estimator).set_params(
        estimator__hidden_size=9, estimator=ScoreEstimator(prediction_length=4)
    )
    assert (type(other.estimator), other.estimator.hidden_size) == (ScoreEstimator, 9)
    with pytest.raises(ValueError, match="no parameter 'members'"):
        estimator.set_params(members=3)
