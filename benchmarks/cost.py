"""What VSDM costs beyond score training: same network, same number of score updates.

Blocks of updates of the two models alternate in one process, so that a busy machine slows both;
VSDM's contain its stages, at the estimator's defaults, as they are until its drift rests. Memory is
the peak of a process of its own.

    python benchmarks/cost.py --dims 8 370
"""

from __future__ import annotations

import argparse
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd
import torch

import tsdiff
from tsdiff.datasets import as_entries
from tsdiff.random import seeded
from tsdiff.transforms import WindowSampler, load_series

KINDS = {"SGM": tsdiff.ScoreEstimator, "VSDM": tsdiff.VSDMEstimator}
HORIZON = 24


class Training:
    """One model and its optimizer, advanced block by block."""

    def __init__(self, kind: type, data: list, structure: str):
        options = {"structure": structure} if kind is tsdiff.VSDMEstimator else {}
        estimator = kind(
            prediction_length=HORIZON,
            max_epochs=1,
            num_batches_per_epoch=1,
            num_validation_windows=0,
            **options,
        )
        self.model = estimator.fit(data, progress=False).model.train()
        self.batch_size, self.update, self.stages = estimator.batch_size, 0, 0
        series = load_series(as_entries(data), "h", 0)
        self.sampler = WindowSampler(series, self.model.past_length, HORIZON)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=estimator.learning_rate)

    def advance(self, updates: int) -> float:
        """Seconds that so many updates, and the phases due in them, take."""
        began = time.perf_counter()
        for _ in range(updates):
            window = self.sampler.draw(self.batch_size, seeded(0, self.update))
            for phase in self.model.decoder.phases():
                if phase.due(self.update):
                    self.model.eval()
                    phase.run(*self.model.events(window), seeded(1, self.update))
                    self.model.train()
                    self.stages += 1
            self.model.loss(window, seeded(2, self.update)).backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.update += 1
        return time.perf_counter() - began


def series_of(dims: int) -> list:
    """Hourly series with common factors and a daily season."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((2000, 8)) @ rng.standard_normal((8, dims))
    hours = np.sin(2 * np.pi * np.arange(2000) / 24)[:, None]
    walk = (0.5 * factors + rng.standard_normal((2000, dims))).cumsum(axis=0)
    target = (10.0 + hours + 0.1 * walk).T
    return [{"target": target, "start": pd.Period("2020-01-01", "h")}]


def peak_memory(name: str, dims: int, structure: str) -> float:
    """MiB at the peak of 60 updates, in the process that calls it."""
    torch.set_num_threads(1)
    Training(KINDS[name], series_of(dims), structure).advance(60)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dims", type=int, nargs="*", default=[8, 370])
    parser.add_argument("--structures", nargs="*", default=["auto"])
    parser.add_argument("--blocks", type=int, default=4, help="blocks of 50 updates per model")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| D | structure | SGM | VSDM | ratio, median (range) | memory SGM | memory VSDM |")
    print("|--:|---|--:|--:|--:|--:|--:|")
    for dims in arguments.dims:
        for structure in arguments.structures:
            data = series_of(dims)
            runs = {name: Training(kind, data, structure) for name, kind in KINDS.items()}
            for run in runs.values():
                run.advance(5)
            seconds = {name: [] for name in runs}
            for block in range(arguments.blocks):
                order = list(runs) if block % 2 == 0 else list(runs)[::-1]
                for name in order:
                    seconds[name].append(runs[name].advance(50))
            ratios = np.array(seconds["VSDM"]) / np.array(seconds["SGM"])
            assert runs["VSDM"].stages == arguments.blocks
            with ProcessPoolExecutor(
                1, mp_context=get_context("spawn"), max_tasks_per_child=1
            ) as pool:
                memory = [pool.submit(peak_memory, n, dims, structure).result() for n in runs]
            step = {name: 20.0 * np.median(value) for name, value in seconds.items()}
            print(
                f"| {dims} | {runs['VSDM'].model.decoder.structure} | {step['SGM']:.0f} ms | "
                f"{step['VSDM']:.0f} ms | {np.median(ratios):.3f} ({ratios.min():.3f} to "
                f"{ratios.max():.3f}) | {memory[0]:.0f} MiB | {memory[1]:.0f} MiB |",
                flush=True,
            )


if __name__ == "__main__":
    main()
