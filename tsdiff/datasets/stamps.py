"""Where in its step a time stands, so that forecasts carry the times that their data do.

A period says which month, and its data may be stamped by the first day, the last, the last business
day, or at six in the morning. What a frame's index does is kept with its entry, in ``stamps``, and
goes with the forecasts of it.
"""

# pandas carries no complete types: what a checker infers of its indices and cells is too narrow.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportReturnType=false
# pyright: reportAssignmentType=false

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from tsdiff.datasets.timegrid import to_times

_DAY, _NONE = pd.Timedelta(1, "D"), pd.Timedelta(0)


class Stamps(NamedTuple):
    """How periods are stamped.

    Attributes
    ----------
    rule
        ``"begin"``: as :func:`to_times` has it; ``"end"``: by the last day; or a frequency of
        pandas that has one time in each period, such as ``"BME"``.
    shift
        What comes on top: the time of day.
    zone
        ``"UTC"`` of universal time.
    """

    rule: str = "begin"
    shift: pd.Timedelta = _NONE
    zone: str | None = None

    def of(self, periods: pd.PeriodIndex) -> pd.DatetimeIndex:
        """The times of periods without gaps."""
        return self._without_zone(periods).tz_localize(self.zone)

    def _without_zone(self, periods: pd.PeriodIndex) -> pd.DatetimeIndex:
        if self.rule == "begin":
            return to_times(periods) + self.shift
        if self.rule == "end":
            return periods.to_timestamp(how="end").normalize() + self.shift
        first = to_times(periods[:1])[0] + self.shift
        return pd.date_range(first, periods=len(periods), freq=self.rule)


def find_stamps(
    times: pd.DatetimeIndex | pd.PeriodIndex, periods: pd.PeriodIndex, index: pd.Index
) -> Stamps | None:
    """What gives the times of an index, without zone, from their periods; None if nothing does."""
    found = _find(times, periods)
    universal = getattr(index, "tz", None) is not None
    return (found or Stamps())._replace(zone="UTC") if universal else found


def _find(times: pd.DatetimeIndex | pd.PeriodIndex, periods: pd.PeriodIndex) -> Stamps | None:
    if not isinstance(times, pd.DatetimeIndex):
        return None
    for rule in ("begin", "end"):
        shift = times - Stamps(rule).of(periods)
        # Two months may both be stamped by their 31st: their last days rather than 30 days on.
        if (shift == shift[0]).all() and _NONE <= shift[0] < _DAY:
            return Stamps(rule, shift[0])
    rule = pd.infer_freq(times) if len(times) > 2 else None
    if rule is not None:
        found = Stamps(rule, times[0] - times[0].normalize())
        if found.of(periods).equals(times):
            return found
    shift = times - to_times(periods)
    return Stamps(shift=shift[0]) if (shift == shift[0]).all() else None
