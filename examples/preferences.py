"""Teach a forecaster what its errors cost.

A shortage costs four times what a surplus does, and somebody plans by the mean of the forecast.
Pairs of the model's own futures, of which one would have been the cheaper plan, fine-tune it. The
plan gets cheaper, and the forecast is no longer calibrated: who wants both keeps the model and
plans by the right quantile of its distribution, here the one at 4 / (4 + 1).

    python examples/preferences.py
"""

from __future__ import annotations

import torch
from torch import Tensor

import tsdiff
from tsdiff.datasets import split_window

SHORT, LONG = 4.0, 1.0


def cost(futures: Tensor, truths: Tensor) -> Tensor:
    """Of plans ``[R, T, D]``, each step's sum being what is needed; ``[R]``."""
    missing = truths.sum(-1) - futures.sum(-1)
    return torch.where(missing > 0, SHORT * missing, -LONG * missing).mean(-1)


def main() -> None:
    data = tsdiff.get_dataset("seasonal_var")
    horizon = data.metadata.prediction_length
    estimator = tsdiff.FlowMatchingEstimator(prediction_length=horizon, max_epochs=2)
    plain = estimator.fit(data.train, progress=False)
    taught = plain.prefer(data.train, cost, progress=False)

    windows = list(data.test)
    histories = [split_window(window, horizon)[0] for window in windows]
    truths = torch.stack([torch.tensor(split_window(w, horizon)[1].T) for w in windows])
    print("                     cost of the mean    of the quantile    CRPS-sum")
    costs = {}
    for name, predictor in (("as it was trained", plain), ("taught by costs", taught)):
        score = tsdiff.evaluate(predictor, windows, num_samples=50)["crps_sum"]
        drawn = [forecast.samples for forecast in predictor.predict(histories, num_samples=50)]
        samples = torch.stack([torch.tensor(part) for part in drawn])
        mean = samples.mean(1)
        level = torch.quantile(samples.sum(-1), SHORT / (SHORT + LONG), dim=1)
        plans = mean, level.unsqueeze(-1) / mean.shape[-1] * torch.ones(mean.shape[-1])
        costs[name] = [float(cost(plan, truths).mean()) for plan in plans]
        print(f"{name:18} {costs[name][0]:12.2f} {costs[name][1]:18.2f} {score!s:>20}")
    before, after = (costs[name][0] for name in costs)
    print(f"the mean became a plan that costs {100 * (1 - after / before):.0f} % less")


if __name__ == "__main__":
    main()
