"""Significance of differences: intervals that cover, what is paired, and what files keep."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest

from tsdiff.evaluation import Evaluation, compare, score_forecasts
from tsdiff.evaluation.pooling import SCALES, resampled_score
from tsdiff.evaluation.scores import score_windows


def scored_evaluation(name, samples, target, seed=0):
    scores, terms = score_windows(samples, target, num_replicates=2)
    windows, count, steps, dims = samples.shape
    return Evaluation(name, scores, windows, count, steps, dims, seed=seed, terms=terms)


def synthetic(name, loss, scale):
    """An evaluation whose crps_sum is a ratio of given sums over windows."""
    nothing = {key: np.zeros(len(loss)) for key in SCALES}
    terms = {**nothing, "scale_sum": scale, "crps_sum": loss}
    scores = {"crps_sum": _score(loss.sum() / scale.sum())}
    return Evaluation(name, scores, len(loss), 100, 10, 2, terms=terms)


def _score(value):
    from tsdiff.evaluation import Score

    return Score(float(value))


@pytest.mark.parametrize("holes", [False, True])
def test_every_score_is_found_again_from_the_windows(scored, holes):
    samples, target = scored[0], scored[1].copy()
    if holes:
        target[0, 1, 0] = target[2] = np.nan
        target[..., 2] = 0.0  # a dimension without scale
    scores, terms = score_windows(samples, target, num_replicates=0)
    assert set(scores) - set(terms) == {
        "pit_error", "pit_error_sum", "pit_error_calibrated", "pit_error_sum_calibrated",
    }  # fmt: skip
    for metric in set(terms) - set(SCALES):
        again = resampled_score(metric, terms, np.ones((1, 4)))
        assert again[0] == pytest.approx(scores[metric].value, rel=1e-12), metric
    # A resample is what scoring these windows would give.
    picked = [0, 0, 1, 3]
    expected, _ = score_windows(samples[picked], target[picked], num_replicates=0)
    counts = np.bincount(picked, minlength=4)[None].astype(float)
    for metric in set(terms) - set(SCALES):
        again = resampled_score(metric, terms, counts)[0]
        assert again == pytest.approx(expected[metric].value, rel=1e-10), metric


@pytest.mark.parametrize(("windows", "least"), [(5, 0.9), (30, 0.92)])
def test_intervals_cover_the_true_difference(windows, least):
    """Losses and scales vary together; the two methods share most of their luck."""
    rng = np.random.default_rng(windows)
    covered = []
    for _ in range(300):
        scale = rng.gamma(8, size=windows)
        luck = scale * rng.gamma(5, 0.2, size=windows)
        first = luck + 0.3 * rng.normal(size=windows)
        second = luck + 0.1 * scale + 0.3 * rng.normal(size=windows)
        found = compare([synthetic("a", first, scale), synthetic("b", second, scale)]).significance(
            "crps_sum", against="a", num_resamples=2000
        )["b"]
        covered.append(found.lower <= 0.1 <= found.upper)
    assert least <= np.mean(covered) <= 0.985


@pytest.mark.parametrize("windows", [2, 3, 4])
def test_of_few_windows_the_interval_is_no_narrower_than_it_says(windows):
    """The least and greatest of W differences hold their median in 1 - 2^(1-W) of cases only."""
    rng = np.random.default_rng(windows)
    base = synthetic("a", np.full(windows, 2.0), np.ones(windows))
    covered = []
    for _ in range(400):
        other = synthetic("b", 2.0 + rng.normal(size=windows), np.ones(windows))
        found = compare([base, other]).significance("crps_sum", against="a", num_resamples=1000)
        covered.append(not found["b"].is_significant)
        assert found["b"].lower < found["b"].value < found["b"].upper
    assert 0.92 <= np.mean(covered) <= 0.985


def test_no_interval_where_a_single_window_has_a_scale():
    scale = np.array([1.0, 0.0])
    pair = [synthetic(name, np.array([loss, 0.0]), scale) for name, loss in (("a", 1), ("b", 2))]
    table = compare(pair).significance("crps_sum", against="a", num_resamples=1000)
    assert "nan" not in table.to_markdown()
    found = table["b"]
    assert found.value == 1.0
    assert np.isnan(found.lower)
    assert not found.is_significant


def test_series_of_one_time_are_drawn_together():
    """Ten series share a fifth of their variance: taken one by one, every fourth trial errs."""
    rng = np.random.default_rng(7)
    items = tuple("abcdefghij") * 6  # as rolling_windows orders them
    scale = np.ones(60)
    found = []
    for _ in range(300):
        luck = 0.5 * rng.normal(size=(6, 1)) + rng.normal(size=(6, 10))
        pair = [synthetic("a", np.full(60, 9.0), scale), synthetic("b", 9.0 + luck.ravel(), scale)]
        pair[1] = replace(pair[1], item_ids=items)
        table = compare(pair).significance("crps_sum", against="a", num_resamples=1000)
        found.append(table["b"].is_significant)
    assert 0.015 <= np.mean(found) <= 0.09
    assert table.caption.startswith("Paired bootstrap over 6 times, each with the windows of all")


@pytest.mark.parametrize("items", [("a",) * 12, tuple("abcdefghijkl"), ()])
def test_a_single_series_and_single_windows_are_drawn_one_by_one(items):
    rng = np.random.default_rng(5)
    scale = np.full(12, 3.0)
    pair = [synthetic(name, rng.gamma(5, size=12), scale) for name in "ab"]
    plain = compare(pair).significance("crps_sum", against="a", num_resamples=1000)
    named = [replace(e, item_ids=items) for e in pair]
    again = compare(named).significance("crps_sum", against="a", num_resamples=1000)
    assert again == plain
    assert again.caption.startswith("Paired bootstrap over 12 windows.")


def test_without_a_difference_it_is_seldom_significant_and_signs_flip():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(300):
        scale = np.full(12, 3.0)
        one, other = rng.gamma(9, size=(2, 12))
        both = compare([synthetic("a", one, scale), synthetic("b", other, scale)])
        found.append(both.significance("crps_sum", against="a", num_resamples=1000)["b"])
    assert np.mean([f.is_significant for f in found]) < 0.09
    # Flips are a one-sided p-value folded at a half: uniform on (0, 1/2).
    assert np.mean([f.flips for f in found]) == pytest.approx(0.25, abs=0.03)


def test_what_windows_share_cancels():
    """A method 2 % better in every window is so for sure, however windows differ."""
    rng = np.random.default_rng(3)
    loss, scale = rng.gamma(1, size=8), np.ones(8)
    both = compare([synthetic("a", loss, scale), synthetic("b", 0.98 * loss, scale)])
    found = both.significance("crps_sum", against="a")["b"]
    assert found.upper < 0
    assert found.flips == 0
    assert both.significance("crps_sum").against == "b"  # the best, by default


def test_seeds_widen_the_interval_as_they_scatter():
    rng = np.random.default_rng(4)
    scale = np.ones(200)
    loss = 1 + 0.01 * rng.normal(size=200)
    seeds = [synthetic("b", loss + shift, scale) for shift in (-0.3, 0.1, 0.2)]
    found = compare([synthetic("a", loss, scale), *seeds]).significance("crps_sum", against="a")
    assert found["b"].num_seeds == 3
    assert found["b"].value == pytest.approx(0, abs=1e-9)
    # Means of 2 of 3 seeds drawn with replacement have the unbiased variance s^2/3.
    assert found["b"].lower == pytest.approx(-0.3)
    assert found["b"].upper == pytest.approx(0.2)
    assert "and over seeds" in found.caption
    # The other way round: seeds of the method held against are drawn as well.
    back = compare([synthetic("a", loss, scale), *seeds]).significance("crps_sum", against="b")
    assert back["a"].lower == pytest.approx(-0.2)
    assert back["a"].upper == pytest.approx(0.3)
    same = compare([seeds[0], replace(seeds[0], name="a")]).significance("crps_sum", against="a")
    assert same["b"].lower == same["b"].upper == 0
    assert same["b"].flips == 1


def test_the_table(scored):
    samples, target = scored
    both = compare(
        [scored_evaluation("good|", samples, target), scored_evaluation("bad", 3 * samples, target)]
    )
    before = both.to_markdown()
    table = both.significance("coverage_80", against="good|")
    lines = str(table).splitlines()
    assert lines[0] == (
        "| coverage_80 less that of good\\| | difference | 95 % interval | sign flips |"
    )
    assert lines[2].startswith("| bad | ")
    assert "Paired bootstrap over 4 windows." in str(table)
    gaps = [abs(e["coverage_80"].value - 0.8) for e in both.evaluations]
    assert table["bad"].value == pytest.approx(gaps[1] - gaps[0])
    assert both.to_markdown() == before
    assert both.significance("crps", against="bad") == both.significance("crps", against="bad")


def test_files_keep_what_windows_added(scored, tmp_path):
    evaluation = scored_evaluation("model", *scored)
    text = evaluation.to_json(tmp_path / "scores.json")
    again = Evaluation.from_json(tmp_path / "scores.json")
    assert again == evaluation
    assert again.to_json() == text
    for name, array in evaluation.terms.items():
        np.testing.assert_allclose(again.terms[name], array, rtol=1e-8)
        assert again.terms[name].shape == array.shape
    travelled = copy.deepcopy(evaluation)
    assert travelled.terms.keys() == evaluation.terms.keys()
    with pytest.raises(TypeError):
        travelled.terms["crps"] = np.zeros(4)
    wide = np.tile(scored[1], 20)
    large = scored_evaluation("wide", np.tile(scored[0], 20), wide).to_json()
    assert len(large) < 20_000  # 60 dimensions, 4 windows


def test_files_of_earlier_versions_load(scored):
    old = json.loads(scored_evaluation("model", *scored).to_json())
    del old["terms"]
    evaluation = Evaluation.from_json(json.dumps(old))
    assert evaluation.terms == {}
    assert json.loads(evaluation.to_json()) == old
    both = compare([evaluation, replace(evaluation, name="other")])
    assert both.to_markdown()
    with pytest.raises(ValueError, match="files of earlier versions"):
        both.significance("crps")


def test_score_forecasts_keeps_the_terms(scored, as_gluonts):
    forecasts, frames = as_gluonts(*scored)
    entries = [{"target": f.to_numpy().T, "start": f.index[0]} for f in frames]
    evaluation = score_forecasts(forecasts, entries, 6)
    assert evaluation.terms["crps"].shape == (4, 3)


def test_errors_teach(scored):
    samples, target = scored
    model = scored_evaluation("model", samples, target)
    other = scored_evaluation("other", samples, target[::-1])
    with pytest.raises(ValueError, match="other windows"):
        compare([replace(model, terms={}), model, other])
    both = compare([model, replace(model, name="other")])
    with pytest.raises(ValueError, match="not kept what each window adds to 'pit_error'"):
        both.significance("pit_error")
    with pytest.raises(KeyError, match="no score 'mase'"):
        both.significance("mase")
    with pytest.raises(KeyError, match="no method 'third'"):
        both.significance("crps", against="third")
    with pytest.raises(KeyError, match="'other'"):
        both.significance("crps", against="model")["third"]
    with pytest.raises(ValueError, match="only method"):
        compare([model]).significance("crps")
    with pytest.raises(ValueError, match=r"write 95 % as 0\.95"):
        both.significance("crps", level=95)
    with pytest.raises(ValueError, match="num_resamples=10"):
        both.significance("crps", num_resamples=10)
    one = scored_evaluation("one", samples[:1], target[:1])
    with pytest.raises(ValueError, match="one window"):
        compare([one, replace(one, name="two")]).significance("crps")


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_other_windows_are_told_in_any_unit(scored, unit):
    samples, target = scored[0] * unit, scored[1] * unit
    first = scored_evaluation("a", samples, target)
    compare([first, scored_evaluation("b", samples + unit, target)])
    with pytest.raises(ValueError, match="on other windows"):
        compare([first, scored_evaluation("b", samples, target + unit)])


def test_sums_that_cancel_are_no_other_windows(scored):
    samples, target = scored[0], scored[1].copy()
    target[..., 0] = -target[..., 1:].sum(axis=-1)
    turned = target[..., ::-1].sum(axis=-1)
    assert not np.array_equal(turned, target.sum(axis=-1))  # by rounding alone
    first = scored_evaluation("a", samples, target)
    other = scored_evaluation("b", samples, target)
    scale = {"scale_sum": np.abs(turned).sum(axis=1)}
    compare([first, replace(other, terms={**other.terms, **scale})])
