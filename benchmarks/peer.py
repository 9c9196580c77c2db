"""TimeGrad of pytorch-ts beside ours: same windows, same number of updates, one thread each.

    python benchmarks/peer.py exchange_rate --peer-python PATH
    python benchmarks/peer.py seasonal_var_370 --peer-python PATH --updates 100 --windows 7

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
Ours is the same model with our defaults but for the batches. The others of ``OURS``, which draw by
two evaluations or the whole horizon at once, get as many updates. Training steps are timed from
one's beginning to the next's, in blocks that alternate between the two; so are draws. Ratios are of
neighbouring blocks, on the wall; those of CPU seconds, which a busy machine disturbs less, stand in
brackets. Where only some windows are drawn, the time for all of them is scaled up linearly.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from gluonts.model.forecast import SampleForecast

import tsdiff
from tsdiff.datasets import split_window
from tsdiff.evaluation import score_forecasts

SCORE = "crps_sum_q19"
PEER = "pytorch-ts, 100 evaluations"
BY_STEPS = {"decoding": "autoregressive"}  # as the peer's
OURS: dict[str, tuple[type[tsdiff.GenerativeEstimator], dict[str, Any]]] = {
    "TimeGrad, 8 evaluations (default)": (tsdiff.TimeGradEstimator, BY_STEPS),
    "TimeGrad, bfloat16": (tsdiff.TimeGradEstimator, {**BY_STEPS, "precision": "bf16"}),
    "consistency model, 2 evaluations": (tsdiff.ConsistencyEstimator, BY_STEPS),
    "TimeGrad, whole horizons": (tsdiff.TimeGradEstimator, {"decoding": "horizon"}),
}
DEFAULT = next(iter(OURS))


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


def now() -> np.ndarray:
    """Seconds on the wall and of this process's computing."""
    return np.array([time.perf_counter(), time.process_time()])


class Clock(pl.Callback):
    """When each training step began."""

    def __init__(self) -> None:
        self.began: list[np.ndarray] = []

    def on_train_batch_start(self, *arguments: Any) -> None:
        self.began.append(now())


def train_ours(
    name: str, data: Any, updates: int, epochs: int, batch_size: int, seed: int, **options: Any
):
    """A predictor, seconds in all, and of each step in its first epoch (wall, CPU)."""
    clock = Clock()
    make, chosen = OURS[name]
    estimator = make(
        prediction_length=data.metadata.prediction_length,
        batch_size=batch_size,
        max_epochs=epochs,
        num_batches_per_epoch=updates // epochs,
        patience=epochs,
        seed=seed,
        trainer_kwargs={"callbacks": [clock]},
        **chosen,
        **options,
    )
    began = time.perf_counter()
    predictor = estimator.fit(data.train, progress=False)
    seconds = time.perf_counter() - began
    return predictor, seconds, np.diff(clock.began, axis=0)[: updates // epochs - 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="?", default="exchange_rate")
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--windows", type=int, help="draw and score the first so many only")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--models", nargs="*", default=list(OURS), choices=list(OURS))
    parser.add_argument("--blocks", type=int, default=3, help="pairs of timed blocks")
    parser.add_argument("--block-updates", type=int, default=20)
    parser.add_argument("--draws", type=int, default=3, help="pairs of draws")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.block_updates < 4:
        parser.error("--block-updates must be at least 4: the first two are not timed")
    torch.set_num_threads(1)
    data = tsdiff.get_dataset(arguments.dataset)
    with tempfile.TemporaryDirectory() as folder:
        compare(data, arguments, Path(folder))


def compare(data: Any, arguments: argparse.Namespace, folder: Path) -> None:
    horizon, batch, draws = data.metadata.prediction_length, arguments.batch_size, arguments.draws
    test = data.test[: arguments.windows]
    histories = [split_window(window, horizon)[0] for window in test]
    peer = started_peer(data, histories, arguments, folder)

    steps: dict[str, list[np.ndarray]] = {PEER: [], DEFAULT: []}
    for block in range(arguments.blocks):
        answer = peer.ask("train", updates=arguments.block_updates, epochs=1, seed=block)
        steps[PEER].append(np.mean(answer["steps"][2:], axis=0))
        size = arguments.block_updates
        _, _, ours = train_ours(DEFAULT, data, size, 1, batch, block, num_validation_windows=0)
        steps[DEFAULT].append(ours[2:].mean(0))
        print(
            "step:", {name: each[-1].round(4).tolist() for name, each in steps.items()}, flush=True
        )

    updates, epochs, seed = arguments.updates, arguments.epochs, arguments.seed
    trained = {PEER: peer.ask("train", updates=updates, epochs=epochs, seed=seed)["seconds"]}
    predictors = {}
    for name in arguments.models:
        predictors[name], trained[name], _ = train_ours(name, data, updates, epochs, batch, seed)
    print(f"{updates} updates:", {k: round(s, 1) for k, s in trained.items()}, flush=True)

    names = [PEER, *arguments.models]
    drawing: dict[str, list[np.ndarray]] = {name: [] for name in names}
    results: dict[str, list] = {name: [] for name in names}
    for draw in range(draws):
        made: dict[str, list] = {}
        request = {"windows": len(test), "samples": arguments.samples, "seed": draw}
        answer = peer.ask("sample", output=str(folder / "samples.npy"), **request)
        drawing[PEER].append(np.array(answer["seconds"]))
        for name, predictor in predictors.items():
            # Ours are short: the median of three stands against one of the peer's.
            each = []
            options = {"num_samples": arguments.samples, "seed": draw}
            for _ in range(3):
                began = now()
                made[name] = list(predictor.predict(histories, **options))
                each.append(now() - began)
            drawing[name].append(np.median(each, axis=0))
        starts = [forecast.start_date for forecast in made[names[-1]]]
        arrays = np.load(folder / "samples.npy")
        made[PEER] = [SampleForecast(a, start) for a, start in zip(arrays, starts, strict=True)]
        for name in names:
            results[name].append(score_forecasts(made[name], test, horizon))
        print(
            "draw:",
            {name: each[-1].round(3).tolist() for name, each in drawing.items()},
            flush=True,
        )

    print(
        f"\n{data.metadata.name}: {len(test)} of {len(data.test)} windows × {horizon} steps × "
        f"{arguments.samples} samples, {updates} updates of {batch} windows, one thread\n"
    )
    print(
        "| method | training step | ratio | all training | draw | all windows | ratio | CRPS-sum |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name in names:
        draw = float(np.median(drawing[name], axis=0)[0])
        step = step_ratio = ratio = ""
        if name in steps:
            step = f"{1e3 * np.median(steps[name], axis=0)[0]:.0f} ms"
        if name == DEFAULT:
            step_ratio = ratios(steps[PEER], steps[name])
        if name != PEER:
            ratio = ratios(drawing[PEER], drawing[name])
        print(
            f"| {name} | {step} | {step_ratio} | {trained[name]:.0f} s | {draw:.2f} s | "
            f"{draw * len(data.test) / len(test):.1f} s | {ratio} | {shown(results[name])} |"
        )
    for name, baseline in tsdiff.baselines(data.metadata.freq, horizon).items():
        scored = [
            tsdiff.evaluate(baseline, test, num_samples=arguments.samples, seed=draw)
            for draw in range(draws)
        ]
        print(f"| {name} | | | | | | | {shown(scored)} |")


def started_peer(data: Any, histories: list, arguments: argparse.Namespace, folder: Path) -> Peer:
    """The peer with the data, which it is handed as a file."""
    arrays = {f"history_{i}": history["target"] for i, history in enumerate(histories)}
    np.savez(folder / "data.npz", train=data.train[0]["target"], **arrays)
    setup = {
        "data": str(folder / "data.npz"),
        "start": str(data.train[0]["start"]),
        "freq": data.metadata.freq.upper(),  # older pandas knows hours by a capital
        "num_windows": len(histories),
        "prediction_length": data.metadata.prediction_length,
        "batch_size": arguments.batch_size,
    }
    peer = Peer(arguments.peer_python, setup, Path("peer.log"))
    print(f"peer: {peer.ask('about')}; ours: torch {torch.__version__}", flush=True)
    return peer


def ratios(theirs: list[np.ndarray], ours: list[np.ndarray]) -> str:
    """Median, least and largest ratio of neighbours on the wall; the median of CPU seconds."""
    each = np.array(theirs) / np.array(ours)
    wall, cpu = np.median(each, axis=0)
    return f"**{wall:.1f}** ({each[:, 0].min():.1f} to {each[:, 0].max():.1f}) [{cpu:.1f}]"


def shown(results: list) -> str:
    """Mean over draws, and the mean Monte-Carlo error of one draw."""
    value = mean(result[SCORE].value for result in results)
    error = mean(result[SCORE].error for result in results)
    return f"{value:.4f} ± {error:.4f}" if results[0][SCORE].is_random else f"{value:.4f}"


if __name__ == "__main__":
    main()
