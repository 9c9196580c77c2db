"""A small table, and a model trained on it from the command line, shared by all tests."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from tsdiff.cli import app

SMALL = ("hidden_size=8", "num_layers=1", "batch_size=8", "num_batches_per_epoch=3")


def call(*arguments: str | Path) -> Result:
    """Run ``tsdiff`` with arguments, in this process."""
    # click before 8.2 mixes the two streams unless told not to; later ones no longer can.
    separate = "mix_stderr" in inspect.signature(CliRunner.__init__).parameters
    runner = CliRunner(mix_stderr=False) if separate else CliRunner()
    return runner.invoke(app, [str(argument) for argument in arguments])


def small() -> list[str]:
    """Options that make a model small and its training short."""
    return ["--epochs", "1", *(part for setting in SMALL for part in ("--set", setting))]


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two random walks over 200 days, in a CSV file."""
    rng = np.random.default_rng(3)
    values = 50 + rng.normal(size=(200, 2)).cumsum(axis=0)
    times = pd.date_range("2024-01-01", periods=200, freq="D", name="time")
    path = tmp_path_factory.mktemp("data") / "walks.csv"
    pd.DataFrame(values, index=times, columns=["north", "south"]).to_csv(path)
    return path


@pytest.fixture(scope="session")
def model(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flow-matching model of the table's first 180 days, horizon 5."""
    folder = tmp_path_factory.mktemp("models") / "model"
    result = call(
        "train", table, "--prediction-length", "5", "--hold-out", "4", "--output", folder, *small()
    )
    assert result.exit_code == 0, result.output
    return folder
