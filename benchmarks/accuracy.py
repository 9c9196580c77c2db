"""Scores of every model on a data set, over several seeds, beside the naive baselines.

python benchmarks/accuracy.py exchange_rate --seeds 3 --output accuracy.md
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import mean

import torch
from models import MODELS

import tsdiff

METRICS = ("crps_sum_q19", "crps_sum_q9", "crps_sum", "crps", "energy_score", "coverage_80")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--draws", type=int, default=10, help="forecasts drawn per model")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    data = tsdiff.get_dataset(arguments.dataset)
    horizon = data.metadata.prediction_length
    results = []

    def draw(predictor, name, seed):
        """Evaluations of one predictor under several sampling seeds."""
        return [
            tsdiff.evaluate(
                predictor,
                data.test,
                num_samples=arguments.samples,
                seed=1000 * seed + draw,
                name=name,
            )
            for draw in range(arguments.draws)
        ]

    for seed in range(arguments.seeds):
        for name, baseline in tsdiff.baselines(data.metadata.freq, horizon).items():
            results += draw(baseline, name, seed)
        for name in arguments.models:
            began = time.perf_counter()
            predictor = MODELS[name](prediction_length=horizon, seed=seed).fit(
                data.train, progress=False
            )
            took = time.perf_counter() - began
            drawn = draw(predictor, name, seed)
            results += drawn
            scores = [result["crps_sum_q19"].value for result in drawn]
            print(
                f"{name}, seed {seed}: {mean(scores):.5f} after {took:.0f} s, "
                f"{len(predictor.history) - 1} epochs, {predictor.facts.scaling}, "
                f"linear {predictor.facts.linear}",
                flush=True,
            )
    table = tsdiff.compare(results).to_markdown(METRICS)
    print(table)
    if arguments.output:
        arguments.output.write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
