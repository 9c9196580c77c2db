"""Tables: who is best, who is sure of it, and that a winning baseline is said to win."""

from __future__ import annotations

import csv
import io
import json
import random
from dataclasses import replace

import numpy as np
import pytest

from tests.benchmark.records import failed, record
from tsdiff.benchmark.page.numbers import score_text
from tsdiff.benchmark.record import Costs, Record
from tsdiff.benchmark.tables import (
    costs_csv,
    costs_markdown,
    markdown,
    number,
    results,
    scores_csv,
    scores_json,
)
from tsdiff.evaluation import Score


def runs(shift_of_model=0.0, shift_of_baseline=2.0):
    found = [record("random walk", s, kind="naive", shift=shift_of_baseline) for s in range(3)]
    return found + [record("flow", s, shift=shift_of_model) for s in range(3)]


def test_a_good_model_is_bold_and_better():
    text = markdown(runs(), title="Title")
    assert text.startswith("# Title\n\n## walk, literature\n\n4 windows of 3 steps, 2 dimensions")
    assert "The best model by CRPS-sum, flow, is" in text
    assert "better than the best baseline, random walk." in text
    (row,) = (line for line in text.splitlines() if line.startswith("| flow"))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    (result,) = results(runs())
    flow = next(r for r in result.comparison.rows if r.name == "flow")
    main = flow.scores["crps_sum_q19"]
    assert cells[:2] == ["flow", "3"]
    assert 0.01 < main.value < 0.1
    assert cells[2] == f"**{main.value:.4f} ± {main.error:.4f}**"
    assert cells[-1].startswith("**-")
    assert cells[-2] == "**2.25 ± 1.00**"


def test_differences_may_be_taken_from_a_model():
    found = [*runs(0.0, 2.0), *(record("half", s, shift=1.5) for s in range(3))]
    text = markdown(found, against="flow")
    assert "| less that of flow |" in text
    last = {
        line.split("|")[1].strip(): line.split("|")[-2].strip()
        for line in text.splitlines()
        if line.startswith(("| random walk", "| flow", "| half"))
    }
    assert last["flow"] == "–"
    assert last["half"].startswith("**+")
    assert last["random walk"].startswith("**+")
    (result,) = results(found, against="flow")
    expected = result.comparison.significance("crps_sum_q19", against="flow")["half"]
    assert last["half"].startswith(f"**{expected.value:+.2g}")
    assert "difference of CRPS-sum from flow" in text
    # What is said of the best baseline stays, and is as sure as it is without.
    verdict = "better than the best baseline, random walk."
    assert verdict in text
    assert verdict in markdown(found)
    # Where the model has no result, the best baseline serves.
    assert "less that of the best baseline" in markdown(runs(), against="half")


def test_a_baseline_that_wins_is_said_to_win():
    text = markdown(runs(shift_of_model=2.0, shift_of_baseline=0.0))
    assert "**A baseline wins:** random walk has the lowest CRPS-sum" in text
    assert "other windows" not in text


def test_doubt_is_told():
    assert "a difference that other windows may turn round" in markdown(runs(0.0, 0.0))


def test_several_commits_are_named():
    found = [
        replace(one, machine=replace(one.machine, commit=commit))
        for one, commit in zip(runs(), ["", *2 * [40 * "a"], *2 * [40 * "b" + "+"]], strict=False)
    ]
    assert f"Made at 2 commits: {12 * 'a'}, {12 * 'b'}+." in markdown(found)
    assert "commits" not in markdown(found[:3])


def test_failures_stand_below_the_table():
    text = markdown([*runs(), failed("flow", 3)])
    assert "* flow, seed 3: ValueError: no" in text
    assert "| flow | 3 |" in text
    alone = markdown([failed()])
    assert "* broken, seed 0: ValueError: no" in alone


def test_order_of_runs_has_no_say():
    found = runs()
    text = markdown(found)
    walk, flow = found[:3], found[3:]
    random.shuffle(walk)
    assert markdown([*walk, *flow]) == text or sorted(walk, key=lambda r: r.key) == found[:3]


def test_data_sets_and_protocols_have_tables_of_their_own():
    found = [*runs(), record("flow", protocol="backtest", windows=6), record("flow", dataset="b")]
    assert [(r.dataset, r.protocol) for r in results(found)] == [
        ("walk", "literature"), ("walk", "backtest"), ("b", "literature"),
    ]  # fmt: skip
    assert "## walk, backtest\n\n6 windows" in markdown(found)


def test_files_have_every_score():
    found = [*runs(), failed("flow", 3)]
    rows = list(csv.DictReader(io.StringIO(scores_csv(found))))
    assert len(rows) == len(json.loads(scores_json(found)))
    assert rows[-1]["failure"] == "ValueError: no"
    flow = {row["metric"]: row for row in rows if (row["method"], row["seed"]) == ("flow", "1")}
    scores = found[4].evaluation.scores
    assert set(flow) == {*scores, "crps[a]", "crps[b]"}
    assert float(flow["crps"]["value"]) == scores["crps"].value
    assert flow["crps[b]"]["value"] == ""
    costs = list(csv.DictReader(io.StringIO(costs_csv(found))))
    assert costs[0]["training_seconds"] == "1.5"
    assert costs[0]["sampling_seconds"] == ""


def test_costs_are_means_over_seeds_of_runs_that_ended_well():
    found = [
        replace(one, costs=Costs(training_cpu_seconds=10.0 * (i + 1), parameters=156_136))
        for i, one in enumerate([record("flow|", 0), record("flow|", 1), failed("flow|", 2)])
    ]
    naive = record("last value", kind="naive")
    found.append(replace(naive, costs=Costs(peak_memory=1_253_000_000)))
    text = costs_markdown(found, title="Costs")
    assert text.startswith("# Costs\n\n## walk, literature\n\n| method | training, CPU s |")
    flow, naive = text.splitlines()[-2:]
    assert flow == "| flow\\| | 15.0 | – | – | 156136 | – | – |"
    assert naive.endswith("| – | – | 1.3 |")


def test_point_forecasts_have_no_coverage():
    point = record("last value", kind="naive")
    scores = {name: Score(s.value, 0.0) for name, s in point.evaluation.scores.items()}
    point = replace(point, evaluation=replace(point.evaluation, scores=scores))
    text = markdown([point, *runs()])
    (row,) = (line for line in text.splitlines() if line.startswith("| last value"))
    # Monte-Carlo error, coverage, PIT, NLL, and a difference from itself.
    assert row.count("| – ") == 5


def test_an_infinite_surprise_is_printed():
    bounded, other = record("bounded"), record("other", seed=1)
    scores = {**bounded.evaluation.scores, "nll": Score(np.inf)}
    bounded = replace(bounded, evaluation=replace(bounded.evaluation, scores=scores))
    bounded = Record.from_json(bounded.to_json())
    lines = [row for row in markdown([bounded, other]).splitlines() if row.startswith("| ")]
    rows = {row.split("|")[1].strip(): row for row in lines}
    assert rows["bounded"].split("|")[-2].strip() == "∞"
    assert rows["other"].split("|")[-2].strip() == "**2.25**"
    assert score_text("nll", Score(np.inf)) == ("∞", "")


@pytest.mark.parametrize(
    ("value", "like", "text"),
    [
        (0.0045678, None, "0.00457"),
        (0.00012345, 0.0045678, "0.00012"),
        (0.12345, None, "0.123"),
        (12.345, None, "12.3"),
        (12345.6, None, "12346"),
        (-1.5, None, "-1.50"),
        (0.0, None, "0.0000"),
    ],
)
def test_scores_have_three_digits(value, like, text):
    assert number("crps", value, like) == text


def test_nothing_is_said_of_no_records():
    assert markdown([]).strip() == ""
    with pytest.raises(ValueError, match="nothing to compare"):
        _ = results([failed()])[0].comparison
