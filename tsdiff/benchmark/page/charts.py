"""The numbers that the page draws, small enough to stand inside it.

Quantiles of a fan are whole numbers of 16 bits between the lowest and highest value of their panel,
in base64; past and truth are shared by all methods. A method's fans are those of its first seed.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from tsdiff.benchmark.page.groups import Group, Method
from tsdiff.benchmark.page.metrics import HEADLINE
from tsdiff.benchmark.page.numbers import score_text
from tsdiff.benchmark.record import Fan
from tsdiff.datasets.businessdays import business_day_periods

__all__ = ["calibrated_band", "chart_data"]

BARS = 10
STEPS = 65534  # 65535 stands for a missing value
# Mean absolute deviation of the distribution of n independent uniform values, times sqrt(n):
# integral of sqrt(2 u (1 - u) / pi).
_DEVIATION = math.sqrt(2 / math.pi) * math.pi / 8


def chart_data(groups: Sequence[Group]) -> dict[str, Any]:
    """Everything that the scripts of the page read."""
    return {"groups": [_group(group) for group in groups]}


def _group(group: Group) -> dict[str, Any]:
    panels, methods = _fans(group)
    return {
        "title": group.title,
        "windows": group.size.num_windows,
        "reference": group.baselines[0].name if group.baselines else None,
        "methods": [_method(group, method) for method in group.methods],
        "panels": panels,
        "fans": methods,
    }


def _method(group: Group, method: Method) -> dict[str, Any]:
    score = method.score(HEADLINE)
    return {
        "name": method.name,
        "kind": method.kind,
        "score": _digits(score.value),
        "error": _digits(score.error),
        "text": " ± ".join(part for part in score_text(HEADLINE, score) if part),
        "difference": _difference(group, method),
        "sure": (found := group.difference(method)) is not None and found.is_significant,
        "costs": {
            "sampling": _digits(method.cost("sampling_seconds")),
            "training": _digits(method.cost("training_seconds")),
            "cpu": _digits(method.cost("cpu_seconds")),
        },
        "calibration": {
            "single": _calibration(method, "pit_counts", ""),
            "sum": _calibration(method, "pit_counts_sum", "_sum"),
        },
    }


def _difference(group: Group, method: Method) -> list[float | None] | None:
    """Relative difference from the best baseline, and its interval."""
    found = group.difference(method)
    base = group.baselines[0].score(HEADLINE).value if group.baselines else 0.0
    if found is None or not base or not math.isfinite(found.value):
        return None
    return [_digits(value / base) for value in (found.value, found.lower, found.upper)]


def _calibration(method: Method, counts: str, suffix: str) -> dict[str, Any] | None:
    """Histogram over uniform, its band, coverage of central intervals; None for points."""
    seeds = [np.asarray(getattr(r, counts), float) for r in method.records if getattr(r, counts)]
    # Bins in pairs from both ends make central intervals.
    if not seeds or method.is_point or len({len(s) for s in seeds}) > 1 or len(seeds[0]) % BARS:
        return None
    shares = np.mean([c / c.sum() for c in seeds if c.sum() > 0] or [seeds[0] * np.nan], axis=0)
    half = len(shares) // 2
    central = 2 * np.arange(1, half + 1) / len(shares)
    covered = np.cumsum(shares[:half][::-1] + shares[half:])
    covered_80 = method.score(f"coverage{suffix}_80").value
    error = method.score(f"pit_error{suffix}").value
    yardstick = method.score(f"pit_error{suffix}_calibrated").value
    return {
        "bars": [_digits(v) for v in BARS * shares.reshape(BARS, -1).sum(axis=1)],
        "band": calibrated_band(float(np.mean([c.sum() for c in seeds])), yardstick),
        "levels": [_digits(v) for v in central],
        "covered": [_digits(v) for v in covered],
        "covered80": _digits(covered_80),
        "error": _digits(error),
        "yardstick": _digits(yardstick),
    }


def calibrated_band(values: float, yardstick: float, bars: int = BARS) -> list[float] | None:
    """Heights, over uniform, between which 90 % of a calibrated forecast's bars lie.

    Values of one window move together and count for fewer: for as many as independent ones would
    show the calibration error that a calibrated forecast of this size has, ``yardstick``.
    """
    if not (math.isfinite(yardstick) and yardstick > 0):
        return None
    independent = max(1, round(min(values, (_DEVIATION / yardstick) ** 2)))
    bounds = stats.binom.ppf([0.05, 0.95], independent, 1 / bars)
    return [_digits(float(bound) * bars / independent) or 0.0 for bound in bounds]


def _fans(group: Group) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Panels with what happened, and of each method that has fans the quantiles in them."""
    chosen: dict[str, dict[tuple[int, str], Fan]] = {}
    for method in group.methods:
        first = min(method.records, key=lambda record: record.key.seed)
        if first.fans:
            chosen[method.name] = {(fan.window, fan.label): fan for fan in first.fans}
    places = dict.fromkeys(place for fans in chosen.values() for place in fans)
    panels, indices = [], {}
    for place in places:
        fans = [found[place] for found in chosen.values() if place in found]
        indices[place] = len(panels)
        panels.append(_panel(fans))
    methods = []
    for name, found in chosen.items():
        levels = list(dict.fromkeys(level for fan in found.values() for level in fan.quantiles))
        methods.append(
            {
                "method": name,
                "levels": [float(level) for level in levels],
                "values": {
                    str(indices[place]): _pack(fan, levels, panels[indices[place]]["range"])
                    for place, fan in found.items()
                },
            }
        )
    return panels, methods


def _panel(fans: Sequence[Fan]) -> dict[str, Any]:
    first = fans[0]
    drawn = [v for fan in fans for row in fan.quantiles.values() for v in row]
    known = np.array([v for v in [*drawn, *first.past, *first.truth] if v is not None], float)
    known = known[np.isfinite(known)] if known.size else np.zeros(1)
    return {
        "window": first.window + 1,
        "label": "sum" if first.dimension is None else first.label,
        "sum": first.dimension is None,
        "range": [float(known.min()), float(known.max())] if known.size else [0.0, 1.0],
        "past": list(first.past),
        "truth": list(first.truth),
        "times": _times(first),
    }


@business_day_periods()
def _times(fan: Fan) -> list[str]:
    """What the time axis says of past and future steps; their numbers where times are unknown."""
    before, after = len(fan.past), len(fan.truth)
    try:
        first: Any = pd.Period(fan.start, freq=fan.freq)
        start = first - before
        times = pd.period_range(start, periods=before + after, freq=fan.freq).to_timestamp()
    except (ValueError, TypeError, AttributeError):
        return [f"{step:+d}" for step in range(1 - before, after + 1)]
    clock = " %H:%M" if any(t.hour or t.minute for t in times) else ""
    return [f"{t.day} {t:%b %Y{clock}}" for t in times]


def _pack(fan: Fan, levels: Sequence[str], bounds: Sequence[float]) -> str:
    """Quantiles [levels, T] as unsigned 16-bit numbers, low byte first, in base64."""
    low, high = bounds
    steps = len(fan.truth)
    rows: Mapping[str, Sequence[float | None]] = fan.quantiles
    values = np.array([rows.get(level, [None] * steps) for level in levels], dtype=float)
    scaled = np.round((values - low) / ((high - low) or 1.0) * STEPS)
    whole = np.where(np.isfinite(scaled), np.clip(scaled, 0, STEPS), STEPS + 1)
    return base64.b64encode(whole.astype("<u2").tobytes()).decode()


def _digits(value: float) -> float | None:
    """Five digits are enough to draw."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
