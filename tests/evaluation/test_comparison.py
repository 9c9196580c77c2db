"""Evaluations side by side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from tsdiff.evaluation import Comparison, Evaluation, Score, compare


def evaluation(name, value, error=0.01, *, coverage=0.8, seed=0, **sizes):
    sizes = {
        "num_windows": 5,
        "num_samples": 100,
        "prediction_length": 30,
        "target_dim": 8,
        **sizes,
    }
    scores = {
        metric: Score(value, error)
        for metric in ("crps_sum_q19", "crps_sum_q9", "crps_sum", "crps", "nd", "nrmse")
    }
    scores |= {"energy_score": Score(10 * value, error)}
    scores |= {f"coverage_{kind}80": Score(coverage, 0.02) for kind in ("", "sum_")}
    return Evaluation(name, scores, seed=seed, seconds=1.0, **sizes)


@pytest.fixture
def comparison():
    return compare(
        [
            evaluation("model", 0.2, seed=0),
            evaluation("random walk", 0.31, coverage=0.7),
            evaluation("model", 0.4, seed=1),
        ]
    )


def test_seeds_of_one_name_share_a_row(comparison):
    model, walk = comparison.rows
    assert (model.name, model.num_seeds) == ("model", 2)
    assert model.scores["crps_sum"].value == pytest.approx(0.3)
    assert model.scores["crps_sum"].error == pytest.approx(np.std([0.2, 0.4], ddof=1))
    assert walk.scores["crps_sum"] == Score(0.31, 0.01)


def test_the_best_is_lowest_or_nearest_to_its_level(comparison):
    assert comparison.best("crps_sum") == ["model"]
    assert comparison.best("coverage_80") == ["model"]
    wide = compare([evaluation("wide", 0.1, coverage=1.0), evaluation("near", 0.2, coverage=0.75)])
    assert wide.best("coverage_sum_80") == ["near"]
    assert wide.best("nd") == ["wide"]


def test_markdown(comparison, tmp_path):
    text = comparison.to_markdown(["crps_sum_q19", "coverage_80"], tmp_path / "table.md")
    assert text.splitlines()[:4] == [
        "| method | crps_sum_q19 | coverage_80 |",
        "|---|--:|--:|",
        "| model | **0.3000 ± 0.1414** | **80 %** |",
        "| random walk | 0.3100 ± 0.0100 | 70 % ± 2 |",
    ]
    assert "5 windows of 30 steps, 8 dimensions, 100 samples" in text
    assert (tmp_path / "table.md").read_text(encoding="utf-8").strip() == text
    assert "energy_score" in str(comparison)


def test_frames_of_scores_and_of_their_errors(comparison):
    values, errors = comparison.to_frame(), comparison.to_frame(["crps_sum"], errors=True)
    assert values.index.tolist() == ["model", "random walk"]
    assert values.loc["model", "crps_sum"] == pytest.approx(0.3)
    assert list(values) == list(comparison.rows[0].scores)
    assert list(errors) == ["crps_sum"]
    assert errors["crps_sum"].tolist() == pytest.approx([np.std([0.2, 0.4], ddof=1), 0.01])
    with pytest.raises(KeyError, match="no score 'mase'"):
        comparison.to_frame(["mase"])


def test_screen(comparison):
    console = Console(width=110, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(comparison)
    text = console.export_text()
    assert "0.3000 ± 0.1414" in text
    assert "standard deviation between seeds (2)" in text


def test_json_round_trip(comparison, tmp_path):
    text = comparison.to_json(tmp_path / "results.json")
    assert Comparison.from_json(text) == comparison
    assert Comparison.from_json(tmp_path / "results.json").to_markdown() == str(comparison)


def test_errors_teach(comparison):
    with pytest.raises(ValueError, match="at least one"):
        compare([])
    with pytest.raises(TypeError, match="got str"):
        compare(["model"])
    with pytest.raises(ValueError, match="num_windows=7"):
        compare([evaluation("a", 1.0), evaluation("b", 1.0, num_windows=7)])
    with pytest.raises(KeyError, match="no score 'mase'"):
        comparison.to_markdown(["mase"])
    one = evaluation("one sample", 1.0)
    more = replace(evaluation("more", 1.0), scores={**one.scores, "crps_sum_fair": Score(1.0)})
    for ask in ("best", "significance"):
        with pytest.raises(KeyError, match=r"no score 'crps_sum_fair' in .* of 'one sample'; all"):
            getattr(compare([more, one]), ask)("crps_sum_fair")
    with pytest.raises(ValueError, match="no 'evaluations'"):
        Comparison.from_json("{}")
