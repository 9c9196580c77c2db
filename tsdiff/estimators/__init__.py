"""What users hold: estimators with ``fit``, predictors with ``predict``, ``save`` and ``load``."""

from tsdiff.estimators.base import ESTIMATORS, GenerativeEstimator
from tsdiff.estimators.bridge import SchrodingerBridgeEstimator
from tsdiff.estimators.consistency import ConsistencyEstimator
from tsdiff.estimators.ddpm import DDPMEstimator, TimeGradEstimator
from tsdiff.estimators.ensemble import EnsembleEstimator, EnsemblePredictor, load
from tsdiff.estimators.flow_matching import FlowMatchingEstimator
from tsdiff.estimators.interpolant import InterpolantEstimator
from tsdiff.estimators.low_rank_gaussian import DeepVAREstimator, LowRankGaussianEstimator
from tsdiff.estimators.predictor import GenerativePredictor, NonFiniteForecastError
from tsdiff.estimators.saving import SavedModelError
from tsdiff.estimators.score import ScoreEstimator
from tsdiff.estimators.vsdm import VSDMEstimator

__all__ = [
    "ESTIMATORS",
    "ConsistencyEstimator",
    "DDPMEstimator",
    "DeepVAREstimator",
    "EnsembleEstimator",
    "EnsemblePredictor",
    "FlowMatchingEstimator",
    "GenerativeEstimator",
    "GenerativePredictor",
    "InterpolantEstimator",
    "LowRankGaussianEstimator",
    "NonFiniteForecastError",
    "SavedModelError",
    "SchrodingerBridgeEstimator",
    "ScoreEstimator",
    "TimeGradEstimator",
    "VSDMEstimator",
    "load",
]
