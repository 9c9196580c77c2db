"""Values that can't be data: a decimal point that slipped, a code for "missing", a broken sensor.

With the distances ``d = |x - median(x)|`` of a series in descending order, and ``s`` the median of
those that aren't zero, the first ``k`` are such values if

    d_k > 100 s,    d_k > 30 d_{k+1},    d_k > |median(x)| / 2.

They lie far beyond where half of the data move, *and* stand apart from all others, as extremes of
heavy tails, of trends and of sales that are mostly none do not, *and* are no small change of a high
level. ``k`` is at most three, or one in a thousand: what occurs more often is how the series is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tsdiff.datasets.businessdays import business_day_periods
from tsdiff.datasets.entries import DataEntry, DataError

_SPREADS, _OTHERS, _LEVEL = 100.0, 30.0, 0.5
_FEW, _SHARE = 3, 1000
_FEWEST = 20  # distances above zero that tell how a series moves
_MOST_NAMED = 3
# Sizes whose spread, a little less, is told from rounding, and whose squares are finite.
_SMALLEST, _LARGEST = 1e-10, 1e100


def faults(values: np.ndarray) -> np.ndarray:
    """Positions of the values of one series ``[time]`` that can't be data, the farthest first."""
    seen = np.flatnonzero(np.isfinite(values))
    few = max(_FEW, seen.size // _SHARE)
    median = np.median(values[seen])
    distance = np.abs(values[seen] - median)
    moved = distance[distance > 0.0]
    if moved.size < few + _FEWEST:
        return seen[:0]
    farthest = np.argpartition(distance, -few - 1)[-few - 1 :]
    farthest = farthest[np.argsort(-distance[farthest])]
    far, rest = distance[farthest[:-1]], distance[farthest[1:]]
    least = np.maximum(_SPREADS * np.median(moved), _LEVEL * abs(median))
    apart = np.flatnonzero(far > np.maximum(least, _OTHERS * rest))
    return seen[farthest[: apart[-1] + 1]] if apart.size else seen[:0]


def faults_of(entries: Sequence[DataEntry]) -> str | None:
    """A sentence on values that can't be data, or None where there are none."""
    found = []
    for number, entry in enumerate(entries):
        names = entry.get("dimension_names") or range(len(entry["target"]))
        series = f" of series {entry.get('item_id', number)!r}" if len(entries) > 1 else ""
        for name, values in zip(names, entry["target"], strict=True):
            if (places := faults(values)).size:
                found.append(_told(entry, f"column {str(name)!r}{series}", values, places))
    if not found:
        return None
    others = len(found) - _MOST_NAMED
    more = f"; and {others} more column{'s' * (others > 1)} such values" if others > 0 else ""
    return (
        f"{'; '.join(found[:_MOST_NAMED])}{more}. So far out, a single value can spoil the "
        "intervals of all columns: set it to NaN if it is a fault"
    )


def magnitudes_of(entries: Sequence[DataEntry]) -> str | None:
    """A sentence on dimensions in units so large that rounding is all there is, or None.

    Raises
    ------
    DataError
        If there is a value whose square may not be finite.
    """
    largest = np.max([np.nanmax(np.abs(entry["target"]), axis=1) for entry in entries], axis=0)
    names = entries[0].get("dimension_names") or range(len(largest))
    sizes = [(str(name), size) for name, size in zip(names, largest, strict=True)]
    if beyond := [f"column {name!r} holds {size:.2g}" for name, size in sizes if size > _LARGEST]:
        raise DataError(
            f"{beyond[0]}, and squares of values beyond {_LARGEST:g} are not finite: give it in "
            "larger units, or set it to NaN where it stands for a missing value"
        )
    small = [f"{name!r} ({size:.2g})" for name, size in sizes if 0.0 < size < _SMALLEST]
    if not small:
        return None
    others = len(small) - _MOST_NAMED
    more = f" and {others} more" if others > 0 else ""
    return (
        f"no value is as large as {_SMALLEST:g} of {', '.join(small[:_MOST_NAMED])}{more}: numbers "
        "as small are taken for rounding, and forecasts for constants. Give them in smaller units, "
        "times 1e12, say"
    )


@business_day_periods()
def _told(entry: DataEntry, label: str, values: np.ndarray, places: np.ndarray) -> str:
    value, time = values[places[0]], entry["start"] + int(places[0])
    more = f" (and {places.size - 1} more such)" if places.size > 1 else ""
    return f"{label} holds {value:g} at {time}, where its median is {np.nanmedian(values):g}{more}"
