"""From a column of times to a regular grid of periods: inference of the frequency, and its checks.

All arithmetic is on the periods' ordinals (whole numbers), which is exact for calendars, months and
business days alike, and as fast as numpy.
"""

# pandas carries no complete types: what a checker infers of its indices and cells is too narrow.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportReturnType=false
# pyright: reportOperatorIssue=false, reportCallIssue=false

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from tsdiff.datasets.entries import DataError


def to_times(periods: pd.PeriodIndex) -> pd.DatetimeIndex:
    """The times at which periods begin; for weeks the day that names them, their last.

    Business days are converted by way of days: pandas deprecates the direct route, and is slow
    on it.
    """
    if periods.freqstr == "B":
        start, end = periods[0].ordinal, len(periods)
        first = np.datetime64(str(periods[0]), "D")
        if np.array_equal(periods.asi8, np.arange(start, start + end)):
            days = np.busday_offset(first, np.arange(end), roll="forward")
            return pd.DatetimeIndex(days.astype("datetime64[ns]"))
    if periods.freqstr.split("-")[0].lstrip("0123456789") == "W":
        return periods.to_timestamp(how="end").normalize()
    return periods.to_timestamp(how="start")


def to_regular_periods(
    index: pd.Index, freq: str | None, label: str, *, fill_gaps: bool = False
) -> tuple[pd.DatetimeIndex | pd.PeriodIndex, pd.PeriodIndex]:
    """A time index as times, and their periods; refuses disorder, and gaps unless ``fill_gaps``.

    Raises
    ------
    DataError
        Unsorted, duplicated, lacking, zone-aware or unreadable times, or a frequency that cannot
        be inferred.
    """
    times = _to_times_or_periods(index, label)
    _check_order(times, label)
    periods = _to_periods(times, freq, label)
    steps = np.diff(periods.asi8)
    size = periods.freq.n
    crowded = np.flatnonzero(steps == 0)
    if crowded.size:
        first, second = times[crowded[0]], times[crowded[0] + 1]
        raise DataError(
            f"{label}: {first} and {second} fall into the same step of frequency "
            f"{periods.freqstr!r}; aggregate them (df.resample(...).mean()) or give another freq"
        )
    if (steps % size).any():
        place = int(np.flatnonzero(steps % size)[0])
        raise DataError(
            f"{label}: the step from {times[place]} to {times[place + 1]} is no multiple of "
            f"{periods.freqstr!r}; resample to a regular grid or give another freq"
        )
    gaps = np.flatnonzero(steps > size)
    if gaps.size and not fill_gaps:
        place = gaps[0]
        lacking = int((steps[gaps] // size - 1).sum())
        raise DataError(
            f"{label} has gaps: at frequency {periods.freqstr!r}, {periods[place] + 1} lacks after "
            f"{times[place]} ({lacking} times lack in {gaps.size} places). "
            "tsdiff.from_frame(df, fill_gaps=True), or --fill-gaps on the command line, inserts "
            "them as missing values; or give another freq"
        )
    return times, periods


def _to_times_or_periods(index: pd.Index, label: str) -> pd.DatetimeIndex | pd.PeriodIndex:
    if isinstance(index, pd.MultiIndex):
        raise DataError(
            f"{label} has an index of several levels: use reset_index() and name time_column, "
            "item_column or dimension_column"
        )
    if isinstance(index, pd.PeriodIndex):
        times = index
    elif pd.api.types.is_numeric_dtype(index):
        raise DataError(
            f"the index of {label} holds numbers, not times: set a DatetimeIndex, or name the "
            "column of the times by tsdiff.from_frame(df, time_column=...) or, on the command "
            "line, --time-column"
        )
    else:
        try:
            with warnings.catch_warnings():
                # Text without a common format: whether it can be read is all that matters here.
                warnings.filterwarnings("ignore", "Could not infer format", UserWarning)
                times = pd.DatetimeIndex(pd.to_datetime(index))
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(
                f"the times of {label} cannot be read ({str(error).splitlines()[0]}): name the "
                "column of the times by time_column, or convert it with pd.to_datetime"
            ) from error
    if times.isna().any():
        raise DataError(f"{label}: the time of row {int(np.argmax(times.isna()))} is missing")
    if isinstance(times, pd.DatetimeIndex) and times.tz is not None:
        raise DataError(
            f"the times of {label} carry the time zone {times.tz}. For steps of an hour or less "
            "use universal time, df.tz_convert('UTC').tz_localize(None); for days and longer drop "
            "the zone, df.tz_localize(None)"
        )
    return times


def _check_order(times: pd.DatetimeIndex | pd.PeriodIndex, label: str) -> None:
    steps = np.diff(times.asi8)
    if (steps < 0).any():
        place = int(np.argmax(steps < 0))
        raise DataError(
            f"the times of {label} do not ascend: {times[place + 1]} follows {times[place]}; "
            "sort them with df.sort_index() (or df.sort_values(time_column))"
        )
    if (steps == 0).any():
        place = int(np.argmax(steps == 0))
        raise DataError(
            f"{label}: the time {times[place]} occurs more than once "
            f"({int((steps == 0).sum())} duplicates); drop them with "
            "df[~df.index.duplicated()], or name item_column or dimension_column if the data are "
            "long"
        )


def _to_periods(
    times: pd.DatetimeIndex | pd.PeriodIndex, freq: str | None, label: str
) -> pd.PeriodIndex:
    if isinstance(times, pd.PeriodIndex):
        if freq is not None and pd.Period(times[0].start_time, freq=freq).freq != times.freq:
            raise DataError(
                f"{label} has periods of frequency {times.freqstr!r}, but freq={freq!r} was given"
            )
        return times
    freq = _infer_frequency(times, label) if freq is None else freq
    try:
        periods = times.to_period(freq)
    except (ValueError, AttributeError) as error:
        raise DataError(
            f"freq={freq!r} is no frequency of pandas periods; use 'min', '30min', 'h', 'D', "
            f"'B', 'W-SUN', 'M', 'Q' or 'Y' ({error})"
        ) from error
    _check_phase(times, periods, label)
    return periods


def _infer_frequency(times: pd.DatetimeIndex, label: str) -> str:
    """The frequency that pandas finds, or else the commonest step where times lack."""
    if len(times) < 3:
        raise DataError(
            f"{label} has {len(times)} rows: at least 3 are needed to infer the frequency; give "
            "freq, such as freq='D'"
        )
    if pd.infer_freq(times) is not None:
        # to_period() infers once more, and translates offsets (month starts) into periods.
        try:
            return times.to_period().freqstr
        except (ValueError, AttributeError):
            pass
    steps, counts = np.unique(np.diff(times.to_numpy()), return_counts=True)
    step = pd.Timedelta(steps[counts.argmax()])
    day = pd.Timedelta(days=1)
    if step == day:
        spans_weekend = times[-1] - times[0] >= 7 * day
        return "B" if spans_weekend and (times.dayofweek < 5).all() else "D"
    if step == 7 * day:
        return f"W-{times[0].day_name()[:3].upper()}"
    for code, low, high in (("M", 28, 31), ("Q", 89, 92), ("Y", 365, 366)):
        if low <= step / day <= high:
            return code
    if step < day:
        return pd.tseries.frequencies.to_offset(step).freqstr
    raise DataError(
        f"the frequency of {label} cannot be inferred: its commonest step is {step}; give freq, "
        "such as freq='D', or resample to a regular grid"
    )


def _check_phase(times: pd.DatetimeIndex, periods: pd.PeriodIndex, label: str) -> None:
    """Steps of a day or less must sit at one place within their period: 10:00, 11:17 is no grid.

    Longer steps may move (month ends), and so may not be held to this.
    """
    if not isinstance(periods.freq, (pd.offsets.Tick, pd.offsets.Day, pd.offsets.BusinessDay)):
        return
    if periods.freqstr == "B":
        weekend = times.dayofweek >= 5
        if weekend.any():
            raise DataError(
                f"{label}: {times[int(weekend.argmax())]} is a weekend, but the frequency is 'B' "
                "(business days); drop such rows or give freq='D'"
            )
        phase = times - times.normalize()
    else:
        phase = times - periods.to_timestamp(how="start")
    moved = phase != phase[0]
    if moved.any():
        raise DataError(
            f"{label}: {times[int(moved.argmax())]} does not lie on the grid of frequency "
            f"{periods.freqstr!r} that begins at {times[0]}; resample to a regular grid"
        )
