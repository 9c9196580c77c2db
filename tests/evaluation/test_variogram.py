"""The variogram score against a double loop, another implementation, and what makes it proper."""

from __future__ import annotations

import numpy as np
import pytest

from tsdiff.evaluation import score_samples, variogram_score


def by_double_loop(samples, target, p=0.5):
    total, pairs = 0.0, 0
    for cloud, truth in zip(samples, target, strict=True):
        for t in range(len(truth)):
            for i in range(truth.shape[1]):
                for j in range(truth.shape[1]):
                    gap = np.abs(truth[t, i] - truth[t, j]) ** p
                    if i != j and not np.isnan(gap):
                        mean = np.mean(np.abs(cloud[:, t, i] - cloud[:, t, j]) ** p)
                        total, pairs = total + (gap - mean) ** 2, pairs + 1
    return total / pairs


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0])
def test_it_is_the_double_loop_and_leaves_missing_pairs_out(scored, p):
    samples, target = scored[0], scored[1].copy()
    assert variogram_score(samples, target, p=p) == pytest.approx(
        by_double_loop(samples, target, p), rel=1e-12
    )
    target[0, 1, 0] = target[2, 3] = target[3] = np.nan
    target[1, :, 1:] = np.nan  # single values have no pair
    assert variogram_score(samples, target, p=p) == pytest.approx(
        by_double_loop(samples, target, p), rel=1e-12
    )


@pytest.mark.parametrize(("fair", "estimator"), [(False, "nrg"), (True, "fair")])
def test_it_is_scoringrules(scored, fair, estimator):
    rules = pytest.importorskip("scoringrules")
    samples, target = scored[0][:, :20], scored[1]
    theirs = rules.vs_ensemble(
        target, np.moveaxis(samples, 1, 2), p=0.5, estimator=estimator, backend="numpy"
    )
    dims = target.shape[-1]
    assert variogram_score(samples, target, fair=fair) == pytest.approx(
        theirs.mean() / (dims * (dims - 1)), rel=1e-9
    )


def normals(rng, size, correlation, scale=1.0):
    shared, own = rng.normal(size=(*size, 1)), rng.normal(size=(*size, 3))
    return scale * (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)


def test_the_true_law_scores_best():
    rng = np.random.default_rng(0)
    target = normals(rng, (1, 4000), 0.6)
    laws = {(r, s): normals(rng, (1, 200, 4000), r, s) for r in (0.2, 0.6, 0.9) for s in (1.0,)}
    laws |= {(0.6, s): normals(rng, (1, 200, 4000), 0.6, s) for s in (0.6, 1.6)}
    scores = {law: variogram_score(samples, target) for law, samples in laws.items()}
    best = scores.pop((0.6, 1.0))
    assert all(score > 1.03 * best for score in scores.values()), (best, scores)


def test_it_is_blind_to_a_shift_that_all_dimensions_share(scored):
    samples, target = scored
    assert variogram_score(samples + 7, target) == pytest.approx(variogram_score(samples, target))
    assert variogram_score(-samples, target) == pytest.approx(variogram_score(samples, target))


def test_the_fair_form_does_not_depend_on_the_number_of_samples():
    rng = np.random.default_rng(1)
    target, many = normals(rng, (1, 20_000), 0.5), normals(rng, (1, 100, 20_000), 0.5)
    limit = variogram_score(many, target, fair=True)
    assert variogram_score(many[:, :4], target, fair=True) == pytest.approx(limit, rel=0.02)
    assert variogram_score(many[:, :4], target) > 1.1 * limit


def test_many_dimensions_need_no_more_memory_than_the_samples():
    import tracemalloc

    rng = np.random.default_rng(2)
    samples, target = rng.normal(size=(1, 20, 4, 370)), rng.normal(size=(1, 4, 370))
    tracemalloc.start()
    variogram_score(samples, target)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * samples.nbytes  # all pairs at once would be 184 times the samples


def test_one_dimension_has_no_pairs_and_errors_teach(scored):
    samples, target = scored
    assert np.isnan(variogram_score(samples[..., :1], target[..., :1]))
    assert np.isnan(score_samples(samples[..., :1], target[..., :1])["variogram_score"].value)
    with pytest.raises(ValueError, match="must be positive"):
        variogram_score(samples, target, p=0)
    with pytest.raises(ValueError, match="at least 2 samples"):
        variogram_score(samples[:, :1], target, fair=True)
