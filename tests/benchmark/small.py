"""A benchmark of a few seconds: two synthetic dimensions, and a model that hardly trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tsdiff.benchmark.configuration import Configuration

TEXT = """
title = "Small"
seeds = [0]
num_samples = 10
baselines = ["naive"]

[budget]
max_epochs = 1

[[datasets]]
name = "small"
protocols = ["literature"]
num_windows = 4

[datasets.synthetic]
dimensions = 2
length = 600
num_test_windows = 3
prediction_length = 6

[models.flow]
estimator = "FlowMatchingEstimator"
hidden_size = 8
num_layers = 1
batch_size = 8
num_batches_per_epoch = 3
num_validation_samples = 4
chosen = "by nobody"
"""


def write(folder: Path, text: str = TEXT) -> Path:
    """The configuration as a file."""
    path = folder / "small.toml"
    path.write_text(text, encoding="utf-8")
    return path


def read(folder: Path, *changes: tuple[str, str]) -> Configuration:
    """The configuration, with parts of its text replaced."""
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return Configuration.read(write(folder, text))


OWN = """
title = "Own"
seeds = [0, 1]
num_samples = 10
baselines = ["naive"]

[[datasets]]
name = "sales"
path = "sales.csv"
prediction_length = 7
num_windows = 3
"""


def write_own(folder: Path, text: str = OWN, *, length: int = 80) -> Path:
    """A configuration beside a file of two daily series that it names."""
    walk = np.random.default_rng(0).normal(size=(length, 2)).cumsum(axis=0).round(3) + 50
    index = pd.date_range("2024-01-01", periods=length, name="day")
    pd.DataFrame(walk, index=index, columns=["north", "south"]).to_csv(folder / "sales.csv")
    return write(folder, text)
