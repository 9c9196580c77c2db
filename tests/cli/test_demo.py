"""The demonstration, made small, and the words that it finds for its scores."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.conftest import call
from tsdiff.cli import demo
from tsdiff.cli.reading import reading
from tsdiff.evaluation import Evaluation, Score, compare


def test_demo_leaves_all_that_it_promises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "NUM_SAMPLES", 10)
    monkeypatch.setitem(demo.SETTINGS, "num_batches_per_epoch", 2)
    monkeypatch.setitem(demo.SETTINGS, "num_validation_windows", 2)
    (tmp_path / "model" / "checkpoints").mkdir(parents=True)
    (tmp_path / "model" / "checkpoints" / "last.ckpt").write_text("of an interrupted run")
    result = call("demo", "--output", tmp_path, "--epochs", "1")
    assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.iterdir()} == set(demo.FILES)
    assert all(name in result.stderr for name in demo.FILES)
    for name in ("flow matching", "last value", "seasonal naive", "random walk"):
        assert name in result.stdout
    assert "By CRPS-sum" in result.stdout
    scores = json.loads((tmp_path / "scores.json").read_text())["evaluations"]
    assert [score["num_samples"] for score in scores] == [10] * 4
    table = pd.read_csv(tmp_path / "forecasts.csv", parse_dates=["time"])
    assert len(table) == (5 * 30 + 30) * 8
    known = table["time"] <= "2025-12-31"
    assert table.loc[known, "observed"].notna().all()
    assert table.loc[~known, "observed"].isna().all()
    assert (table["0.05"] <= table["0.95"]).all()


def _evaluation(name: str, score: float, error: float, covered: float = 0.8) -> Evaluation:
    scores = {"crps_sum_q19": Score(score, error), "coverage_80": Score(covered, 0.01)}
    return Evaluation(name, scores, 5, 100, 30, 8)


def _read(score: float, covered: float = 0.8) -> str:
    naive = [_evaluation("last value", 0.0060, 0.0), _evaluation("random walk", 0.0050, 0.0001)]
    return reading(compare([_evaluation("model", score, 0.0001, covered), *naive]))


def test_the_reading_claims_no_more_than_the_figures() -> None:
    level = _read(0.0048)
    assert "model is level with the best naive forecast, the random walk" in level
    assert "0.0048 ± 0.0001 against 0.0050 ± 0.0001, a difference within Monte-Carlo" in level
    assert "It does better than the last value (0.0060)." in level
    assert "model is 20% better than the best naive forecast" in _read(0.0040)
    worse = _read(0.0070)
    assert "model is 40% worse than the best naive forecast, the random walk" in worse
    assert "It does better" not in worse
    assert "Five windows are few" in worse


def test_the_reading_judges_the_intervals() -> None:
    assert "80 % intervals covered 78% of what happened: as they should" in _read(0.005, 0.78)
    assert "too wide" in _read(0.005, 0.9)
    assert "too narrow" in _read(0.005, 0.6)
