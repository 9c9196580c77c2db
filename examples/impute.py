"""Fill gaps in a history with samples of what may have been there.

A forecaster looks ahead only. But a gap is a piece of future whose end is known: forecast from
where it begins, and let what was recorded during the gap and after it guide the samples.

    python examples/impute.py
"""

from __future__ import annotations

import numpy as np

import tsdiff
from tsdiff.guidance import Guidance, Observed

GAP, AFTER, GAPS = 4, 2, 24


def main() -> None:
    data = tsdiff.get_dataset("seasonal_var")
    (series,) = data.train
    target = series["target"][:3]  # three of its dimensions
    train, rest = target[:, :-600], target[:, -600:]

    horizon = GAP + AFTER
    estimator = tsdiff.FlowMatchingEstimator(prediction_length=horizon, max_epochs=3)
    predictor = estimator.fit([{"target": train, "start": series["start"]}], progress=False)

    inside, errors, alone = [], [], []
    for number in range(GAPS):
        begin = train.shape[1] + number * rest.shape[1] // GAPS
        history = {"target": target[:, :begin], "start": series["start"]}
        truth = target[:, begin : begin + horizon].T
        known = truth.copy()
        known[:GAP, 0] = np.nan  # the first sensor was silent

        guidance = Guidance(Observed(known), particles=8)
        (filled,) = predictor.predict([history], guidance=guidance, num_steps=8)
        (forecast,) = predictor.predict([history])
        samples, lost = filled.samples[:, :GAP, 0], truth[:GAP, 0]
        low, high = np.quantile(samples, [0.1, 0.9], axis=0)
        inside.append((low <= lost) & (lost <= high))
        errors.append(samples.mean(0) - lost)
        alone.append(forecast.samples[:, :GAP, 0].mean(0) - lost)

    print(f"values within their 80 % interval: {100 * np.mean(inside):.0f} (law: 80)")
    ratio = np.sqrt(np.mean(np.square(errors)) / np.mean(np.square(alone)))
    print(f"error, as a share of a forecast's that looks ahead only: {ratio:.2f}")


if __name__ == "__main__":
    main()
