"""TimeGrad of pytorch-ts beside ours: same windows, same number of updates, one thread each.

    python benchmarks/peer.py exchange_rate --peer-python PATH
    python benchmarks/peer.py seasonal_var_370 --peer-python PATH --updates 100 --windows 1

PATH is an interpreter in which ``pts`` can be imported. It was run with pytorch-ts 0.6.0, commit
7860c96 of 2024-06-14, under Python 3.11 with gluonts 0.13.8, torch 2.13.0, numpy 1.26, pandas 2.0,
pydantic 1.10, pytorch_lightning 2.1 and a setuptools that still has pkg_resources. Two lines had to
be changed for it to start:

* ``PtArgProj`` is imported from a module that no version of gluonts has; it stands in
  ``gluonts.torch.distributions.distribution_output``;
* the estimator hands its frequency to a predictor that takes none any more, and fails after the
  whole training: that argument was left out.

Two more things are done by calling it so: the loader is given no prefetch factor, and the series is
handed over many times, as the library takes the number of series for the number of windows it may
skip in a row. Its input width is computed from its lags and calendar features.

Its settings are those of its paper and example: two LSTM layers of 40 cells, 100 diffusion steps up
to β = 0.1, 8 × 8 residual net, batches of 64, Adam at 1e-3 under a one-cycle schedule up to 1e-2.
Ours are the defaults but for the batches. Training steps are timed from one's beginning to the
next's, in blocks that alternate between the two; so are draws. Ratios are of neighbouring blocks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from gluonts.model.forecast import SampleForecast

import tsdiff
from tsdiff.datasets import split_window
from tsdiff.evaluation import score_forecasts

SCORE = "crps_sum_q19"


class Peer:
    """The peer's process, asked through pipes."""

    def __init__(self, interpreter: str, setup: dict[str, Any], log: Path):
        worker = Path(__file__).with_name("peer_timegrad.py")
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [interpreter, "-W", "ignore", str(worker), json.dumps(setup)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the peer ended: see {self._log.name}")
        return json.loads(answer)


class Clock(pl.Callback):
    """When each training step began."""

    def __init__(self) -> None:
        self.began: list[float] = []

    def on_train_batch_start(self, *arguments: Any) -> None:
        self.began.append(time.perf_counter())


def train_ours(data: Any, updates: int, epochs: int, batch_size: int, seed: int, **options: Any):
    """A predictor, seconds in all, and seconds of each step."""
    clock = Clock()
    estimator = tsdiff.TimeGradEstimator(
        prediction_length=data.metadata.prediction_length,
        batch_size=batch_size,
        max_epochs=epochs,
        num_batches_per_epoch=updates // epochs,
        patience=epochs,
        seed=seed,
        trainer_kwargs={"callbacks": [clock]},
        **options,
    )
    began = time.perf_counter()
    predictor = estimator.fit(data.train, progress=False)
    seconds = time.perf_counter() - began
    steps = np.diff(clock.began)
    # Between epochs lies validation, which is no step; the time in all has it.
    within = np.arange(1, len(steps) + 1) % (updates // epochs) != 0
    return predictor, seconds, steps[within]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="?", default="exchange_rate")
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--windows", type=int, help="draw and score the first so many only")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--blocks", type=int, default=3, help="pairs of timed blocks")
    parser.add_argument("--block-updates", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = tsdiff.get_dataset(arguments.dataset)
    with tempfile.TemporaryDirectory() as folder:
        compare(data, arguments, Path(folder))


def compare(data: Any, arguments: argparse.Namespace, folder: Path) -> None:
    horizon, samples = data.metadata.prediction_length, arguments.samples
    test = data.test[: arguments.windows]
    histories = [split_window(window, horizon)[0] for window in test]
    arrays = {f"history_{i}": history["target"] for i, history in enumerate(histories)}
    np.savez(folder / "data.npz", train=data.train[0]["target"], **arrays)
    setup = {
        "data": str(folder / "data.npz"),
        "start": str(data.train[0]["start"]),
        "freq": data.metadata.freq.upper(),  # older pandas knows hours by a capital
        "num_windows": len(histories),
        "prediction_length": horizon,
        "batch_size": arguments.batch_size,
    }
    peer = Peer(arguments.peer_python, setup, Path("peer.log"))
    print(f"peer: {peer.ask('about')}; ours: torch {torch.__version__}", flush=True)

    size, batch = arguments.block_updates, arguments.batch_size
    theirs_step, ours_step = [], []
    for block in range(arguments.blocks):
        answer = peer.ask("train", updates=size, epochs=1, seed=block)
        theirs_step.append(mean(answer["steps"][2:]))
        _, _, steps = train_ours(data, size, 1, batch, block, num_validation_windows=0)
        ours_step.append(mean(steps[2:]))
        print(f"step: peer {theirs_step[-1]:.4f} s, ours {ours_step[-1]:.4f} s", flush=True)

    updates, epochs = arguments.updates, arguments.epochs
    theirs = peer.ask("train", updates=updates, epochs=epochs, seed=arguments.seed)
    predictor, seconds, _ = train_ours(data, updates, epochs, batch, arguments.seed)
    print(f"{updates} updates: peer {theirs['seconds']:.0f} s, ours {seconds:.0f} s", flush=True)

    theirs_draw, ours_draw, scores = [], [], {"peer": [], "ours": []}
    for block in range(arguments.blocks):
        file = folder / "samples.npy"
        answer = peer.ask(
            "sample", windows=len(test), samples=samples, seed=block, output=str(file)
        )
        theirs_draw.append(answer["seconds"])
        drawn = np.load(file)
        ours = []
        # A draw of ours is short: the median of three stands against a single one of the peer's.
        for _ in range(3):
            began = time.perf_counter()
            forecasts = list(predictor.predict(histories, num_samples=samples, seed=block))
            ours.append(time.perf_counter() - began)
        ours_draw.append(median(ours))
        starts = [forecast.start_date for forecast in forecasts]
        theirs_forecasts = [
            SampleForecast(array, start) for array, start in zip(drawn, starts, strict=True)
        ]
        for name, made in (("peer", theirs_forecasts), ("ours", forecasts)):
            scores[name].append(score_forecasts(made, test, horizon, name=name))
        print(
            f"draw: peer {theirs_draw[-1]:.2f} s, ours {ours_draw[-1]:.3f} s; CRPS-sum "
            + ", ".join(f"{name} {many[-1][SCORE].value:.5f}" for name, many in scores.items()),
            flush=True,
        )

    share = f"{len(test)} of {len(data.test)} windows"
    print(
        f"\n{data.metadata.name}: {share} × {horizon} steps × {samples} samples, seed "
        f"{arguments.seed}, {updates} updates of {batch} windows, one thread\n"
    )
    print("| method | training step | training in all | draw | of all windows | CRPS-sum (q19) |")
    print("|---|--:|--:|--:|--:|--:|")
    whole = len(data.test) / len(test)
    for name, step, total, draw in (
        ("pytorch-ts TimeGrad, 100 evaluations", theirs_step, theirs["seconds"], theirs_draw),
        ("tsdiff DDPM, 16 evaluations", ours_step, seconds, ours_draw),
    ):
        many = scores["peer" if step is theirs_step else "ours"]
        print(
            f"| {name} | {1e3 * median(step):.0f} ms | {total:.0f} s | {median(draw):.2f} s | "
            f"{whole * median(draw):.2f} s | {shown(many)} |"
        )
    print(
        f"| ratio | {ratios(theirs_step, ours_step)} | {theirs['seconds'] / seconds:.1f} | "
        f"{ratios(theirs_draw, ours_draw)} | | |"
    )
    for name, baseline in tsdiff.baselines(data.metadata.freq, horizon).items():
        results = [
            tsdiff.evaluate(baseline, test, num_samples=samples, seed=draw)
            for draw in range(arguments.blocks)
        ]
        print(f"| {name} | | | | | {shown(results)} |")
    if whole > 1:
        print("\nThe column of all windows is scaled up linearly from those that were drawn.")


def ratios(theirs: list[float], ours: list[float]) -> str:
    """Median, least and largest ratio of neighbours."""
    each = np.array(theirs) / np.array(ours)
    return f"**{np.median(each):.1f}** ({each.min():.1f} to {each.max():.1f})"


def shown(results: list) -> str:
    """Mean over draws, and the mean Monte-Carlo error of one draw."""
    value = mean(result[SCORE].value for result in results)
    error = mean(result[SCORE].error for result in results)
    return f"{value:.4f} ± {error:.4f}" if results[0][SCORE].is_random else f"{value:.4f}"


if __name__ == "__main__":
    main()
