"""Small data and small models, so that a fit takes a fraction of a second."""

from __future__ import annotations

import numpy as np
import pandas as pd

SMALL = {
    "prediction_length": 4,
    "context_length": 12,
    "lags": (1, 2),
    "hidden_size": 8,
    "num_layers": 1,
    "batch_size": 8,
    "num_batches_per_epoch": 4,
    "max_epochs": 2,
    "num_validation_samples": 8,
}


def random_walk(length: int = 160, dims: int = 3, seed: int = 0) -> np.ndarray:
    """``[dims, length]``."""
    return 10.0 + np.random.default_rng(seed).standard_normal((dims, length)).cumsum(axis=1)


def entry(target: np.ndarray, freq: str = "D", **fields) -> dict:
    return {"target": target, "start": pd.Period("2020-01-01", freq), "item_id": "a", **fields}


def frame(target: np.ndarray, freq: str = "D") -> pd.DataFrame:
    index = pd.date_range("2020-01-01", periods=target.shape[1], freq=freq)
    return pd.DataFrame(target.T, index=index, columns=[f"x{i}" for i in range(len(target))])


def samples_of(predictor, entries, **options) -> np.ndarray:
    options = {"num_samples": 7, "seed": 3, **options}
    return np.stack([forecast.samples for forecast in predictor.predict(entries, **options)])
