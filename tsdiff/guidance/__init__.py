"""Forecasts that heed what is known of the future, or what is wanted of it."""

from tsdiff.guidance.conditions import (
    Bounds,
    ClassifierFree,
    Condition,
    Energy,
    Guidance,
    Observed,
    QuantileTarget,
    Total,
    as_guidance,
)
from tsdiff.guidance.errors import GuidanceError, GuidanceWarning

__all__ = [
    "Bounds",
    "ClassifierFree",
    "Condition",
    "Energy",
    "Guidance",
    "GuidanceError",
    "GuidanceWarning",
    "Observed",
    "QuantileTarget",
    "Total",
    "as_guidance",
]
