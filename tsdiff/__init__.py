"""Probabilistic forecasting of multivariate time series with generative models.

An LSTM reads the past; a generative decoder conditioned on it draws the future.

>>> import tsdiff
>>> data = tsdiff.get_dataset("ecb_exchange_rate")
>>> estimator = tsdiff.FlowMatchingEstimator(prediction_length=data.metadata.prediction_length)
>>> predictor = estimator.fit(data.train)  # doctest: +SKIP
>>> print(tsdiff.evaluate(predictor, data.test)["crps_sum_q19"])  # doctest: +SKIP
0.0067 ± 0.0001
"""

from tsdiff._version import __version__
from tsdiff.datasets import DataError, from_frame, get_dataset, list_datasets, read_series
from tsdiff.estimators import (
    DDPMEstimator,
    FlowMatchingEstimator,
    GenerativeEstimator,
    GenerativePredictor,
    TimeGradEstimator,
)
from tsdiff.evaluation import backtest, baselines, compare, evaluate

load = GenerativePredictor.load
"""Read a model that ``predictor.save(folder)`` wrote."""

__all__ = [
    "DDPMEstimator",
    "DataError",
    "FlowMatchingEstimator",
    "GenerativeEstimator",
    "GenerativePredictor",
    "TimeGradEstimator",
    "__version__",
    "backtest",
    "baselines",
    "compare",
    "evaluate",
    "from_frame",
    "get_dataset",
    "list_datasets",
    "load",
    "read_series",
]
