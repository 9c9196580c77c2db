"""How the command line behaves: help, exit codes, messages instead of tracebacks, silence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from tests.cli.conftest import call, small
from tsdiff.cli import models
from tsdiff.cli.options import parse_settings
from tsdiff.estimators import DDPMEstimator, FlowMatchingEstimator

COMMANDS = ("datasets", "download", "train", "forecast", "evaluate", "plot", "demo")
# Advice of GluonTS at import, which comes before any of our code runs.
ENVIRONMENT = {**os.environ, "PYTHONWARNINGS": "ignore:Using:UserWarning", "OMP_NUM_THREADS": "1"}


def spawn(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``tsdiff`` as a user does, in a process of its own."""
    command = [sys.executable, "-c", "from tsdiff.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)


def test_help_names_every_command() -> None:
    result = call("--help")
    assert result.exit_code == 0
    assert all(command in result.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    assert f"tsdiff {command}" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_help_and_version_come_without_loading_anything_heavy() -> None:
    script = (
        "import sys; before = set(sys.modules); import tsdiff; loaded = set(sys.modules)\n"
        "from tsdiff.cli import app\n"
        "for arguments in (['--help'], ['train', '--help'], ['--version']):\n"
        "    app(arguments, standalone_mode=False)\n"
        "print(sorted({'pytorch_lightning', 'matplotlib', 'sklearn'} & set(sys.modules) - loaded))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=ENVIRONMENT, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_mistakes_are_told_in_a_sentence(model: Path, table: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    text = tmp_path / "text.csv"
    text.write_text("time,a\n2024-01-01,one\n2024-01-02,two\n2024-01-03,three\n")
    other = tmp_path / "other.csv"
    other.write_text("time,south,west\n2024-01-01,1,2\n2024-01-02,1,2\n")
    semicolons = tmp_path / "semicolons.csv"
    semicolons.write_text("time;south;north\n2024-01-01;1;2\n2024-01-02;1;2\n")
    monthly = tmp_path / "monthly.csv"
    monthly.write_text("time,south,north\n2024-01-01,1,2\n2024-02-01,1,2\n2024-03-01,1,2\n")
    train = ("train", table, "--prediction-length", "5", "--output", tmp_path / "m")
    for arguments, words in (
        (("train", "exchange_rat", "--output", empty), "Did you mean 'exchange_rate'"),
        (("train", tmp_path / "no.csv", "--output", empty), "no file at"),
        (("train", tmp_path / "no", "--output", empty), "no file at"),
        ((*train, "--time-column", "when"), "no column 'when'; the columns are ['time', 'north'"),
        ((*train, "--hold-out", "60"), "need 300 and at least one step of history"),
        ((*train, "--set", "scaling=log"), "unknown scaling 'log': expected one of"),
        (
            ("train", text, "--prediction-length", "1", "--output", empty),
            f"error: {text}: column 'a'",
        ),
        (("forecast", model, semicolons), f"error: {semicolons}: one column, 'time;south;north'"),
        (("forecast", model, monthly), "looks monthly ('M'), and frequency 'D' was asked for"),
        (("forecast", tmp_path / "nothing", table), "no model folder at"),
        (("forecast", empty, table), "config.json is missing"),
        (("forecast", model, other), "the data lack north and have west, unknown to the model"),
        (("forecast", model, table, "--solver", "rk"), "unknown solver 'rk': expected one of"),
        (("forecast", model, table, "--output", tmp_path), "Is a directory"),
        (("evaluate", model, "ecb_exchange_rate"), "the data lack north, south and have AUD"),
        (("datasets", "sollar"), "Did you mean 'solar'"),
    ):
        result = call(*arguments)
        assert result.exit_code == 1, (arguments, result.output)
        last = result.stderr.splitlines()[-1]
        assert last.startswith("error: "), result.stderr
        assert words in last
        assert "Traceback" not in result.output


def test_wrong_usage_exits_with_2(model: Path, table: Path, tmp_path: Path) -> None:
    train = ("train", table, "--output", tmp_path / "m")
    for arguments, words in (
        (train, "is needed: walks.csv"),
        ((*train, "--prediction-length", "0"), "--prediction-length"),
        ((*train, "--model", "flow_maching"), "Did you mean 'flow_matching'"),
        ((*train, "--set", "hidden_sise=8"), "Did you mean hidden_size"),
        ((*train, "--set", "hidden_size=wide"), "hidden_size takes int, got 'wide'"),
        ((*train, "--set", "hidden_size"), "has no '='"),
        (("forecast", model, table, "--quantiles", "5,95"), "between 0 and 1"),
        (("forecast", model, table, "--lower", "1", "--upper", "0"), "is 1, and --upper 0"),
        (("forecast", model, "exchange_rate", "--time-column", "t"), "data set of the catalog"),
        (("plot", model, table, "--dimension", "west"), "there are north, south"),
        (("plot", model, table, "--output", tmp_path / "x.JPG"), "one file in .png, .pdf, .svg"),
        (("fly",), "No such command"),
    ):
        result = call(*arguments)
        assert result.exit_code == 2, (arguments, result.output)
        assert words in _unboxed(result.stderr), result.stderr


def test_quiet_prints_nothing_but_results(model: Path, table: Path, tmp_path: Path) -> None:
    for arguments in (
        ("train", table, "--prediction-length", "5", "--output", tmp_path / "m", *small()),
        ("forecast", model, table, "--output", tmp_path / "f.csv"),
    ):
        done = spawn(*arguments, "--quiet")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), arguments
    assert (tmp_path / "f.csv").is_file()
    scored = call("-q", "evaluate", model, table, "--num-windows", "4", "--num-samples", "5")
    assert "random walk" in scored.stdout
    assert scored.stderr == ""


def test_a_mistake_shows_its_traceback_only_when_debugging(tmp_path: Path) -> None:
    plain = spawn("forecast", tmp_path, "walks.csv")
    assert plain.returncode == 1
    assert plain.stdout == ""
    assert plain.stderr == f"error: no saved model in {tmp_path}: config.json is missing\n"
    debugged = spawn("forecast", tmp_path, "walks.csv", "--debug")
    assert debugged.returncode == 1
    assert "Traceback" in debugged.stderr


def test_errors_of_unknown_origin_point_to_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        int("x")

    monkeypatch.setattr("tsdiff.datasets.list_datasets", fail)
    result = call("datasets")
    assert result.exit_code == 1
    assert "invalid literal" in result.stderr
    assert "--debug" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there are no POSIX signals")
def test_an_interrupt_exits_quietly_and_leaves_a_checkpoint(table: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from tsdiff.cli import main; main()", "train", str(table)]
    command += ["--prediction-length", "5", "--output", str(tmp_path), *small(), "--quiet"]
    command += ["--epochs", "100000", "--set", "patience=100000", "--set", "ema_decay=0.5"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        text=True,
        # A test run in the background of a shell is deaf to interrupts, and so are its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        while process.poll() is None and not (tmp_path / "checkpoints" / "last.ckpt").exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert errors == ""
    assert process.returncode == 130
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()


def test_models_go_by_the_names_of_their_estimators() -> None:
    known = models.estimators()
    assert known["flow_matching"] is FlowMatchingEstimator
    assert known["ddpm"] is known["time_grad"] is DDPMEstimator
    assert models.find_estimator("flow-matching") is FlowMatchingEstimator
    assert models.find_estimator("timegrad") is DDPMEstimator
    assert FlowMatchingEstimator.title() == "flow matching"
    assert DDPMEstimator.title() == "DDPM"


def test_help_names_every_model() -> None:
    shown = _unboxed(call("train", "--help").stdout)
    for name, kind in models.estimators().items():
        assert name in shown or not kind.__module__.startswith("tsdiff."), name


def test_settings_take_the_type_of_their_parameter() -> None:
    texts = ["learning_rate=1e-4", "lags=1,2,7", "linear=none", "context_length=none"]
    texts += ["num-layers=1", "preconditioned=false", "network_kwargs={'width': 8}", "dropout=0"]
    assert parse_settings(texts, FlowMatchingEstimator) == {
        "learning_rate": 1e-4,
        "lags": (1, 2, 7),
        "linear": "none",
        "context_length": None,
        "num_layers": 1,
        "preconditioned": False,
        "network_kwargs": {"width": 8},
        "dropout": 0,
    }
    for wrong in ("hidden_size=1.5", "hidden_size=true", "lags=3", "dropout=some"):
        with pytest.raises(typer.BadParameter, match="takes"):
            parse_settings([wrong], FlowMatchingEstimator)


def _unboxed(text: str) -> str:
    """The words of a boxed message, which the box may have broken into lines."""
    return " ".join(text.replace("│", " ").split())
