"""From a column of times to a regular grid of periods: inference of the frequency, and its checks.

All arithmetic is on the periods' ordinals (whole numbers), which is exact for calendars, months and
business days alike, and as fast as numpy.
"""

# pandas carries no complete types: what a checker infers of its indices and cells is too narrow.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportReturnType=false
# pyright: reportOperatorIssue=false, reportCallIssue=false

from __future__ import annotations

import itertools
import re
import warnings
from datetime import timedelta

import numpy as np
import pandas as pd

from tsdiff.datasets.entries import DataError

# Two numbers of which either may be the day, and a year. (A year in front is read as such.)
_NUMBERED_DATE = re.compile(r"\s*(\d{1,2}([-/.])\d{1,2}\2(\d{4}|\d{2}))(?!\d)")
# Orders of day, month and year, and what makes pandas read them so.
_ORDERS = {
    "%d{0}%m{0}%Y": {"dayfirst": True},
    "%m{0}%d{0}%Y": {},
    "%d{0}%m{0}%y": {"dayfirst": True},
    "%m{0}%d{0}%y": {},
    "%y{0}%m{0}%d": {"yearfirst": True},
}

_NAMES = {
    **{"min": "like every minute", "h": "hourly", "H": "hourly", "D": "daily", "B": "daily"},
    **{"W": "weekly", "M": "monthly", "ME": "monthly", "Q": "quarterly", "Y": "yearly"},
}


def read_times(index: pd.Index, label: str, date_format: str | None = None) -> pd.Index:
    """Times of an index of text; whatever is no text stays as it is.

    Parameters
    ----------
    index
        Numbers are taken for text if ``date_format`` is given.
    date_format
        How dates are written, as ``"%d.%m.%Y"``; found where omitted.

    Raises
    ------
    DataError
        Text that is no time, not written as ``date_format`` says, of several offsets from
        universal time, or that may be read in two ways, as 01/02/2018.
    """
    numeric = pd.api.types.is_numeric_dtype(index)
    known = isinstance(index, (pd.MultiIndex, pd.DatetimeIndex, pd.PeriodIndex))
    if known or (numeric and date_format is None):
        return index
    text = index.astype(str) if numeric else index
    how = _order_of(text, label) if date_format is None else {"format": date_format}
    with warnings.catch_warnings():
        # Text without a common format: whether it can be read is all that matters here.
        warnings.filterwarnings("ignore", "Could not infer format", UserWarning)
        warnings.filterwarnings("ignore", "In a future version of pandas", FutureWarning)
        try:
            return pd.DatetimeIndex(pd.to_datetime(text, **how))
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(_unreadable(text, label, date_format, error)) from error


def _unreadable(text: pd.Index, label: str, date_format: str | None, error: Exception) -> str:
    if _differ_in_offset(text, date_format):
        return (
            f"the times of {label} have several offsets from universal time, as clocks are put "
            "forward and back: write all in universal time, ending in Z or +00:00"
        )
    reason = str(error).split(". You might")[0].splitlines()[0]
    if date_format is not None:
        return (
            f"the times of {label} are not written as date_format={date_format!r} says ({reason}): "
            "give their own, such as '%d.%m.%Y' or '%m/%d/%Y %H:%M'"
        )
    return (
        f"the times of {label} cannot be read ({reason}): name the column of the times by "
        "time_column, or say how they are written by date_format='%d.%m.%Y' (on the command line "
        "--time-column and --date-format)"
    )


def _differ_in_offset(text: pd.Index, date_format: str | None) -> bool:
    """Whether times that can't be read together can be read as points in universal time."""
    try:
        pd.to_datetime(text, format=date_format, utc=True)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _order_of(index: pd.Index, label: str) -> dict[str, bool]:
    """Options that make pandas read dates of numbers in the only order that all of them have."""
    text = index.dropna().astype(str)
    if not len(text) or not _NUMBERED_DATE.match(text[0]):
        return {}
    dates = [match[1] for match in map(_NUMBERED_DATE.match, text) if match]
    if len(dates) < len(text):
        return {}
    separator, year = _NUMBERED_DATE.match(text[0]).group(2, 3)
    written = pd.Index(dates).unique()
    readings = {}
    for pattern, how in _ORDERS.items():
        order = pattern.format(separator)
        times = pd.to_datetime(written, format=order, errors="coerce")
        if ("%Y" in order) == (len(year) == 4) and times.notna().all():
            readings[order] = times, how
    for (one, (ones, _)), (other, (others, _)) in itertools.combinations(readings.items(), 2):
        for place in np.flatnonzero(ones != others)[:1]:
            example = text[dates.index(written[place])]
            clock = _clock_format(example)
            raise DataError(
                f"the times of {label} may be read in more than one way: {example!r} as "
                f"{ones[place].date()}, written {one + clock}, or as {others[place].date()}, "
                f"{other + clock}. Say which by date_format={one + clock!r}, or --date-format on "
                "the command line"
            )
    return next((how for _, how in readings.values()), {})


def _clock_format(example: str) -> str:
    """How the time of day is written that follows the date."""
    rest = _NUMBERED_DATE.sub("", example, count=1)
    rest = re.sub(r"([+-]\d\d:?\d\d|Z)$", "%z", rest)
    rest, halves = re.subn(r"[AaPp][Mm]", "%p", rest)
    parts = iter(("%I" if halves else "%H", "%M", "%S", "%f"))
    return re.sub(r"\d+", lambda _: next(parts, "..."), rest)


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
        Unsorted, duplicated, lacking or unreadable times, a time zone other than universal time,
        or a frequency that cannot be inferred.
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
            f"{periods.freqstr!r}; aggregate them, or give another freq",
            pandas="df.resample(...).mean()",
        )
    if (steps % size).any():
        place = int(np.flatnonzero(steps % size)[0])
        raise DataError(
            f"{label}: the step from {times[place]} to {times[place + 1]} is no multiple of "
            f"{periods.freqstr!r}; resample to a regular grid or give another freq"
        )
    gaps = np.flatnonzero(steps > size)
    if gaps.size and not fill_gaps:
        if freq is not None and gaps.size > steps.size // 2:
            _refuse_coarser(times, periods.freqstr, label)
        place, places = gaps[0], f"{gaps.size} place{'s' * (gaps.size > 1)}"
        missing = int((steps[gaps] // size - 1).sum())
        raise DataError(
            f"{label} has gaps: at frequency {periods.freqstr!r}, {periods[place] + 1} is missing "
            f"after {times[place]} ({missing} missing in {places}). "
            "fill_gaps=True of tsdiff.from_frame, or --fill-gaps on the command line, inserts them "
            "as missing values; or give another freq"
        )
    return times, periods


def _refuse_coarser(times: pd.DatetimeIndex | pd.PeriodIndex, asked: str, label: str) -> None:
    """Where most steps are gaps, filling them is no mend: another frequency was meant."""
    if isinstance(times, pd.PeriodIndex):
        return
    found = _infer_frequency(times, label)
    name = _NAMES.get(found.split("-")[0], f"like every {found}")
    raise DataError(
        f"{label} looks {name} ({found!r}), and frequency {asked!r} was asked for, by freq or by a "
        f"model that was trained on it: most steps of {asked!r} are missing. Train a model on data "
        f"like these, with freq left out, or give data of {asked!r}"
    )


def _to_times_or_periods(index: pd.Index, label: str) -> pd.DatetimeIndex | pd.PeriodIndex:
    if isinstance(index, pd.MultiIndex):
        raise DataError(
            f"{label} has an index of several levels: make columns of them, and name time_column, "
            "item_column or dimension_column",
            pandas="df.reset_index()",
        )
    if pd.api.types.is_numeric_dtype(index):
        raise DataError(
            f"the times of {label} are numbers ({index[0]}, ...): name the column of the times by "
            "time_column or, on the command line, --time-column; or if they are dates, as "
            "20240131, say so by date_format='%Y%m%d' or --date-format",
            pandas="set a DatetimeIndex, or tsdiff.from_frame(df, time_column=...)",
        )
    times = read_times(index, label)
    if times.isna().any():
        raise DataError(f"{label}: the time of row {int(np.argmax(times.isna()))} is missing")
    if isinstance(times, pd.DatetimeIndex) and times.tz is not None:
        if times.tz.utcoffset(None) != timedelta(0):
            raise DataError(
                f"the times of {label} carry the time zone {times.tz}. For steps of an hour or "
                "less write them in universal time, ending in Z or +00:00; for days and longer "
                "leave the zone out",
                pandas="df.tz_convert('UTC') and df.tz_localize(None)",
            )
        times = times.tz_localize(None)
    return times


def _check_order(times: pd.DatetimeIndex | pd.PeriodIndex, label: str) -> None:
    # Of a long table, sorted or not, times occur more than once, and sorting it is no mend.
    twice = np.asarray(times.duplicated())
    if twice.any():
        raise DataError(
            f"{label}: the time {times[int(np.argmax(twice))]} occurs more than once "
            f"({int(twice.sum())} duplicates); keep one of each, or, if the table is long, "
            "name item_column or dimension_column (--item-column or --dimension-column)",
            pandas="df[~df.index.duplicated()]",
        )
    descends = np.diff(times.asi8) < 0
    if descends.any():
        place = int(np.argmax(descends))
        raise DataError(
            f"the times of {label} do not ascend: {times[place + 1]} follows {times[place]}; "
            "sort the rows by time",
            pandas="df.sort_index(), or df.sort_values(time_column)",
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
    day = pd.Timedelta(1, "D")
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
