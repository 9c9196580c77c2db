"""Time to draw forecasts, and where a training step spends its time.

python benchmarks/speed.py exchange_rate
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
from models import MODELS

import tsdiff
from tsdiff.datasets import as_entries, split_window
from tsdiff.random import seeded
from tsdiff.transforms import WindowSampler, load_series


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="?", default="ecb_exchange_rate")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    data = tsdiff.get_dataset(arguments.dataset)
    horizon = data.metadata.prediction_length
    print(
        f"{data.metadata.name}: {len(data.test)} windows × {horizon} steps × "
        f"{arguments.samples} samples, {arguments.threads} threads, torch {torch.__version__}\n"
    )
    print("| model | sampler | draw, median (min) | training step | of it data |")
    print("|---|---|--:|--:|--:|")
    for name, kind in MODELS.items():
        predictor = kind(
            prediction_length=horizon,
            max_epochs=1,
            num_batches_per_epoch=1,
            num_validation_windows=0,
        ).fit(data.train, progress=False)
        histories = [split_window(window, horizon)[0] for window in data.test]
        drawn = drawing_times(predictor, histories, arguments.samples, arguments.repeats)
        step, share = training_step(predictor, data.train)
        decoder = predictor.model.decoder
        solver = type(decoder.solver).__name__
        evaluations = decoder.num_steps * decoder.solver.evaluations
        print(
            f"| {name} | {solver}, {evaluations} evaluations | {median(drawn):.2f} s "
            f"({min(drawn):.2f} s) | {1e3 * step:.0f} ms | {share:.1%} |",
            flush=True,
        )


def drawing_times(predictor, histories, num_samples: int, repeats: int) -> list[float]:
    """Seconds for all forecasts, validation of the data included, after one warm-up."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        list(predictor.predict(histories, num_samples=num_samples))
        times.append(time.perf_counter() - began)
    return times[1:]


def training_step(predictor, train, repeats: int = 60) -> tuple[float, float]:
    """Median seconds of an update, and the share of it that goes into making the batch."""
    estimator, model = predictor.estimator, predictor.model.train()
    series = load_series(as_entries(train), predictor.facts.freq, 0)
    sampler = WindowSampler(series, model.past_length, predictor.prediction_length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=estimator.learning_rate)
    data, whole = [], []
    for step in range(repeats):
        began = time.perf_counter()
        window = sampler.draw(estimator.batch_size, seeded(0, step))
        data.append(time.perf_counter() - began)
        model.loss(window, seeded(1, step)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), estimator.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()
        whole.append(time.perf_counter() - began)
    model.eval()
    return median(whole[10:]), median(data[10:]) / median(whole[10:])


if __name__ == "__main__":
    main()
