"""Seasons, lags and context lengths that suit a frequency."""

from __future__ import annotations

import warnings

from pandas.tseries.frequencies import to_offset

_DAY = 24 * 60 * 60
_SECONDS = {"s": 1, "min": 60, "h": 3600, "D": _DAY, "W": 7 * _DAY}
_SEASONS: dict[str, tuple[int, ...]] = {
    "B": (5,),
    "D": (7,),
    "W": (52,),
    "M": (12,),
    "Q": (4,),
    "Y": (1,),
}
_LONGEST_LAG = 1500


def base_frequency(freq: str) -> tuple[int, str]:
    """``"30min" -> (30, "min")``, ``"W-SUN" -> (1, "W")``: multiple and unit of a frequency.

    Raises
    ------
    ValueError
        If pandas doesn't know the frequency, or it has no season that we know.
    """
    try:
        with warnings.catch_warnings():
            # Periods call a month "M"; pandas would have offsets call it "ME", and says so.
            warnings.simplefilter("ignore", FutureWarning)
            offset = to_offset(freq)
    except (ValueError, TypeError) as error:
        raise ValueError(_unknown(freq)) from error
    if offset is None:
        raise ValueError(_unknown(freq))
    name = offset.name.split("-")[0]
    aliases = {"H": "h", "T": "min", "S": "s", "A": "Y", "YE": "Y", "YS": "Y", "AS": "Y"}
    aliases |= {"ME": "M", "MS": "M", "BME": "M", "QE": "Q", "QS": "Q"}
    unit = aliases.get(name, name)
    if unit not in _SECONDS and unit not in _SEASONS:
        raise ValueError(
            f"frequency {freq!r} has no known season: resample to one of "
            "s, min, h, D, B, W, M, Q, Y"
        )
    return offset.n, unit


def same_frequency(one: str, other: str) -> bool:
    """Whether two aliases name one frequency, as do "M" and "MS", or "W" and "W-SUN"."""

    def anchor(freq: str) -> str:
        return freq.partition("-")[2] or {"W": "SUN", "Q": "DEC", "Y": "DEC"}.get(
            base_frequency(freq)[1], ""
        )

    return base_frequency(one) == base_frequency(other) and anchor(one) == anchor(other)


def _unknown(freq: object) -> str:
    return f"unknown frequency {freq!r}: expected a pandas alias such as 'h', 'D', 'B' or '30min'"


def seasons(freq: str) -> tuple[int, ...]:
    """Season lengths in steps, shortest first: ``"h" -> (24, 168)``, ``"B" -> (5,)``."""
    multiple, unit = base_frequency(freq)
    if unit in ("s", "min", "h"):
        step = multiple * _SECONDS[unit]
        periods = (3600, _DAY) if unit == "s" else (_DAY, 7 * _DAY)
        lengths = [period // step for period in periods if period % step == 0]
    else:
        lengths = [length // multiple for length in _SEASONS[unit] if length % multiple == 0]
    return tuple(length for length in lengths if length > 1)


def season_length(freq: str) -> int:
    """The shortest season in steps, 1 where there is none."""
    return next(iter(seasons(freq)), 1)


def season_is_day(freq: str) -> bool:
    """Whether the shortest season is a day, of steps of minutes or hours."""
    multiple, unit = base_frequency(freq)
    return unit in ("min", "h") and season_length(freq) * multiple * _SECONDS[unit] == _DAY


def default_lags(freq: str) -> tuple[int, ...]:
    """The last three steps and one step per season, as far back as ``1500`` steps.

    Every lag costs D inputs, and an LSTM remembers what lies between: a short list does.
    """
    lags = {1, 2, 3, *(length for length in seasons(freq) if length <= _LONGEST_LAG)}
    return tuple(sorted(lags))


def default_context_length(freq: str, prediction_length: int) -> int:
    """Two horizons, three short seasons, or 60 steps (36 where steps are weeks or longer)."""
    floor = 60 if base_frequency(freq)[1] in ("s", "min", "h", "D", "B") else 36
    return max(2 * prediction_length, min(3 * season_length(freq), 512), floor)
