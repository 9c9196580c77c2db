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
from tsdiff.datasets.entries import DataEntry

_SPREADS, _OTHERS, _LEVEL = 100.0, 30.0, 0.5
_FEW, _SHARE = 3, 1000
_FEWEST = 20  # distances above zero that tell how a series moves
_MOST_NAMED = 3


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


@business_day_periods()
def _told(entry: DataEntry, label: str, values: np.ndarray, places: np.ndarray) -> str:
    value, time = values[places[0]], entry["start"] + int(places[0])
    more = f" (and {places.size - 1} more such)" if places.size > 1 else ""
    return f"{label} holds {value:g} at {time}, where its median is {np.nanmedian(values):g}{more}"
