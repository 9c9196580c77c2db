"""Calendar features: where a step stands in its day, week and year, on circles.

GluonTS' own features are ramps on [-0.5, 0.5] that put hour 23 and hour 0 at opposite ends;
sines and cosines let neighbouring hours have neighbouring features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.transforms.lags import base_frequency

# Cycle: (position in [0, 1), number of harmonics).
_HARMONICS = {"minute": 1, "day": 3, "week": 2, "month": 1, "year": 1}
# Where week and year stand among the features of steps that are shares of a day.
WEEK_COLUMN = 2 * _HARMONICS["day"]
YEAR_COLUMN = WEEK_COLUMN + 2 * _HARMONICS["week"]


def cycles(freq: str) -> tuple[str, ...]:
    """The calendar cycles longer than one step of ``freq``."""
    unit = base_frequency(freq)[1]
    return {
        "s": ("minute", "day", "week"),
        "min": ("day", "week", "year"),
        "h": ("day", "week", "year"),
        "D": ("week", "month", "year"),
        "B": ("week", "month", "year"),
        "W": ("year",),
        "M": ("year",),
        "Q": ("year",),
        "Y": (),
    }[unit]


def num_calendar_features(freq: str) -> int:
    """Width of :func:`calendar_features`."""
    return sum(2 * _HARMONICS[cycle] for cycle in cycles(freq))


def calendar_features(start: pd.Period, length: int, freq: str) -> np.ndarray:
    """Sines and cosines of the calendar, ``[length, num_calendar_features(freq)]``, float32.

    Parameters
    ----------
    start
        First step.
    length
        Number of steps.
    freq
        Frequency of the series, which decides what cycles there are.
    """
    if not cycles(freq):
        return np.zeros((length, 0), dtype=np.float32)
    with business_day_periods():
        stamps = pd.period_range(start, periods=length, freq=start.freq).to_timestamp()
    columns = []
    for cycle in cycles(freq):
        turn = 2.0 * np.pi * _position(cycle, stamps)
        for harmonic in range(1, _HARMONICS[cycle] + 1):
            columns += [np.sin(harmonic * turn), np.cos(harmonic * turn)]
    return np.stack(columns, axis=-1).astype(np.float32)


def _position(cycle: str, stamps: Any) -> np.ndarray:
    second = stamps.hour * 3600 + stamps.minute * 60 + stamps.second
    day = second / 86400
    position = {
        "minute": lambda: stamps.second / 60,
        "day": lambda: day,
        "week": lambda: (stamps.dayofweek + day) / 7,
        "month": lambda: (stamps.day - 1) / stamps.days_in_month,
        "year": lambda: (stamps.dayofyear - 1) / 365.25,
    }[cycle]()
    return np.asarray(position, dtype=np.float64)
