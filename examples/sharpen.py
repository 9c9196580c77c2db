"""Turn another model's point forecast into a distribution, and make both better.

Somebody else's forecast is one number per step, with an error that its past tells: an observation
of the future, with a standard deviation. Samples of a trained model that heed it are sharper than
the model's own, and say how sure they are.

    python examples/sharpen.py
"""

from __future__ import annotations

import numpy as np

import tsdiff
from tsdiff.datasets import rolling_windows, split_window
from tsdiff.guidance import Guidance, Observed

HORIZON, DIMS, WINDOWS = 6, 3, 24


def main() -> None:
    data = tsdiff.get_dataset("seasonal_var")
    (whole,) = data.train
    series = {"target": whole["target"][:DIMS], "start": whole["start"]}
    windows = rolling_windows([series], HORIZON, WINDOWS)
    past, _ = split_window(windows[0], HORIZON)
    estimator = tsdiff.FlowMatchingEstimator(prediction_length=HORIZON, max_epochs=3)
    predictor = estimator.fit([past], progress=False)

    # The other model knows the future up to errors of about one noise of the series.
    size = np.sqrt(np.diag(data.law.noise_covariance))[:DIMS]
    rng = np.random.default_rng(0)
    inside, ours, theirs, both = [], [], [], []
    for window in windows:
        history, future = split_window(window, HORIZON)
        truth = future.T
        point = truth + size * rng.standard_normal(truth.shape)
        known = Observed(point, std=np.broadcast_to(size, point.shape))
        (plain,) = predictor.predict([history])
        (sharp,) = predictor.predict([history], guidance=Guidance(known, 8), num_steps=8)
        low, high = np.quantile(sharp.samples, [0.1, 0.9], axis=0)
        inside.append((low <= truth) & (truth <= high))
        ours.append((plain.mean - truth) / size)
        theirs.append((point - truth) / size)
        both.append((sharp.mean - truth) / size)

    errors = [np.sqrt(np.mean(np.square(part))) for part in (ours, theirs, both)]
    print("errors of ours, theirs and both: {:.2f}, {:.2f}, {:.2f}".format(*errors))
    print(f"values within their 80 % interval: {100 * np.mean(inside):.0f} (law: 80)")


if __name__ == "__main__":
    main()
