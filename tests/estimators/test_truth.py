"""Models are judged against laws that are known exactly."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import tsdiff
from tests.estimators.small import samples_of
from tsdiff.datasets import crps_gaussian, split_window, truncate

KINDS = [
    tsdiff.ConsistencyEstimator,
    tsdiff.DDPMEstimator,
    tsdiff.FlowMatchingEstimator,
    tsdiff.InterpolantEstimator,
    tsdiff.SchrodingerBridgeEstimator,
    tsdiff.ScoreEstimator,
    tsdiff.VSDMEstimator,
]


@pytest.mark.parametrize("kind", KINDS)
def test_regret_on_a_seasonal_autoregression(kind):
    data = tsdiff.get_dataset("seasonal_var")
    horizon = data.metadata.prediction_length
    predictor = kind(prediction_length=horizon, max_epochs=2, num_batches_per_epoch=20).fit(
        data.train, progress=False
    )
    result = tsdiff.evaluate(predictor, data.test, num_samples=100)
    law, size = 0.0, 0.0
    for window in data.test:
        history, truth = split_window(window, horizon)
        mean, std = data.law.predictive_sum(history, horizon)
        law += crps_gaussian(mean, std, truth.sum(0)).sum()
        size += np.abs(truth.sum(0)).sum()
    assert 0.97 < result["crps_sum_fair"].value / (law / size) <= 1.05
    assert abs(result["coverage_80"].value - 0.8) < 0.03


@pytest.mark.parametrize("kind", KINDS)
def test_a_bimodal_law_is_learned(kind):
    """Steps of +1 or -1: a Gaussian can't have two modes, a trained decoder must."""
    steps = np.random.default_rng(0).choice([-1.0, 1.0], size=(1, 4000))
    steps += 0.05 * np.random.default_rng(1).standard_normal(steps.shape)
    data = [{"target": steps.cumsum(axis=1), "start": pd.Period("2020-01-01", "h")}]
    estimator = kind(
        prediction_length=2,
        scaling="increment",
        hidden_size=16,
        num_layers=1,
        max_epochs=8,
        patience=8,
        batch_size=256,
        learning_rate=3e-3,
    )
    predictor = estimator.fit(data, progress=False)
    histories = [truncate(data[0], length) for length in range(3000, 4000, 50)]
    drawn = samples_of(predictor, histories, num_samples=200, num_steps=20)[:, :, 0, 0]
    change = drawn - np.array([[history["target"][0, -1]] for history in histories])
    assert abs((change > 0).mean() - 0.5) < 0.06
    # A Gaussian of this variance has a third of its mass within ±0.45.
    assert (abs(change) < 0.45).mean() < 0.1
    assert abs(abs(change).mean() - 1.0) < 0.1
