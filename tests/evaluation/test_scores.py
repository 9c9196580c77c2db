"""The Monte-Carlo error, and evaluations as JSON."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from tsdiff.evaluation import Evaluation, Score, metrics, score_samples
from tsdiff.evaluation.scores import score_windows


def walk_samples(rng, centre, count=100):
    """Correlated random walks [W, N, T, D] around given starts [W, D]."""
    windows, dims = centre.shape
    shared = rng.normal(size=(windows, count, 20, 1))
    steps = 0.7 * shared + rng.normal(size=(windows, count, 20, dims))
    return centre[:, None, None] + 0.1 * np.cumsum(steps, axis=2)


def test_monte_carlo_error_is_the_spread_over_redraws():
    rng = np.random.default_rng(0)
    centre = rng.uniform(1, 3, size=(5, 4))
    target = walk_samples(rng, centre, count=1)[:, 0]
    draws = [score_samples(walk_samples(rng, centre), target) for _ in range(50)]
    for metric in draws[0]:
        spread = np.std([draw[metric].value for draw in draws], ddof=1)
        error = np.mean([draw[metric].error for draw in draws])
        assert spread / 1.5 < error < 1.5 * spread, (metric, spread, error)


def test_the_error_of_an_energy_score_in_closed_form():
    """A sample x takes part in both terms: what it moves the score by is |x - y| - E|x - X|."""
    x = np.random.default_rng(3).standard_normal((1, 4000, 1, 1))
    score = score_samples(x, np.array([[[0.5]]]), num_replicates=2)["energy_score"]
    grid = np.linspace(-9, 9, 20_001)
    density = norm.pdf(grid) * (grid[1] - grid[0])
    distance = grid * (2 * norm.cdf(grid) - 1) + 2 * norm.pdf(grid)
    influence = np.abs(grid - 0.5) - distance
    mean = (influence * density).sum()
    expected = np.sqrt((((influence - mean) ** 2) * density).sum() / 4000)
    assert score.error == pytest.approx(expected, rel=0.05)  # at half the spread, 19 % more


def test_error_shrinks_with_the_root_of_the_number_of_samples():
    rng = np.random.default_rng(1)
    centre = rng.uniform(1, 3, size=(8, 4))
    target = walk_samples(rng, centre, count=1)[:, 0]
    few, many = (
        np.mean(
            [score_samples(walk_samples(rng, centre, n), target)["crps_sum"].error for _ in "abc"]
        )
        for n in (50, 450)
    )
    assert few / many == pytest.approx(3, rel=0.25)


def test_scores_are_the_metrics(scored):
    scores = score_samples(*scored)
    for name in ("crps_sum", "crps_sum_q19", "crps_sum_q9", "crps", "crps_q19", "nd", "nrmse",
                 "energy_score"):  # fmt: skip
        assert scores[name].value == pytest.approx(getattr(metrics, name)(*scored), rel=1e-12)
    assert scores["crps_sum_fair"].value == pytest.approx(metrics.crps_sum(*scored, fair=True))
    assert scores["coverage_80"].value == pytest.approx(metrics.coverage(*scored)[0.8])
    assert scores["coverage_sum_95"].value == pytest.approx(metrics.coverage_sum(*scored)[0.95])


def test_scores_repeat_and_points_have_no_error(scored):
    samples, target = scored
    assert score_samples(samples, target) == score_samples(samples, target)
    point = score_samples(np.repeat(samples[:, :1], 10, axis=1), target)
    assert not any(score.is_random for score in point.values())
    assert "±" not in str(point["crps_sum"])
    single = score_samples(samples[:, :1], target)
    assert np.isnan(single["crps_sum"].error)
    assert "crps_sum_fair" not in single
    assert np.isnan(score_samples(samples, target, num_replicates=0)["crps_sum"].error)


def test_score_reads_well():
    assert str(Score(0.00463, 0.00018)) == "0.0046 ± 0.0002"
    assert str(Score(1234.567, 12.3456)) == "1234.6 ± 12.3"
    assert float(Score(0.5)) == 0.5


def make_evaluation(scored, **fields):
    return Evaluation(
        name="model", scores=score_samples(*scored), num_windows=4, num_samples=100,
        prediction_length=6, target_dim=3, **fields,
    )  # fmt: skip


def test_json_round_trip(scored, tmp_path: Path):
    evaluation = make_evaluation(scored, seed=3, seconds=0.25)
    file = tmp_path / "scores.json"
    text = evaluation.to_json(file)
    assert Evaluation.from_json(text) == evaluation
    assert Evaluation.from_json(file) == evaluation


def test_it_is_printed_as_an_aligned_table(scored):
    lines = str(make_evaluation(scored)).splitlines()
    assert lines[0] == "model: 4 windows of 6 steps, 3 dimensions, 100 samples"
    table = lines[2:-2]
    assert table[0].split("  ")[-1] == "Monte-Carlo error"
    assert {len(line) for line in table} == {len(table[0])}  # every error ends where its head does
    assert [line.split()[0] for line in table[1:]] == list(score_samples(*scored))
    score = make_evaluation(scored)["coverage_80"]
    share, error = round(100 * score.value), round(100 * score.error)
    assert f"{share} %" in str(make_evaluation(scored))
    assert [line.split()[-1] for line in table if line.startswith("coverage_80")] == [str(error)]
    point = Evaluation("zeros", {"crps_sum": Score(2.0, 0.0)}, 1, 1, 1, 1)
    assert "1 window of 1 steps, 1 dimension, 1 samples" in str(point)
    assert "crps_sum  2.0000\n" in str(point)
    assert len(repr(make_evaluation(scored))) < 200


def test_scores_as_a_frame(scored):
    frame = make_evaluation(scored).to_frame()
    assert (frame.index.name, list(frame)) == ("metric", ["value", "error"])
    score = make_evaluation(scored)["nd"]
    assert frame.loc["nd"].tolist() == [score.value, score.error]


def test_scores_of_single_dimensions_and_series(scored):
    """They are the metrics of these alone, also after a round trip as JSON."""
    samples, target = scored
    target[2, 3, 1] = np.nan
    scores, terms = score_windows(samples, target)
    names = {"item_ids": ("a", "b", "a", "b"), "dimension_names": ("x", "y", "z")}
    sizes = {"num_windows": 4, "num_samples": 100, "prediction_length": 6, "target_dim": 3}
    result = Evaluation(name="model", scores=scores, terms=terms, **sizes, **names)
    result = Evaluation.from_json(result.to_json())
    for metric in ("crps", "crps_q19"):
        found = result.by_dimension(metric)
        assert found.index.tolist() == ["x", "y", "z"]
        of = getattr(metrics, metric)
        alone = [of(samples[..., [d]], target[..., [d]]) for d in range(3)]
        np.testing.assert_allclose(found, alone, rtol=1e-6)
        assert found.mean() == pytest.approx(result[metric].value)
    for metric in ("crps_sum_q19", "crps", "nrmse", "coverage_sum_80", "variogram_score"):
        found = result.by_item(metric)
        assert found.index.tolist() == ["a", "b"]
        alone = [score_samples(samples[w::2], target[w::2])[metric].value for w in (0, 1)]
        np.testing.assert_allclose(found, alone, rtol=1e-6)


def test_what_is_not_kept_is_said(scored):
    _, terms = score_windows(*scored)
    result = replace(make_evaluation(scored), terms=terms)
    assert result.by_dimension().index.tolist() == ["0", "1", "2"]
    with pytest.raises(KeyError, match="'nd' is not kept for single dimensions; there is: crps"):
        result.by_dimension("nd")
    with pytest.raises(KeyError, match="'pit_error' is not kept for single windows"):
        result.by_item("pit_error")
    with pytest.raises(ValueError, match="give every entry an 'item_id'"):
        result.by_item()
    with pytest.raises(ValueError, match="evaluate again"):
        make_evaluation(scored).by_dimension()
    zero = replace(result, terms={**terms, "scale": terms["scale"] * [1, 0, 1]})
    assert np.isnan(zero.by_dimension()).tolist() == [False, True, False]


def test_json_has_no_nan():
    evaluation = Evaluation("zeros", {"crps_sum": Score(float("nan"))}, 1, 1, 1, 1)
    assert "NaN" not in evaluation.to_json()
    assert np.isnan(Evaluation.from_json(evaluation.to_json())["crps_sum"].value)


def test_an_infinite_surprise_is_no_missing_one():
    """What a model held to be impossible has happened; NaN is a model without a density."""
    evaluation = Evaluation("bounded", {"nll": Score(np.inf), "low": Score(-np.inf)}, 1, 1, 1, 1)
    again = Evaluation.from_json(evaluation.to_json())
    assert again["nll"].value == np.inf
    assert again["low"].value == -np.inf
    assert np.isnan(again["nll"].error)


def test_evaluation_cannot_be_changed(scored):
    evaluation = make_evaluation(scored)
    with pytest.raises(AttributeError):
        evaluation.name = "better"
    with pytest.raises(TypeError):
        evaluation.scores["crps_sum"] = Score(0.0)


def test_errors_teach(scored):
    with pytest.raises(KeyError, match="it has: crps_sum_q19"):
        make_evaluation(scored)["mase"]
    with pytest.raises(ValueError, match=r"pathlib\.Path"):
        Evaluation.from_json("scores.json")
    with pytest.raises(ValueError, match="not an evaluation"):
        Evaluation.from_json('{"name": "x"}')


def test_an_evaluation_travels_between_processes(scored):
    sizes = {"num_windows": 2, "num_samples": 5, "prediction_length": 3, "target_dim": 2}
    result = Evaluation(scores=score_samples(*scored), name="model", **sizes)
    again = copy.deepcopy(result)
    assert again == result
    with pytest.raises(TypeError):
        again.scores["crps"] = Score(0.0, 0.0)
