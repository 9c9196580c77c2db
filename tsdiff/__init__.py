"""Probabilistic forecasting of multivariate time series with generative models.

An LSTM reads the past; a generative decoder conditioned on it draws the future.

>>> import tsdiff
>>> data = tsdiff.get_dataset("ecb_exchange_rate")
>>> estimator = tsdiff.FlowMatchingEstimator(prediction_length=data.metadata.prediction_length)
>>> predictor = estimator.fit(data.train)  # doctest: +SKIP
>>> print(tsdiff.evaluate(predictor, data.test)["crps_sum_q19"])  # doctest: +SKIP
0.0042 ± 0.0001
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tsdiff._version import __version__

if TYPE_CHECKING:
    from tsdiff import datasets, estimators, evaluation, guidance
    from tsdiff.datasets import DataError, from_frame, get_dataset, list_datasets, read_series
    from tsdiff.estimators import (
        ConsistencyEstimator,
        DDPMEstimator,
        DeepVAREstimator,
        EnsembleEstimator,
        EnsemblePredictor,
        FlowMatchingEstimator,
        GenerativeEstimator,
        GenerativePredictor,
        InterpolantEstimator,
        LowRankGaussianEstimator,
        SchrodingerBridgeEstimator,
        ScoreEstimator,
        TimeGradEstimator,
        VSDMEstimator,
        load,
    )
    from tsdiff.evaluation import backtest, baselines, compare, evaluate

__all__ = [
    "ConsistencyEstimator",
    "DDPMEstimator",
    "DataError",
    "DeepVAREstimator",
    "EnsembleEstimator",
    "EnsemblePredictor",
    "FlowMatchingEstimator",
    "GenerativeEstimator",
    "GenerativePredictor",
    "InterpolantEstimator",
    "LowRankGaussianEstimator",
    "SchrodingerBridgeEstimator",
    "ScoreEstimator",
    "TimeGradEstimator",
    "VSDMEstimator",
    "__version__",
    "backtest",
    "baselines",
    "compare",
    "datasets",
    "estimators",
    "evaluate",
    "evaluation",
    "from_frame",
    "get_dataset",
    "guidance",
    "list_datasets",
    "load",
    "read_series",
]

_PACKAGES = ("datasets", "estimators", "evaluation", "guidance")


def __getattr__(name: str) -> Any:
    """Import a name on first use, so that ``tsdiff --help`` need not wait for torch."""
    if name in _PACKAGES:
        return importlib.import_module(f"tsdiff.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'tsdiff' has no attribute {name!r}")
    home = next(p for p in _PACKAGES if name in importlib.import_module(f"tsdiff.{p}").__all__)
    found = getattr(importlib.import_module(f"tsdiff.{home}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
