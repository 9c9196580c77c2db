"""What a table of scores says, in words: as much as the figures carry, and no more.

Two scores differ by chance if their difference is within twice its Monte-Carlo error. That error
knows nothing of how few windows were scored; the windows won are counted beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tsdiff.evaluation import Comparison, Evaluation

METRIC = "crps_sum_q19"
_LEVEL, _COVERAGE = 80, "coverage_80"
_TOLERANCE = 0.05  # coverage this near to its level is called right
_NUMERALS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def reading(comparison: Comparison) -> str:
    """A paragraph on how the first evaluation compares with the best of the others.

    Examples
    --------
    It begins like "By CRPS-sum (19 quantiles), flow matching is level with the best naive forecast,
    the random walk: 0.0046 ± 0.0001 against 0.0045 ± 0.0001".
    """
    model, *naive = comparison.evaluations
    rival = min(naive, key=lambda evaluation: evaluation[METRIC].value)
    sentences = [_verdict(model, rival), _others(model, rival, naive)]
    sentences += [_windows_won(model, rival), _calibration(model)]
    return " ".join(filter(None, sentences))


def _verdict(model: Evaluation, rival: Evaluation) -> str:
    mine, theirs = model[METRIC], rival[METRIC]
    difference, error = _difference(model, rival)
    figures = f"{mine} against {theirs}"
    opening = "By CRPS-sum (19 quantiles, lower is better), "
    if abs(difference) <= 2 * error:
        return (
            f"{opening}{model.name} is level with the best naive forecast, the {rival.name}: "
            f"{figures}, a difference within Monte-Carlo error."
        )
    how = "better" if difference < 0 else "worse"
    share = abs(difference) / theirs.value
    return (
        f"{opening}{model.name} is {share:.0%} {how} than the best naive forecast, the "
        f"{rival.name}: {figures}, more than Monte-Carlo error explains."
    )


def _others(model: Evaluation, rival: Evaluation, naive: Sequence[Evaluation]) -> str:
    beaten = []
    for other in naive:
        difference, error = _difference(model, other)
        if other is not rival and difference < -2 * error:
            beaten.append(f"the {other.name} ({other[METRIC]})")
    return f"It does better than {' and '.join(beaten)}." if beaten else ""


def _windows_won(model: Evaluation, rival: Evaluation) -> str:
    count = model.num_windows
    few = (
        f"{_numeral(count).capitalize()} windows are few, and another period could rank the two "
        "otherwise."
        if count < 30
        else ""
    )
    if not (model.forecasts and rival.forecasts):
        return few
    pairs = zip(_by_window(model), _by_window(rival), strict=True)
    won = _numeral(sum(mine < theirs for mine, theirs in pairs))
    return f"It is ahead of the {rival.name} in {won} of {_numeral(count)} windows. {few}".rstrip()


def _calibration(model: Evaluation) -> str:
    covered = model[_COVERAGE].value
    gap = covered - _LEVEL / 100
    if abs(gap) <= _TOLERANCE:
        how = "as they should"
    else:
        how = "they are too wide here" if gap > 0 else "they are too narrow here"
    return f"Its {_LEVEL} % intervals covered {covered:.0%} of what happened: {how}."


def _difference(model: Evaluation, other: Evaluation) -> tuple[float, float]:
    """Model minus other, and the Monte-Carlo error of that."""
    mine, theirs = model[METRIC], other[METRIC]
    error = math.hypot(*(score.error for score in (mine, theirs) if score.is_random))
    return mine.value - theirs.value, error


def _by_window(evaluation: Evaluation) -> list[float]:
    from tsdiff.datasets import split_window
    from tsdiff.evaluation import crps_sum_q19

    scores = []
    for forecast, entry in zip(evaluation.forecasts, evaluation.entries, strict=True):
        _, truth = split_window(dict(entry), evaluation.prediction_length)
        scores.append(crps_sum_q19(forecast.samples[None], truth.T[None]))
    return scores


def _numeral(count: int) -> str:
    return _NUMERALS[count] if count < len(_NUMERALS) else str(count)
