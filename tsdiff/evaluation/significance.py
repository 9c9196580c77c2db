"""Is the difference between two methods larger than the luck of the windows?

The paired bootstrap: windows are drawn with replacement, *the same* for both methods, and the
scores are computed anew from numerators and denominators of the windows drawn, since the scale that
divides a score depends on the windows as well. Where a method has several seeds, seeds are drawn
too, each method's on its own, and their scores averaged. The Monte-Carlo error is contained.

Few windows are the rule here, and the plain bootstrap is too narrow for them. Two corrections:
n - 1 of n are drawn, which makes the variance unbiased (Rao and Wu 1988, J. Am. Stat. Assoc. 83),
and the percentiles are those that give a normal law the quantiles of Student's t with W - 1 degrees
of freedom (the expanded percentile interval of Hesterberg 2015, The American Statistician 69).

Windows of several series at one time share its luck, so they are drawn together: the k-th of every
series, as :func:`~tsdiff.datasets.rolling_windows` orders them. Otherwise windows are taken for
independent. Windows that overlap, or series that have one window each, are not: the interval is
then too narrow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from tsdiff.evaluation.pooling import SCALES, resampled_score

if TYPE_CHECKING:
    from tsdiff.evaluation.scores import Evaluation

__all__ = ["Difference", "Significance"]

_CHUNK = 1_000_000  # pooled numbers held at once


@dataclass(frozen=True)
class Difference:
    """One method's score less that of the method it is held against.

    Attributes
    ----------
    name
        The method.
    value
        The difference; below zero: better than the other. Of a coverage, the difference of the
        distances from its level.
    lower, upper
        Confidence interval; NaN where too few windows have a score of their own.
    flips
        Share of resamples in which the difference is zero or has the other sign.
    num_seeds
        Evaluations behind the method.
    """

    name: str
    value: float
    lower: float
    upper: float
    flips: float
    num_seeds: int

    @property
    def is_significant(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.lower > 0 or self.upper < 0


@dataclass(frozen=True)
class Significance:
    """Differences of a score from one method's; ``str`` gives a Markdown table."""

    metric: str
    against: str
    level: float
    num_windows: int
    differences: tuple[Difference, ...]
    # What is drawn if not single windows: times, with the windows of all series at them.
    num_draws: int | None = None

    def __getitem__(self, name: str) -> Difference:
        for difference in self.differences:
            if difference.name == name:
                return difference
        known = ", ".join(repr(difference.name) for difference in self.differences)
        raise KeyError(f"no method {name!r} was held against {self.against!r}; there is: {known}")

    def to_markdown(self) -> str:
        """A Markdown table; differences whose interval leaves out zero are bold."""
        against = self.against.replace("|", "\\|")
        percent = f"{100 * self.level:g} % interval"
        lines = [
            f"| {self.metric} less that of {against} | difference | {percent} | sign flips |",
            "|---|--:|--:|--:|",
        ]
        for row in self.differences:
            digits = _digits(row)
            value = f"{row.value:+.{digits}f}"
            value = f"**{value}**" if row.is_significant else value
            interval = f"{row.lower:+.{digits}f} … {row.upper:+.{digits}f}"
            interval = interval if np.isfinite(row.upper - row.lower) else "–"
            name = row.name.replace("|", "\\|")
            lines.append(f"| {name} | {value} | {interval} | {100 * row.flips:.1f} % |")
        return "\n".join([*lines, "", self.caption])

    @property
    def caption(self) -> str:
        """What was resampled, in one line."""
        seeds = max(row.num_seeds for row in self.differences) > 1
        drawn = f"{self.num_windows} windows"
        if self.num_draws not in (None, self.num_windows):
            drawn = f"{self.num_draws} times, each with the windows of all series"
        return (
            f"Paired bootstrap over {drawn}{' and over seeds' * seeds}. Below "
            f"zero: better than {self.against}. Sign flips: share of resamples with the other sign."
        )

    def __str__(self) -> str:
        return self.to_markdown()


def paired_bootstrap(
    metric: str,
    methods: Sequence[Sequence[Evaluation]],
    reference: Sequence[Evaluation],
    *,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Significance:
    """Differences of methods, each a list of seeds, from a reference; see :class:`Significance`.

    Raises
    ------
    ValueError
        A level outside (0, 1), too few resamples, a single window, evaluations without terms or
        of other windows, or a metric that is no sum over windows.
    """
    if not 0 < level < 1:
        raise ValueError(f"level {level!r} is not between 0 and 1; write 95 % as 0.95")
    if num_resamples < 100:
        raise ValueError(f"num_resamples={num_resamples} gives no interval; take 1000 or more")
    _check(metric, [e for seeds in [reference, *methods] for e in seeds])
    place = _times([e for seeds in [reference, *methods] for e in seeds])
    windows = int(place.max()) + 1
    generator = np.random.default_rng(seed)
    counts = _draws(generator, num_resamples, windows)[:, place]
    reach = stats.t.ppf((1 + level) / 2, windows - 1)
    tail = stats.norm.cdf(-reach)
    # The share of resamples that are one window, the farthest, and nothing else.
    beyond = tail < max(float(windows) ** (1 - windows), 1 / num_resamples)
    base_value, base = _resampled(metric, reference, counts, generator)
    differences = []
    for seeds in methods:
        value, resamples = _resampled(metric, seeds, counts, generator)
        known = (resamples - base)[np.isfinite(resamples - base)]
        known = known if known.size else np.array([np.nan])
        if beyond:
            # Where a window has no scale of its own, this is NaN: too little is left.
            with np.errstate(invalid="ignore"):
                width = reach * np.std(resamples - base)
            lower, upper = value - base_value - width, value - base_value + width
        else:
            lower, upper = np.quantile(known, [tail, 1 - tail])
        flips = float(np.mean(np.sign(known) * np.sign(value - base_value) <= 0))
        differences.append(
            Difference(
                seeds[0].name,
                float(value - base_value),
                float(lower),
                float(upper),
                flips if np.isfinite(value - base_value) else float("nan"),
                len(seeds),
            )
        )
    count = reference[0].num_windows
    return Significance(metric, reference[0].name, level, count, tuple(differences), windows)


def _times(evaluations: Sequence[Evaluation]) -> np.ndarray:
    """Which windows are drawn together, ``[W]``: those of different series at one time."""
    alone = np.arange(evaluations[0].num_windows)
    items = next((e.item_ids for e in evaluations if e.item_ids), ())
    if len(items) != len(alone):
        return alone
    seen: Counter[str] = Counter()
    place = np.empty_like(alone)
    for window, item in enumerate(items):
        place[window] = seen[item]
        seen[item] += 1
    return place if place.max() > 0 else alone


def gap(metric: str, value: ArrayLike) -> np.ndarray:
    """What is to be small: the score itself, or the distance of a coverage from its level."""
    if not metric.startswith("coverage"):
        return np.asarray(value)
    return np.abs(np.asarray(value) - float(metric.rsplit("_", 1)[1]) / 100)


def _resampled(
    metric: str, seeds: Sequence[Evaluation], counts: np.ndarray, generator: np.random.Generator
) -> tuple[float, np.ndarray]:
    """Mean over seeds of the score: as observed, and of every resample [B]."""
    observed = np.mean([gap(metric, _pooled(metric, e, np.ones_like(counts[:1]))) for e in seeds])
    values = np.stack([gap(metric, _pooled(metric, e, counts)) for e in seeds], axis=1)
    if len(seeds) == 1:
        return float(observed), values[:, 0]
    weights = _draws(generator, len(counts), len(seeds)) / (len(seeds) - 1)
    return float(observed), (weights * values).sum(axis=1)


def _pooled(metric: str, evaluation: Evaluation, counts: np.ndarray) -> np.ndarray:
    rows = max(1, _CHUNK // max(array[0].size for array in evaluation.terms.values()))
    chunks = [counts[first : first + rows] for first in range(0, len(counts), rows)]
    return np.concatenate([resampled_score(metric, evaluation.terms, chunk) for chunk in chunks])


def _draws(generator: np.random.Generator, resamples: int, count: int) -> np.ndarray:
    """How often each of n is drawn in n - 1 draws with replacement: [B, n]."""
    return generator.multinomial(count - 1, np.full(count, 1 / count), size=resamples).astype(float)


def check_same_truth(first: Evaluation, other: Evaluation) -> None:
    """Raise a ValueError if what both have kept of their windows' truth differs."""
    for name in SCALES:
        ours, theirs = first.terms[name], other.terms[name]
        # A sum over dimensions may cancel, and has the rounding of what it is made of.
        noise = 1e-9 * first.terms["scale"].max(initial=0.0) if name == "scale_sum" else 0.0
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=1e-6, atol=noise):
            raise ValueError(
                f"{first.name!r} and {other.name!r} were scored on other windows, or in another "
                f"order: {name!r} of the truth differs. Evaluate both on one data set"
            )


def _check(metric: str, evaluations: Sequence[Evaluation]) -> None:
    first = evaluations[0]
    for evaluation in evaluations:
        if metric in SCALES or metric not in evaluation.terms:
            known = ", ".join(name for name in evaluation.terms if name not in SCALES)
            raise ValueError(
                f"{evaluation.name!r} has not kept what each window adds to {metric!r}; it has: "
                f"{known or 'nothing, as files of earlier versions. Evaluate again'}"
            )
        check_same_truth(first, evaluation)
    if first.num_windows < 2:
        raise ValueError(
            "one window says nothing about others: take several, as backtest(..., num_windows=10)"
        )


def _digits(row: Difference) -> int:
    """Decimals that show two digits of the interval's width."""
    width = row.upper - row.lower
    if not (np.isfinite(width) and width > 0):
        return 4
    return int(np.clip(1 - np.floor(np.log10(width)), 0, 9))
