"""The way of a user: train, forecast, evaluate, plot; every command does what its help says."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from rich.console import Console

from tests.cli.conftest import call, small
from tsdiff.cli import models, sources
from tsdiff.cli.evaluate import readable
from tsdiff.cli.screen import Screen
from tsdiff.cli.train import summary
from tsdiff.estimators import FlowMatchingEstimator, GenerativePredictor
from tsdiff.estimators.training import MONITOR
from tsdiff.evaluation import Evaluation, Score, compare


def test_train_saves_a_model_with_the_parameters_given(model: Path) -> None:
    predictor = GenerativePredictor.load(model)
    assert isinstance(predictor.estimator, FlowMatchingEstimator)
    assert predictor.prediction_length == 5
    assert predictor.estimator.hidden_size == 8
    assert predictor.estimator.max_epochs == 1
    assert predictor.facts.dimension_names == ("north", "south")
    assert not (model / "checkpoints").exists()


def test_train_keeps_the_held_out_windows_unseen(model: Path) -> None:
    record = json.loads((model / "training.json").read_text())
    assert record["data"] == "walks.csv"
    # 200 days from 1 January 2024, less 4 windows of 5: the 180th day is 28 June.
    assert record["trained_until"] == {"0": "2024-06-28T00:00:00"}


def test_train_holds_out_the_same_days_of_all_series(table: Path, tmp_path: Path) -> None:
    """What the series that ends later knows of the windows of the other would give them away."""
    wide = pd.read_csv(table)
    panel = pd.concat([wide[:160].assign(place="early"), wide.assign(place="late")])
    panel.to_csv(tmp_path / "panel.csv", index=False)
    result = call(
        *("train", tmp_path / "panel.csv", "--item-column", "place", "--hold-out", "4"),
        *("--prediction-length", "5", "--output", tmp_path / "m", *small()),
    )
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "m" / "training.json").read_text())
    # 160 days from 1 January 2024, less 4 windows of 5: the 140th day is 19 May.
    ends = {"early": "2024-05-19T00:00:00", "late": "2024-05-19T00:00:00"}
    assert record["trained_until"] == ends


def test_train_tells_how_it_went(table: Path, tmp_path: Path) -> None:
    result = call(
        *("train", table, "--prediction-length", "5", "--model", "TimeGrad"),
        *("--output", tmp_path / "m", *small()),
    )
    assert result.exit_code == 0
    assert "Training DDPM on walks.csv: 2 × 200 values" in result.stderr
    assert "Trained 1 epoch" in result.stderr
    assert result.stdout == ""


def test_train_tells_what_it_is_warned_of(table: Path, tmp_path: Path) -> None:
    """Once, whatever the number of members."""
    pd.read_csv(table)[:14].to_csv(tmp_path / "short.csv", index=False)
    result = call(
        *("-q", "train", tmp_path / "short.csv", "--prediction-length", "5", "--members", "2"),
        *("--output", tmp_path / "m", *small()),
    )
    assert result.exit_code == 0, result.output
    assert result.stderr.count("warning: the data are too short to hold out") == 1


def test_several_models_are_trained_as_one(table: Path, tmp_path: Path) -> None:
    command = ["train", table, "--prediction-length", "5", "--members", "2", *small()]
    result = call(*command, "--output", tmp_path / "m")
    assert result.exit_code == 0, result.output
    assert "Training 2 flow matching on walks.csv" in result.stderr
    assert result.stderr.count("Trained 1 epoch") == 2
    scored = call("evaluate", tmp_path / "m", table, "--num-windows", "2", "--num-samples", "6")
    assert scored.exit_code == 0, scored.output
    assert "2 flow matching" in scored.stdout
    ahead = call("forecast", tmp_path / "m", table, "--output", "-")
    assert ahead.exit_code == 0, ahead.output
    single = ["train", table, "--prediction-length", "5", "--output", tmp_path / "m", *small()]
    refused = call(*single)
    assert refused.exit_code == 1
    assert "holds an ensemble: save a single model elsewhere" in refused.stderr
    assert "Training" not in refused.stderr


@pytest.mark.parametrize(("trained", "resumed"), [("1", "2"), ("2", "1"), ("3", "2")])
def test_checkpoints_of_another_number_of_members_are_kept(
    trained: str, resumed: str, table: Path, tmp_path: Path
) -> None:
    command = ["train", table, "--prediction-length", "5", *small()]
    command += ["--checkpoint-dir", tmp_path / "checkpoints"]
    assert call(*command, "--members", trained, "--output", tmp_path / "m").exit_code == 0
    before = sorted((tmp_path / "checkpoints").rglob("last.ckpt"))
    other = call(*command, "--members", resumed, "--resume", "--output", tmp_path / "other")
    assert other.exit_code == 1
    assert "another number of --members" in other.stderr
    assert sorted((tmp_path / "checkpoints").rglob("last.ckpt")) == before


@pytest.mark.parametrize(("scores", "words"), [
    ([1.0, 0.9, 0.95], "Trained 2 epochs; kept the one after epoch 1: CRPS-sum on the validation "
     "windows 0.2 (untrained: 0.1)"),
    ([1.0, 1.1, 1.2], "none was better than the untrained model"),
])  # fmt: skip
def test_train_tells_which_epoch_was_kept(model: Path, scores: list[float], words: str) -> None:
    predictor = GenerativePredictor.load(model)
    predictor.history = [
        {"epoch": epoch, MONITOR: score, "validation_crps_sum": 0.1 * (epoch + 1)}
        for epoch, score in enumerate(scores)
    ]
    assert words in summary(predictor)


@pytest.mark.parametrize(("width", "absent"), [(140, ()), (80, ("crps",)), (40, ("crps_sum_q9",))])
def test_a_narrow_screen_shows_fewer_columns_but_whole_ones(
    width: int, absent: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Screen, "width", lambda self: width)
    metrics = ("crps_sum_q19", "crps_sum_q9", "crps_sum", "crps", "coverage_80")
    scores = {metric: Score(0.0123, 0.0001) for metric in metrics}
    comparison = compare([Evaluation("flow matching", scores, 5, 100, 30, 8)])
    table = readable(comparison, Screen(), "Scores")
    shown = [column.header for column in table.columns]
    assert shown[:2] == ["method", "crps_sum_q19"]
    assert not set(absent) & set(shown)
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    assert "0.0123 ± 0.0001" in console.export_text()


def test_forecast_writes_what_the_predictor_forecasts(
    model: Path, table: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new folder" / "next.csv"
    arguments = ("--quantiles", "0.25,0.75", "--num-samples", "20", "--seed", "4")
    result = call("forecast", model, table, "--output", output, *arguments)
    assert result.exit_code == 0, result.output
    assert "from 2024-07-19" in result.stderr
    frame = pd.read_csv(table, index_col=0, parse_dates=True)
    expected = GenerativePredictor.load(model).predict(frame, 20, quantiles=[0.25, 0.75], seed=4)
    written = pd.read_csv(output, parse_dates=["time"])
    assert list(written.columns) == ["item_id", "time", "dimension", "mean", "0.25", "0.75"]
    np.testing.assert_allclose(written["0.75"], expected["0.75"])
    assert list(written["dimension"].unique()) == ["north", "south"]


def test_forecasts_keep_to_bounds_and_lie_on_them(model: Path, table: Path) -> None:
    command = ("-q", "forecast", model, table, "--output", "-", "--num-samples", "20")
    free, kept = (
        pd.read_csv(io.StringIO(call(*command, *bounds).stdout))
        for bounds in ((), ("--lower", "45", "--upper", "55"))
    )
    levels = ["0.1", "0.5", "0.9"]
    assert (free[levels] != free[levels].clip(45, 55)).any(axis=None)
    np.testing.assert_allclose(kept[levels], free[levels].clip(45, 55), rtol=1e-6)
    assert kept["mean"].between(45, 55).all()
    assert (kept["mean"] != free["mean"].clip(45, 55)).any()


def test_forecast_continues_the_times_of_the_file(model: Path, table: Path, tmp_path: Path) -> None:
    """Days at six in the morning go on at six, so that actuals can be joined."""
    frame = pd.read_csv(table, index_col=0, parse_dates=True)
    frame.set_axis(frame.index + pd.Timedelta(6, "h")).to_csv(tmp_path / "six.csv")
    result = call("-q", "forecast", model, tmp_path / "six.csv", "--output", "-")
    assert result.exit_code == 0, result.output
    times = pd.read_csv(io.StringIO(result.stdout))["time"]
    assert times.iloc[0] == "2024-07-19 06:00:00"


@pytest.fixture(scope="module")
def plan(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table with a column of promotions, which are planned for five days more."""
    frame = pd.read_csv(table, index_col=0, parse_dates=True)
    days = pd.date_range(frame.index[0], periods=205, freq="D", name="time")
    promo = np.random.default_rng(4).integers(0, 2, 205)
    path = tmp_path_factory.mktemp("plan") / "plan.csv"
    frame.reindex(days).assign(promo=promo).to_csv(path)
    return path


def test_known_columns_are_named_once_and_remembered(plan: Path, tmp_path: Path) -> None:
    trained = call(
        *("train", plan, "--known-column", "promo", "--prediction-length", "5", "--hold-out", "2"),
        *("--output", tmp_path / "m", *small()),
    )
    assert trained.exit_code == 0, trained.output
    assert "2 × 190 values" in trained.stderr
    predictor = GenerativePredictor.load(tmp_path / "m")
    assert predictor.facts.known_columns == ("promo",)
    for options in ((), ("--known-column", "promo")):
        ahead = call("-q", "forecast", tmp_path / "m", plan, "--output", "-", *options)
        assert ahead.exit_code == 0, ahead.output
        times = pd.read_csv(io.StringIO(ahead.stdout))["time"]
        assert (times.iloc[0], times.iloc[-1]) == ("2024-07-19", "2024-07-23")
    scored = call("evaluate", tmp_path / "m", plan, "--num-windows", "2", "--num-samples", "5")
    assert scored.exit_code == 0, scored.output
    assert "random walk" in scored.stdout
    drawn = call("plot", tmp_path / "m", plan, "--future", "--output", tmp_path / "next.png")
    assert drawn.exit_code == 0, drawn.output


def test_known_columns_that_end_early_say_when(plan: Path, tmp_path: Path) -> None:
    command = ["train", plan, "--known-column", "promo", "--prediction-length", "7", *small()]
    assert call(*command, "--output", tmp_path / "m").exit_code == 0
    ahead = call("forecast", tmp_path / "m", plan, "--output", "-")
    assert ahead.exit_code == 1
    assert "after 5 of the 7 steps to forecast, at 2024-07-23" in ahead.stderr


def test_static_columns_of_long_files(table: Path, tmp_path: Path) -> None:
    wide = pd.read_csv(table)
    panel = pd.concat([wide.assign(place=n, kind=k) for n, k in enumerate(("coast", "hill"))])
    panel.to_csv(tmp_path / "panel.csv", index=False)
    columns = ("--item-column", "place", "--static-column", "kind")
    result = call(
        *("train", tmp_path / "panel.csv", *columns, "--prediction-length", "5"),
        *("--output", tmp_path / "m", *small()),
    )
    assert result.exit_code == 0, result.output
    assert GenerativePredictor.load(tmp_path / "m").facts.categories == (("coast", "hill"),)
    ahead = call("forecast", tmp_path / "m", tmp_path / "panel.csv", *columns, "--output", "-")
    assert ahead.exit_code == 0, ahead.output


def test_forecast_prints_the_table_where_the_file_is_a_dash(model: Path, table: Path) -> None:
    result = call("--quiet", "forecast", model, table, "--output", "-", "--num-samples", "5")
    lines = result.stdout.strip().splitlines()
    assert lines[0] == "item_id,time,dimension,mean,0.1,0.5,0.9"
    assert len(lines) == 1 + 5 * 2


def test_the_solver_can_be_chosen(model: Path, table: Path) -> None:
    plain = call("forecast", model, table, "--output", "-")
    heun = call("forecast", model, table, "--output", "-", "--solver", "heun", "--num-steps", "3")
    assert heun.exit_code == 0
    assert plain.stdout != heun.stdout


def test_evaluate_scores_the_model_beside_the_baselines(
    model: Path, table: Path, tmp_path: Path
) -> None:
    files = ("--json", tmp_path / "s" / "scores.json", "--markdown", tmp_path / "scores.md")
    result = call("evaluate", model, table, "--num-windows", "4", "--num-samples", "20", *files)
    assert result.exit_code == 0, result.output
    for name in ("flow matching", "last value", "seasonal naive", "random walk", "±"):
        assert name in result.stdout
    assert "warning" not in result.stderr
    content = json.loads((tmp_path / "s" / "scores.json").read_text())
    assert len(content["evaluations"]) == 4
    assert content["evaluations"][0]["num_windows"] == 4
    assert "| flow matching |" in (tmp_path / "scores.md").read_text()


def test_a_data_set_has_no_more_windows_than_its_own() -> None:
    source = sources.load("seasonal_var", Screen(quiet=True))
    assert source.prediction_length is not None
    assert len(source.windows(source.prediction_length, 5)) == 5
    with pytest.raises(typer.BadParameter, match=f"is 99, and seasonal_var has {len(source.test)}"):
        source.windows(source.prediction_length, 99)


def test_evaluate_adds_statistical_baselines(model: Path, table: Path) -> None:
    result = call("evaluate", model, table, "--num-windows", "2", "--statistical")
    assert result.exit_code == 0, result.output
    for name in ("climatology", "vector autoregression", "seasonal ridge"):
        assert name in result.output


def test_evaluate_adds_automatic_baselines(model: Path, table: Path) -> None:
    result = call("evaluate", model, table, "--num-windows", "1", "--automatic")
    assert result.exit_code == 0, result.output
    for name in ("auto ETS", "auto ARIMA"):
        assert name in result.output


def test_evaluate_needs_the_extra_for_automatic_baselines(model, table, monkeypatch) -> None:
    monkeypatch.setattr("tsdiff.evaluation.automatic.is_installed", lambda: False)
    result = call("evaluate", model, table, "--automatic")
    assert result.exit_code != 0
    assert "pip install 'tsdiff[statistical]'" in " ".join(result.stderr.split())


def test_evaluate_warns_of_windows_that_were_trained_on(model: Path, table: Path) -> None:
    result = call("-q", "evaluate", model, table, "--num-windows", "5", "--no-baselines")
    assert result.exit_code == 0
    assert "random walk" not in result.stdout
    assert "looks better than it is" in result.stderr
    assert "up to 2024-06-28, and the windows start on 2024-06-24" in result.stderr


def test_other_data_than_those_trained_on_raise_no_doubt(model: Path, table: Path) -> None:
    source = sources.load(str(table), Screen(quiet=True))
    windows = source.windows(5, 5)
    assert models.seen_in_training(model, "walks.csv", windows, 5) is not None
    assert models.seen_in_training(model, "others.csv", windows, 5) is None


@pytest.mark.parametrize(("output", "pictures"), [
    ("pictures", ["fan_chart.png", "sum.png", "calibration.png"]),
    ("one.svg", ["."]),
])  # fmt: skip
def test_plot_draws(
    model: Path, table: Path, tmp_path: Path, output: str, pictures: list[str]
) -> None:
    result = call(
        *("plot", model, table, "--output", tmp_path / output, "--num-windows", "2"),
        *("--num-samples", "20", "--dimension", "south"),
    )
    assert result.exit_code == 0, result.output
    paths = [tmp_path / output / name for name in pictures]
    assert result.stdout.split() == [str(path) for path in paths]
    assert all(path.stat().st_size > 5_000 for path in paths)


def test_plot_draws_the_future(model: Path, table: Path, tmp_path: Path) -> None:
    picture = tmp_path / "next.svg"
    result = call("plot", model, table, "--future", "--output", picture, "--num-samples", "20")
    assert result.exit_code == 0, result.output
    assert picture.read_text().lstrip().startswith("<?xml")


def test_plot_draws_the_future_of_every_series(model: Path, table: Path, tmp_path: Path) -> None:
    wide = pd.read_csv(table)
    several = tmp_path / "several.csv"
    pd.concat([wide.assign(item=name) for name in ("a", "b")]).to_csv(several, index=False)
    command = ("plot", model, several, "--future", "--item-column", "item", "--num-samples", "20")
    result = call(*command, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    paths = [tmp_path / "out" / f"fan_chart_{number}.png" for number in (0, 1)]
    assert result.stdout.split() == [str(path) for path in paths]
    assert all(path.stat().st_size > 5_000 for path in paths)
    refused = call(*command, "--output", tmp_path / "next.svg")
    assert refused.exit_code == 2
    assert "give a folder" in " ".join(refused.stderr.replace("│", " ").split())


def test_columns_are_matched_by_name(model: Path, table: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned.csv"
    pd.read_csv(table)[["time", "south", "north"]].to_csv(turned, index=False)
    usual, other = (
        call("forecast", model, data, "--output", "-", "--num-samples", "20")
        for data in (table, turned)
    )
    assert other.exit_code == 0, other.output
    assert other.stdout == usual.stdout
    shared = ("--num-windows", "2", "--num-samples", "20", "--json")
    for data in (table, turned):
        scored = call("evaluate", model, data, *shared, tmp_path / f"{data.stem}.json")
        assert scored.exit_code == 0, scored.output
    usual, other = (json.loads((tmp_path / f"{d.stem}.json").read_text()) for d in (table, turned))
    for ours, theirs in zip(usual["evaluations"], other["evaluations"], strict=True):
        assert ours["scores"] == theirs["scores"]


def test_long_tables_are_read_by_their_columns(table: Path, tmp_path: Path) -> None:
    wide = pd.read_csv(table)
    long = tmp_path / "long.csv"
    wide.melt("time", var_name="place", value_name="height").to_csv(long, index=False)
    result = call(
        *("train", long, "--prediction-length", "5", "--output", tmp_path / "m", *small()),
        *("--dimension-column", "place", "--target-column", "height", "--time-column", "time"),
    )
    assert result.exit_code == 0, result.output
    assert GenerativePredictor.load(tmp_path / "m").facts.target_dim == 2


def test_dates_are_read_as_the_option_says(table: Path, tmp_path: Path) -> None:
    """First days of months, whose days and months may be mistaken for each other."""
    wide = pd.read_csv(table)[:40]
    wide["time"] = pd.date_range("2018-01-01", periods=40, freq="MS").strftime("%d/%m/%Y")
    months = tmp_path / "months.csv"
    wide.to_csv(months, index=False)
    command = ["train", months, "--prediction-length", "2", "--output", tmp_path / "m", *small()]
    refused = call(*command)
    assert refused.exit_code == 1
    assert "--date-format on the command line" in refused.stderr
    result = call(*command, "--date-format", "%d/%m/%Y")
    assert result.exit_code == 0, result.output
    assert GenerativePredictor.load(tmp_path / "m").facts.freq == "M"


def test_european_files_are_read_by_their_separators(model: Path, table: Path, tmp_path: Path):
    pd.read_csv(table).to_csv(tmp_path / "eu.csv", sep=";", decimal=",", index=False)
    command = ("--output", "-", "--num-samples", "5")
    usual = call("forecast", model, table, *command)
    european = call(
        "forecast", model, tmp_path / "eu.csv", "--separator", ";", "--decimal", ",", *command
    )
    assert european.exit_code == 0, european.output
    assert european.stdout == usual.stdout


def test_an_interrupted_run_is_neither_lost_nor_mixed_up(table: Path, tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    command = ["train", table, "--prediction-length", "5", "--output", tmp_path / "m", *small()]
    command += ["--checkpoint-dir", checkpoints]
    first = call(*command)
    assert first.exit_code == 0, first.output
    weights = (tmp_path / "m" / "model.safetensors").read_bytes()

    again = call(*command)
    assert again.exit_code == 1
    assert "add --resume" in again.stderr
    other = call(*command, "--resume", "--seed", "5")
    assert other.exit_code == 1
    assert "seed: 0 there, 5 here" in other.stderr
    resumed = call(*command, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == weights


def test_datasets_lists_the_catalog(tmp_path: Path) -> None:
    result = call("datasets", "--cache", tmp_path)
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert "built in" in rows["ecb_exchange_rate"]
    assert "to download" in rows["solar"]
    (tmp_path / "solar_nips.tar.gz").touch()
    assert "cached" in call("datasets", "solar", "--cache", tmp_path).stdout


def test_download_needs_nothing_for_what_is_built_in() -> None:
    result = call("download", "ecb_exchange_rate")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "needs no download" in result.stderr


@pytest.mark.archive
def test_download_fetches_from_a_mirror(archive_mirror: Path, tmp_path: Path) -> None:
    result = call(
        "download", "exchange_rate", "--cache", tmp_path / "cache", "--mirror", archive_mirror
    )
    assert result.exit_code == 0, result.output
    folder = Path(result.stdout.split(": ", 1)[1].strip())
    assert any(folder.rglob("*.json*"))
    assert "cached" in call("datasets", "exchange_rate", "--cache", tmp_path / "cache").stdout
