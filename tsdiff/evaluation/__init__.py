"""Judging forecasts: scores with their Monte-Carlo error, backtests, baselines, tables, plots.

Start with :func:`evaluate` (a predictor on test windows) and :func:`compare` (several results side
by side, naive baselines among them). :mod:`~tsdiff.evaluation.metrics` has the scores as functions
of arrays, :mod:`~tsdiff.evaluation.plots` the pictures, :mod:`~tsdiff.evaluation.clouds` compares
samples with samples.
"""

from __future__ import annotations

from tsdiff.evaluation.automatic import AutoARIMA, AutoETS
from tsdiff.evaluation.autoregression import VectorAutoregression
from tsdiff.evaluation.backtests import backtest, evaluate, score_forecasts
from tsdiff.evaluation.calibration_plots import calibration_plot
from tsdiff.evaluation.climatology import Climatology
from tsdiff.evaluation.clouds import (
    CloudScore,
    energy_distance,
    evaluations_study,
    straightness,
    two_sample_accuracy,
)
from tsdiff.evaluation.comparison import Comparison, compare
from tsdiff.evaluation.integral_transform import (
    Calibration,
    calibration,
    calibration_sum,
    pit,
    pit_sum,
)
from tsdiff.evaluation.last_seasons import LastSeasons
from tsdiff.evaluation.likelihood import negative_log_likelihood
from tsdiff.evaluation.metrics import (
    coverage,
    coverage_sum,
    crps,
    crps_q19,
    crps_sum,
    crps_sum_q9,
    crps_sum_q19,
    energy_score,
    nd,
    nrmse,
)
from tsdiff.evaluation.naive import LastValue, RandomWalk, SeasonalNaive, baselines
from tsdiff.evaluation.plots import fan_chart, fan_chart_sum
from tsdiff.evaluation.ridge import SeasonalRidge
from tsdiff.evaluation.scores import Evaluation, Score, score_samples
from tsdiff.evaluation.significance import Difference, Significance
from tsdiff.evaluation.variogram import variogram_score

__all__ = [
    "AutoARIMA",
    "AutoETS",
    "Calibration",
    "Climatology",
    "CloudScore",
    "Comparison",
    "Difference",
    "Evaluation",
    "LastSeasons",
    "LastValue",
    "RandomWalk",
    "Score",
    "SeasonalNaive",
    "SeasonalRidge",
    "Significance",
    "VectorAutoregression",
    "backtest",
    "baselines",
    "calibration",
    "calibration_plot",
    "calibration_sum",
    "compare",
    "coverage",
    "coverage_sum",
    "crps",
    "crps_q19",
    "crps_sum",
    "crps_sum_q9",
    "crps_sum_q19",
    "energy_distance",
    "energy_score",
    "evaluate",
    "evaluations_study",
    "fan_chart",
    "fan_chart_sum",
    "nd",
    "negative_log_likelihood",
    "nrmse",
    "pit",
    "pit_sum",
    "score_forecasts",
    "score_samples",
    "straightness",
    "two_sample_accuracy",
    "variogram_score",
]
