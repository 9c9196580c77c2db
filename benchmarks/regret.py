"""CRPS-sum of models over that of the true law, on a seasonal vector autoregression.

The law's expected score at the same observations is closed form, and the models' is the fair
ensemble estimator, so that a perfect model has an expected regret of 1.

    python benchmarks/regret.py --seeds 3
    python benchmarks/regret.py --models consistency "distilled flow" --steps 1 2 4
"""

from __future__ import annotations

import argparse

import numpy as np
from models import MODELS, VARIANTS

import tsdiff
from tsdiff.datasets import crps_gaussian, split_window


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument(
        "--steps",
        type=int,
        nargs="*",
        default=[None],
        help="num_steps; the model's own if left out",
    )
    known = MODELS | VARIANTS
    parser.add_argument("--models", nargs="*", default=list(known), choices=list(known))
    arguments = parser.parse_args()

    data = tsdiff.get_dataset("seasonal_var")
    horizon = data.metadata.prediction_length
    law = true_score(data)

    print("| model | seed | steps | regret | 80 % coverage | 80 % coverage of the sum | epochs |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in arguments.models:
        kind = known[name]
        for seed in range(arguments.seeds):
            predictor = kind(prediction_length=horizon, seed=seed).fit(data.train, progress=False)
            for steps in arguments.steps:
                result = tsdiff.evaluate(
                    predictor,
                    data.test,
                    num_samples=arguments.samples,
                    seed=seed,
                    num_steps=steps,
                )
                regret = result["crps_sum_fair"].value / law
                error = result["crps_sum_fair"].error / law
                print(
                    f"| {name} | {seed} | {steps or 'default'} | {regret:.3f} ± {error:.3f} | "
                    f"{result['coverage_80'].value:.3f} | "
                    f"{result['coverage_sum_80'].value:.3f} | {len(predictor.history) - 1} |",
                    flush=True,
                )


def true_score(data) -> float:
    """The CRPS-sum that the law itself is expected to have at these observations."""
    horizon, law, size = data.metadata.prediction_length, 0.0, 0.0
    for window in data.test:
        history, truth = split_window(window, horizon)
        mean, std = data.law.predictive_sum(history, horizon)
        law += crps_gaussian(mean, std, truth.sum(0)).sum()
        size += np.abs(truth.sum(0)).sum()
    return law / size


if __name__ == "__main__":
    main()
