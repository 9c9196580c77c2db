"""Public holidays as covariates that are known in advance.

    rows = (day is a holiday, day before one, day after one),    each 0 or 1 at every step

by one of two calendars:

* ``"US"``: federal holidays, by pandas' rules, on the working day on which they are observed where
  the date itself falls on a weekend;
* ``"US-major"``: the six on which most of the country rests, New Year's Day, Memorial Day,
  Independence Day, Labor Day, Thanksgiving and Christmas, on their own dates. Power markets count
  the same six as off-peak, though on the Monday after a Sunday; on the others offices close, and
  little else.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from tsdiff.datasets.entries import DataEntry

__all__ = ["HOLIDAY_FEATURES", "holiday_features", "with_holidays"]

HOLIDAY_FEATURES = ("holiday", "day before a holiday", "day after a holiday")


def holiday_features(start: pd.Period, num_steps: int, calendar: str = "US") -> np.ndarray:
    """Whether each step's day is a holiday, the day before one, the day after one.

    Parameters
    ----------
    start
        Time of the first step; its frequency, days or parts of days, is that of the steps.
    num_steps
        Steps to tell of.
    calendar
        ``"US"`` or ``"US-major"``: see the module.

    Returns
    -------
    array
        ``[3, num_steps]`` of zeros and ones.

    Raises
    ------
    ValueError
        Another calendar, or steps of more than a day.

    Examples
    --------
    >>> import pandas as pd
    >>> holiday_features(pd.Period("2007-07-03", "D"), 3)
    array([[0., 1., 0.],
           [1., 0., 0.],
           [0., 0., 1.]])
    """
    if calendar not in _CALENDARS:
        raise ValueError(
            f"no holidays of {calendar!r} are known, expected one of {', '.join(_CALENDARS)}"
        )
    steps: Any = pd.period_range(start, periods=num_steps, freq=start.freq)
    days = steps.to_timestamp().normalize()
    if len(days) > 1 and days[1] - days[0] > timedelta(days=1):
        raise ValueError(f"steps of {start.freqstr!r} are longer than a day, and no holidays")
    margin, day = timedelta(days=10), timedelta(days=1)  # observances move dates by a day
    holidays = _CALENDARS[calendar]().holidays(days[0] - margin, days[-1] + margin)
    shifted = (holidays, holidays - day, holidays + day)
    return np.stack([days.isin(dates) for dates in shifted]).astype(np.float64)


# pandas' calendars bring dateutil's rules, which loading other data can spare.
def _federal() -> Any:
    from pandas.tseries.holiday import USFederalHolidayCalendar

    return USFederalHolidayCalendar()


def _major() -> Any:
    from pandas.tseries import holiday

    dates = [("New Year's Day", 1, 1), ("Independence Day", 7, 4), ("Christmas Day", 12, 25)]
    rules = [holiday.Holiday(name, month=month, day=day) for name, month, day in dates]
    rules += [holiday.USMemorialDay, holiday.USLaborDay, holiday.USThanksgivingDay]
    return holiday.AbstractHolidayCalendar("US-major", rules)


_CALENDARS = {"US": _federal, "US-major": _major}


def with_holidays(entries: list[DataEntry], horizon: int, calendar: str) -> None:
    """Give entries their ``feat_dynamic_real``, up to ``horizon`` steps beyond their targets.

    The entries begin at the same time. Arrays are views of the longest entry's.
    """
    longest = max(entry["target"].shape[1] for entry in entries)
    features = holiday_features(entries[0]["start"], longest + horizon, calendar)
    for entry in entries:
        entry["feat_dynamic_real"] = features[:, : entry["target"].shape[1] + horizon]
