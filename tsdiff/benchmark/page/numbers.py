"""Numbers as the report prints them: scores as the Markdown tables, costs to three digits."""

from __future__ import annotations

import math

from tsdiff.benchmark.tables import digits, number
from tsdiff.evaluation import Difference, Score

__all__ = [
    "NONE",
    "amount",
    "change",
    "digits",
    "interval",
    "memory",
    "score_text",
    "seconds",
]

NONE = "–"
MINUS = "\N{MINUS SIGN}"


def score_text(metric: str, score: Score) -> tuple[str, str]:
    """A score and what stands behind its ±, ``""`` where that is nothing."""
    if not math.isfinite(score.value):
        return "∞" if score.value == math.inf else NONE, ""
    value = number(metric, score.value).replace("-", MINUS)
    if not score.is_random:
        return value, ""
    error = number(metric, score.error, like=score.value)
    if float(error) == 0 and not metric.startswith("coverage"):
        error = digits(score.error, 1)  # smaller than the digits of the score
    return value, error


def change(ratio: float) -> str:
    """A relative difference in per cent, with its sign: ``−9 %``, ``+0.4 %``."""
    if not math.isfinite(ratio):
        return NONE
    return f"{_signed(ratio)} %"


def interval(difference: Difference, base: float) -> str:
    """A difference's interval in per cent of a score: ``−15 … −3 %``; none of zero."""
    if not base:
        return NONE
    lower, upper = difference.lower / base, difference.upper / base
    if not (math.isfinite(lower) and math.isfinite(upper)):
        return NONE
    return f"{_signed(lower)} … {_signed(upper)} %"


def _signed(ratio: float) -> str:
    percent = 100 * ratio
    digits = 0 if abs(percent) >= 9.95 else 1
    text = f"{abs(percent):,.{digits}f}".replace(",", "\N{THIN SPACE}")
    sign = "" if float(f"{percent:.{digits}f}") == 0 else (MINUS if percent < 0 else "+")
    return sign + text


def amount(value: float) -> str:
    """Three digits, whole numbers as they are, grouped by thousands."""
    if not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    whole = value == round(value)
    places = 0 if whole else max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{places}f}".replace(",", "\N{THIN SPACE}")
    return text


def seconds(value: float) -> str:
    """A time in a unit that suits it: ``2.4 ms``, ``3.1 s``, ``12 min``, ``1.5 h``."""
    if not math.isfinite(value):
        return NONE
    for limit, unit, scale in ((1, "ms", 1e3), (120, "s", 1), (7200, "min", 1 / 60)):
        if value < limit:
            return f"{value * scale:.3g} {unit}"
    return f"{value / 3600:.3g} h"


def memory(value: float) -> str:
    """Bytes as MiB or GiB."""
    if not math.isfinite(value):
        return NONE
    mebibytes = value / 2**20
    return f"{mebibytes:.0f} MiB" if mebibytes < 1000 else f"{mebibytes / 1024:.1f} GiB"
