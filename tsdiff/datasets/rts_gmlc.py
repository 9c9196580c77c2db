"""The table of ``rts_gmlc_solar`` from the two public files that hold its columns.

RTS-GMLC (Barrows et al. 2020) publishes the day-ahead power of utility-scale plants (``PV``) and of
rooftops (``RTPV``) apart, with the columns ``Year, Month, Day, Period`` and one per plant; period 1
is the hour from 00:00 on. Joined, the columns stand behind one another and ``ts`` is the hour's
beginning. Every number is written as a float's shortest text, so that the bytes, and with them the
hash in the catalog, are always the same.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd

from tsdiff.datasets.entries import DataError

_CALENDAR = ["Year", "Month", "Day", "Period"]


def join_plants(originals: list[Path]) -> bytes:
    """The gzipped table of ``DAY_AHEAD_pv.csv`` and ``DAY_AHEAD_rtpv.csv``, in this order.

    Raises
    ------
    DataError
        A file lacks calendar columns, or the files do not cover the same hours.
    """
    power = [_read(path) for path in originals]
    for path, later in zip(originals[1:], power[1:], strict=True):
        if not later.index.equals(power[0].index):
            raise DataError(
                f"{path.name} does not hold the same hours, in the same order, as "
                f"{originals[0].name}"
            )
    table = pd.concat(power, axis=1)
    text = table.to_csv(lineterminator="\n", date_format="%Y-%m-%d %H:%M:%S")
    return gzip.compress(text.encode(), mtime=0)


def _read(path: Path) -> pd.DataFrame:
    """Hourly power in MW, ``[time, plants]``, by the hour's beginning."""
    table = pd.read_csv(path)
    lacking = [name for name in _CALENDAR if name not in table.columns]
    if lacking:
        raise DataError(
            f"{path.name} has no column {', '.join(map(repr, lacking))}; expected a file of "
            f"RTS-GMLC that begins with {', '.join(_CALENDAR)}"
        )
    days = pd.to_datetime(table[_CALENDAR[:3]])
    hours = pd.to_timedelta(table["Period"] - 1, unit="h")
    power = table.drop(columns=_CALENDAR).astype(float)
    power.index = pd.DatetimeIndex(days + hours, name="ts")
    return power
