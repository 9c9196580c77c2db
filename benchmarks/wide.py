"""370 dimensions: what sampling costs, and how far from a known law a short training ends.

    OMP_NUM_THREADS=2 python benchmarks/wide.py sampling --threads 2
    python benchmarks/wide.py regret --minutes 30

``sampling`` draws 7 windows × 24 steps × 100 samples with a model's default solver. Operations
are those of the matrix products inside the denoising network, as PyTorch counts them, over the
seconds spent there; beside it, in the same minute, a product of two square matrices.
``regret`` trains with the defaults until the CPU time is spent, if not before, and scores all 28
windows; the statistics that are found in closed form count as training.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import pytorch_lightning as pl
import torch
from models import MODELS
from regret import true_score
from torch.utils.flop_counter import FlopCounterMode

import tsdiff
from tsdiff.datasets import split_window

DATA = "seasonal_var_370"
WINDOWS, SIZE = 7, 4096


class Meter:
    """Time and operations inside a network, evaluation by evaluation."""

    def __init__(self, network: torch.nn.Module):
        self.network = network
        self.seconds, self.operations, self.evaluations = 0.0, 0, 0
        self._counts: dict[tuple, int] = {}

    @contextmanager
    def __call__(self) -> Iterator[Meter]:
        """Watch every ``bind`` and every evaluation of what it returns."""
        bind = self.network.bind

        def watched(context: torch.Tensor) -> Callable:
            predict = self._timed(bind, context)

            def evaluate(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
                self.evaluations += 1
                return self._timed(predict, x, t)

            return evaluate

        self.network.bind = watched
        try:
            yield self
        finally:
            del self.network.bind

    def _timed(self, function: Callable, *arguments: torch.Tensor):
        key = tuple(tensor.shape for tensor in arguments)
        if key not in self._counts:  # all calls with these shapes do the same
            with FlopCounterMode(display=False) as counter:
                function(*arguments)
            self._counts[key] = counter.get_total_flops()
        self.operations += self._counts[key]
        began = time.perf_counter()
        result = function(*arguments)
        self.seconds += time.perf_counter() - began
        return result

    def reset(self) -> None:
        """Start anew, but for what shapes cost."""
        self.seconds, self.operations, self.evaluations = 0.0, 0, 0


def sampling(arguments: argparse.Namespace) -> None:
    data = tsdiff.get_dataset(DATA)
    horizon = data.metadata.prediction_length
    histories = [split_window(window, horizon)[0] for window in data.test[-WINDOWS:]]
    print(
        f"{DATA}: {WINDOWS} windows × {horizon} steps × 100 samples, {arguments.threads} threads, "
        f"torch {torch.__version__}\n"
    )
    print(
        "| model | sampler | evaluations per step | seconds, median (min) | CPU seconds | "
        "GFLOP/s inside the network | of a product | peak memory | load |"
    )
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for name in arguments.models:
        predictor = MODELS[name](
            prediction_length=horizon,
            max_epochs=1,
            num_batches_per_epoch=1,
            num_validation_windows=0,
        ).fit(data.train, progress=False)
        meter = Meter(predictor.model.decoder.network)
        with meter():
            list(predictor.predict(histories))
        walls, cpus, rates, products = [], [], [], []
        forget_peak()
        for _ in range(arguments.repeats):
            products.append(product())
            meter.reset()
            wall, cpu = time.perf_counter(), time.process_time()
            with meter():
                list(predictor.predict(histories))
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
            rates.append(meter.operations / meter.seconds)
        share = median(rate / most for rate, most in zip(rates, products, strict=True))
        solver = type(predictor.model.decoder.solver).__name__
        print(
            f"| {name} | {solver} | {meter.evaluations // horizon} | {median(walls):.1f} "
            f"({min(walls):.1f}) | {median(cpus):.1f} | {median(rates) / 1e9:.0f} | {share:.0%} | "
            f"{peak():.2f} GB | {os.getloadavg()[0]:.1f} |",
            flush=True,
        )


def product(repeats: int = 3) -> float:
    """Operations per second of a large matrix product in single precision, the best of a few."""
    one, other = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        one @ other
        best = min(best, time.perf_counter() - began)
    return 2 * SIZE**3 / best


def forget_peak() -> None:
    """Let the peak of memory start anew, where the system can."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """The most memory that the process has held, in GB."""
    if Path("/proc/self/status").exists():
        (line,) = (
            row for row in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in row
        )
        return int(line.split()[1]) / 1e6
    unit = 1e9 if sys.platform == "darwin" else 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


class Budget(pl.Callback):
    """Ends training after the epoch in which the CPU time runs out."""

    def __init__(self, seconds: float):
        self.end = time.process_time() + seconds

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or time.process_time() > self.end


def regret(arguments: argparse.Namespace) -> None:
    data = tsdiff.get_dataset(DATA)
    law = true_score(data)
    print(
        "| model | CPU minutes of training | epochs | regret, untrained | regret | "
        "80 % coverage | of the sum | peak memory |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name in arguments.models:
        scores = []
        for epochs, batches in ((0, 0), (arguments.epochs, 50)):
            began = time.process_time()
            options = {"max_epochs": epochs, "num_batches_per_epoch": batches}
            if not epochs:  # one update of no size
                options = {"max_epochs": 1, "num_batches_per_epoch": 1, "learning_rate": 1e-20}
                options |= {"num_validation_windows": 0}
            else:
                # What an epoch takes is kept back, and the statistics before it.
                budget = Budget(0.95 * 60 * arguments.minutes)
                options["trainer_kwargs"] = {"callbacks": [budget]}
            forget_peak()
            predictor = MODELS[name](
                prediction_length=data.metadata.prediction_length, **options
            ).fit(data.train, progress=False)
            minutes, most = (time.process_time() - began) / 60, peak()
            result = tsdiff.evaluate(predictor, data.test, num_samples=100)
            scores.append(result["crps_sum_fair"])
        untrained, trained = (f"{s.value / law:.3f} ± {s.error / law:.3f}" for s in scores)
        print(
            f"| {name} | {minutes:.1f} | {len(predictor.history) - 1} | {untrained} | {trained} | "
            f"{result['coverage_80'].value:.3f} | {result['coverage_sum_80'].value:.3f} | "
            f"{most:.1f} GB |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["sampling", "regret"])
    parser.add_argument(
        "--models", nargs="*", default=["flow matching"], choices=[*MODELS], metavar="MODEL"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=30.0, help="CPU time of training")
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    {"sampling": sampling, "regret": regret}[arguments.what](arguments)


if __name__ == "__main__":
    main()
