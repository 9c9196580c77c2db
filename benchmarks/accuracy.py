"""Scores of every model on a data set, over several seeds, beside the naive baselines.

python benchmarks/accuracy.py exchange_rate --seeds 3 --jobs 2 --output accuracy.md
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import mean

import torch
from models import MODELS

import tsdiff
from tsdiff.evaluation import Score, negative_log_likelihood

NLL = "nll"
METRICS = ("crps_sum_q19", "crps_sum_q9", "crps_sum", "crps", "energy_score", "coverage_80")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--draws", type=int, default=10, help="forecasts drawn per model")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--scaling", default="auto", help="coordinates, the same for all models")
    parser.add_argument("--jobs", type=int, default=1, help="models trained at once, a core each")
    parser.add_argument(
        "--likelihood", action="store_true", help="add the negative log-likelihood, nats per value"
    )
    parser.add_argument(
        "--statistical", action="store_true", help="add climatology, VAR and seasonal ridge"
    )
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    metadata = tsdiff.get_dataset(arguments.dataset).metadata
    baselines = tsdiff.baselines(
        metadata.freq, metadata.prediction_length, statistical=arguments.statistical
    )
    results = []
    for seed in range(arguments.seeds):
        for name, baseline in baselines.items():
            results += draw(baseline, name, seed, arguments)
    tasks = [
        (name, seed, arguments) for seed in range(arguments.seeds) for name in arguments.models
    ]
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        for drawn, line in pool.map(train_and_draw, *zip(*tasks, strict=True)):
            results += drawn
            print(line, flush=True)
    metrics = (*METRICS, NLL) if arguments.likelihood else METRICS
    table = tsdiff.compare(results).to_markdown(metrics)
    print(table)
    if arguments.output:
        arguments.output.write_text(table + "\n", encoding="utf-8")


def train_and_draw(name: str, seed: int, arguments: argparse.Namespace) -> tuple[list, str]:
    """Evaluations of one trained model, and a line that tells of it."""
    torch.set_num_threads(1)
    data = tsdiff.get_dataset(arguments.dataset)
    estimator = MODELS[name](
        prediction_length=data.metadata.prediction_length, seed=seed, scaling=arguments.scaling
    )
    began = time.perf_counter()
    predictor = estimator.fit(data.train, progress=False)
    took = time.perf_counter() - began
    drawn = draw(predictor, name, seed, arguments)
    score = mean(result["crps_sum_q19"].value for result in drawn)
    line = (
        f"{name}, seed {seed}: {score:.5f} after {took:.0f} s, "
        f"{len(predictor.history) - 1} epochs, {predictor.facts.scaling}, "
        f"linear {predictor.facts.linear}"
    )
    return drawn, line


def draw(predictor, name: str, seed: int, arguments: argparse.Namespace) -> list:
    """Evaluations of one predictor under several sampling seeds."""
    test = tsdiff.get_dataset(arguments.dataset).test
    drawn = [
        tsdiff.evaluate(
            predictor, test, num_samples=arguments.samples, seed=1000 * seed + draw, name=name
        )
        for draw in range(arguments.draws)
    ]
    if not arguments.likelihood:
        return drawn
    # Point forecasts have no density, and those of the telegraph process none that is finite.
    try:
        surprise = negative_log_likelihood(predictor, test, seed=seed)
    except (TypeError, ValueError):
        surprise = Score(float("nan"))
    return [replace(result, scores={**result.scores, NLL: surprise}) for result in drawn]


if __name__ == "__main__":
    main()
