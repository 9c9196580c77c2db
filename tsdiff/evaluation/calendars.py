"""Which past steps are like a future one: places in the calendar, by frequency.

========================  ==========================================================
frequency                 groups, from the finest to the coarsest
========================  ==========================================================
within a day              time of day x weekday; time of day x (working day or
                          weekend); time of day
days                      weekday; working day or weekend
weeks, months             month
quarters                  quarter
business days, the rest   none
========================  ==========================================================

Holidays are not known.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from tsdiff.datasets.businessdays import business_day_periods

__all__ = ["calendar_groups", "season_length"]

_NANOSECONDS_PER_DAY = 24 * 3600 * 10**9


@business_day_periods()
def calendar_groups(start: pd.Period, num_steps: int) -> list[np.ndarray]:
    """Label the steps from ``start`` on by their place in the calendar.

    Parameters
    ----------
    start
        Time of the first step; its frequency says which groups there are.
    num_steps
        Steps to label.

    Returns
    -------
    list of array
        Labels ``[num_steps]``, the finest grouping first; empty where the frequency has none.

    Examples
    --------
    >>> import pandas as pd
    >>> weekday, weekend = calendar_groups(pd.Period("2024-01-05", "D"), 4)
    >>> weekday.tolist(), weekend.tolist()
    ([4, 5, 6, 0], [0, 1, 1, 0])
    """
    times: Any = pd.period_range(start, periods=num_steps, freq=start.freq)
    frequency = start.freq
    if isinstance(frequency, pd.offsets.Tick) and frequency.nanos < _NANOSECONDS_PER_DAY:
        clock = times.hour * 3600 + times.minute * 60 + times.second
        _, place = np.unique(np.asarray(clock), return_inverse=True)
        weekday = np.asarray(times.dayofweek)
        return [place * 7 + weekday, place * 2 + (weekday >= 5), place]
    if isinstance(frequency, pd.offsets.Day) and frequency.n == 1:
        weekday = np.asarray(times.dayofweek)
        return [weekday, (weekday >= 5).astype(int)]
    if isinstance(frequency, (pd.offsets.Week, pd.offsets.MonthEnd)):
        return [np.asarray(times.month)]
    if isinstance(frequency, pd.offsets.QuarterEnd):
        return [np.asarray(times.quarter)]
    return []


def season_length(freq: str) -> int:
    """Steps in the shortest natural season: 24 for hours, 7 for days, 5 for business days.

    GluonTS' table, except that days have a week and weeks a year, where it has none.

    Raises
    ------
    ValueError
        pandas does not know the frequency.
    """
    from gluonts.time_feature import get_seasonality
    from gluonts.time_feature.seasonality import DEFAULT_SEASONALITIES

    try:
        with warnings.catch_warnings():
            # Periods call a month "M"; pandas would have offsets call it "ME", and says so.
            warnings.simplefilter("ignore", FutureWarning)
            return get_seasonality(freq, {**DEFAULT_SEASONALITIES, "D": 7, "W": 52})
    except ValueError as error:
        raise ValueError(
            f"unknown frequency {freq!r}; expected a pandas one such as 'h', 'D', 'B' or '15min'"
        ) from error
