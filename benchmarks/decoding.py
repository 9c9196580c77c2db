"""Step by step or the whole horizon at once: what ``decoding="auto"`` chooses, and what both score.

    python benchmarks/decoding.py [DATASET ...]

Of each data set's training range the last fourteen windows are forecast (fewer of short ones),
by flow matching that was trained for three epochs on what is before them, 100 samples, seed 0.
Half of the data are made up, of known kinds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import pandas as pd

import tsdiff
from tsdiff.datasets import entry_to_frame

MOST_WINDOWS = 14


def real(name: str, steps: int | None = None) -> pd.DataFrame:
    table = entry_to_frame(tsdiff.get_dataset(name).train[0])
    return table if steps is None else table.iloc[-steps:]


def made(values: np.ndarray, freq: str) -> pd.DataFrame:
    return pd.DataFrame(values, index=pd.date_range("2023-01-02", periods=len(values), freq=freq))


def decaying(steps: int, dims: int, rate: float) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal((steps, dims))
    for step in range(1, steps):
        noise[step] += rate * noise[step - 1]
    return noise


def sales() -> pd.DataFrame:
    """Six shops: counts, levels that wander, busy Saturdays."""
    rng = np.random.default_rng(0)
    week = np.array([1.0, 0.9, 0.95, 1.05, 1.3, 1.6, 0.4])[np.arange(730) % 7]
    level = np.exp(0.01 * rng.standard_normal((730, 6)).cumsum(0)) * rng.uniform(3.0, 40.0, 6)
    return made(rng.poisson(level * week[:, None]).astype(float), "D")


def traffic() -> pd.DataFrame:
    """Eight roads: two rush hours on working days, some days busier than others."""
    rng = np.random.default_rng(0)
    hour, day = np.arange(24 * 150) % 24, np.arange(24 * 150) // 24
    rush = np.exp(-(((hour - 17) / 3.0) ** 2)) + (day % 7 < 5) * np.exp(-(((hour - 8) / 2.5) ** 2))
    busy = np.exp(0.15 * rng.standard_normal((150, 8)))[day]
    noise = np.exp(0.08 * rng.standard_normal((24 * 150, 8)))
    return made((0.1 + rush)[:, None] * busy * noise * rng.uniform(20.0, 90.0, 8), "h")


def daily_wave(steps: int, dims: int, rate: float, day: int, freq: str) -> pd.DataFrame:
    """A daily wave, and around it what decays from step to step."""
    wave = 5.0 * np.sin(2.0 * np.pi * np.arange(steps) / day)
    return made(50.0 + wave[:, None] + decaying(steps, dims, rate), freq)


DATASETS: dict[str, tuple[Callable[[], pd.DataFrame], int]] = {
    "load, a day": (lambda: real("gefcom2012_load"), 24),
    "load, two days": (lambda: real("gefcom2012_load", 24 * 400), 48),
    "load, a week": (lambda: real("gefcom2012_load", 24 * 500).iloc[:, :6], 168),
    "solar power, a day": (lambda: real("rts_gmlc_solar"), 24),
    "traffic (made)": (traffic, 24),
    "daily sales (made)": (sales, 14),
    "seasonal_var": (lambda: real("seasonal_var"), 24),
    "hours that follow (made)": (lambda: daily_wave(24 * 200, 5, 0.97, 24, "h"), 24),
    "ten minutes (made)": (lambda: daily_wave(144 * 60, 3, 0.99, 144, "10min"), 72),
    "hourly noise (made)": (lambda: made(10.0 + decaying(2880, 3, 0.0), "h"), 24),
    "exchange_rate": (lambda: real("exchange_rate"), 30),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="*", default=DATASETS, metavar="DATASET")
    arguments = parser.parse_args()
    print("| | chosen | CRPS-sum, step by step | at once | CRPS, step by step | at once |")
    print("|---|---|--:|--:|--:|--:|", flush=True)
    for name in arguments.datasets:
        make, horizon = DATASETS[name]
        row(name, make(), horizon)


def row(name: str, table: pd.DataFrame, horizon: int) -> None:
    """Print what was chosen for one data set, and what both modes score."""
    windows = max(3, min(MOST_WINDOWS, len(table) // (8 * horizon)))
    before, scores = table.iloc[: -windows * horizon], []
    for decoding in ("autoregressive", "horizon"):
        estimator = tsdiff.FlowMatchingEstimator(
            prediction_length=horizon, decoding=decoding, max_epochs=3
        )
        scores.append(tsdiff.backtest(estimator, table, num_windows=windows, progress=False))
    estimator.set_params(decoding="auto", max_epochs=1, num_batches_per_epoch=1)
    facts = estimator.fit(before, progress=False).facts
    chosen = {"horizon": "at once", "autoregressive": "step by step"}[facts.decoding]
    cells = [str(score[metric]) for metric in ("crps_sum", "crps") for score in scores]
    print(f"| {name} | {chosen} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
