"""Forecasts and entries that the evaluation tests share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from gluonts.model.forecast import SampleForecast


def random_walk_entry(dims=3, length=200, *, seed=0, freq="D", **fields):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(dims, dims))
    target = 50 + np.cumsum(mixing @ rng.normal(size=(dims, length)), axis=1)
    return {
        "target": target,
        "start": pd.Period("2020-01-01", freq=freq),
        "item_id": f"walk-{seed}",
        **fields,
    }


@pytest.fixture
def make_entry():
    return random_walk_entry


@pytest.fixture
def scored():
    """Samples [W, N, T, D], target [W, T, D]: correlated, positive and negative, off centre."""
    rng = np.random.default_rng(7)
    windows, count, steps, dims = 4, 100, 6, 3
    mixing = rng.normal(size=(dims, dims))
    samples = rng.normal(size=(windows, count, steps, dims)) @ mixing + 0.3
    target = rng.normal(size=(windows, steps, dims)) @ mixing + 1.0
    return samples, target


@pytest.fixture
def as_gluonts():
    """Turn arrays into the forecasts and data frames that GluonTS' evaluator takes."""

    def convert(samples, target):
        forecasts, frames = [], []
        _, _, steps, dims = samples.shape
        start = pd.Period("2024-01-11", "D")
        index = pd.period_range(start - 10, periods=10 + steps, freq="D")
        for window, truth in zip(samples, target, strict=True):
            forecasts.append(SampleForecast(samples=window, start_date=start))
            past = np.arange(10 * dims, dtype=float).reshape(10, dims)
            frames.append(pd.DataFrame(np.concatenate([past, truth]), index=index))
        return forecasts, frames

    return convert
