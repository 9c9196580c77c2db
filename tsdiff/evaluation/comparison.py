"""Several evaluations side by side: on screen, as Markdown, as JSON.

Evaluations that carry the same name are seeds of one method and share a row: the mean of their
scores and, as its uncertainty, the standard deviation between seeds, which contains the Monte-Carlo
error. A single evaluation shows its Monte-Carlo error. Whether a difference would survive other
windows is asked by :meth:`Comparison.significance`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tsdiff.evaluation.scores import Evaluation, Score, cell, read_json, write_json
from tsdiff.evaluation.significance import Significance, check_same_truth, gap, paired_bootstrap

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Comparison", "Row", "compare"]

SCREEN_METRICS = ("crps_sum_q19", "crps_sum_q9", "crps_sum", "crps", "coverage_80")
DOCUMENT_METRICS = (
    *SCREEN_METRICS[:-1],
    "nd",
    "nrmse",
    "energy_score",
    "coverage_80",
    "coverage_sum_80",
)


@dataclass(frozen=True)
class Row:
    """One method: its scores (mean over seeds) and how many seeds stand behind them."""

    name: str
    scores: dict[str, Score]
    num_seeds: int
    seconds: float | None


@dataclass(frozen=True)
class Comparison:
    """A table of evaluations. Printing it with rich shows it; ``str`` gives Markdown."""

    evaluations: tuple[Evaluation, ...]

    @property
    def rows(self) -> list[Row]:
        """One row per name, in the order of first appearance."""
        names = dict.fromkeys(evaluation.name for evaluation in self.evaluations)
        return [_row([e for e in self.evaluations if e.name == name]) for name in names]

    def best(self, metric: str) -> list[str]:
        """Names whose score is best: lowest, for a coverage nearest to its level; ties share it.

        What a calibrated forecast would have (``..._calibrated``) is a yardstick: none is best.
        """
        self._check_shared(metric)
        if metric.endswith("_calibrated"):
            return []
        gaps = {row.name: float(gap(metric, row.scores[metric].value)) for row in self.rows}
        least = min((g for g in gaps.values() if np.isfinite(g)), default=None)
        return [name for name, value in gaps.items() if value == least]

    def significance(
        self,
        metric: str = "crps_sum_q19",
        *,
        against: str | None = None,
        num_resamples: int = 10_000,
        level: float = 0.95,
        seed: int = 0,
    ) -> Significance:
        """Differences from one method, with what other windows and seeds could make of them.

        A paired bootstrap over windows and, where a method has several, over its seeds: see
        :mod:`tsdiff.evaluation.significance`.

        Parameters
        ----------
        metric
            A score that is a sum over windows: all but the calibration errors.
        against
            Name of the method to hold the others against; by default the best by this metric.
        num_resamples
            Bootstrap resamples; the tails of few windows need thousands.
        level
            Confidence level of the interval.
        seed
            Seed of the bootstrap.

        Returns
        -------
        Significance
            A table, a row for each other method: ``table["model"].lower``, ``print(table)``.

        Raises
        ------
        ValueError
            Nothing to hold against each other, a single window, or evaluations that don't keep
            their windows' terms (files of earlier versions).
        KeyError
            No method of that name, or no such score.
        """
        best = self.best(metric)
        chosen = against or (best or [self.evaluations[0].name])[0]
        groups: dict[str, list[Evaluation]] = {}
        for evaluation in self.evaluations:
            groups.setdefault(evaluation.name, []).append(evaluation)
        if chosen not in groups:
            raise KeyError(f"no method {against!r} in this comparison; it has: {', '.join(groups)}")
        reference = groups.pop(chosen)
        if not groups:
            raise ValueError(f"{chosen!r} is the only method: there is nothing to hold against it")
        return paired_bootstrap(
            metric,
            list(groups.values()),
            reference,
            num_resamples=num_resamples,
            level=level,
            seed=seed,
        )

    def to_frame(
        self, metrics: Sequence[str] | None = None, *, errors: bool = False
    ) -> pd.DataFrame:
        """A row for each method and a column for each score, all that the methods share.

        Parameters
        ----------
        metrics
            The columns; None takes all.
        errors
            Give the uncertainty of each score (see the module) instead, NaN where unknown.

        Raises
        ------
        KeyError
            A metric that the evaluations do not have.
        """
        rows = self.rows
        if metrics is None:
            metrics = [m for m in rows[0].scores if all(m in row.scores for row in rows)]
        for metric in metrics:
            self._check_shared(metric)
        values = [
            [row.scores[m].error if errors else row.scores[m].value for m in metrics]
            for row in rows
        ]
        index = pd.Index([row.name for row in rows], name="method")
        return pd.DataFrame(values, index=index, columns=pd.Index(metrics))

    def to_markdown(
        self, metrics: Sequence[str] = DOCUMENT_METRICS, path: str | Path | None = None
    ) -> str:
        """A Markdown table, score ± error, the best of each column in bold.

        Raises
        ------
        KeyError
            A metric that the evaluations do not have.
        """
        lines = [
            "| method | " + " | ".join(metrics) + " |",
            "|---" + "|--:" * len(metrics) + "|",
        ]
        for name, cells, marks in self._cells(metrics):
            texts = [f"**{c}**" if best else c for c, best in zip(cells, marks, strict=True)]
            safe_name = name.replace("|", "\\|")
            lines.append(f"| {safe_name} | " + " | ".join(texts) + " |")
        text = "\n".join([*lines, "", self.caption])
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    def to_rich(
        self, metrics: Sequence[str] = SCREEN_METRICS, *, title: str | None = None
    ) -> Table:
        """A :class:`rich.table.Table` for the screen, the best of each column highlighted.

        Raises
        ------
        KeyError
            A metric that the evaluations do not have.
        """
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=title,
            caption=self.caption,
            box=box.SIMPLE_HEAD,
            title_style="bold",
            title_justify="left",
            caption_justify="left",
        )
        table.add_column("method", no_wrap=True)
        for metric in metrics:
            table.add_column(metric, justify="right", no_wrap=True)
        for name, cells, marks in self._cells(metrics):
            texts = [
                Text(c, style="bold green" if best else "")
                for c, best in zip(cells, marks, strict=True)
            ]
            table.add_row(Text(name), *texts)
        return table

    def to_json(self, path: str | Path | None = None) -> str:
        """All evaluations as JSON text, also written to ``path`` where one is given."""
        return write_json({"evaluations": [e.to_dict() for e in self.evaluations]}, path)

    @classmethod
    def from_json(cls, source: str | Path) -> Comparison:
        """Read what :meth:`to_json` wrote: JSON text, or a :class:`~pathlib.Path` to it.

        Raises
        ------
        ValueError
            Not JSON, or not a comparison.
        """
        content = read_json(source)
        if not isinstance(content, dict) or "evaluations" not in content:
            raise ValueError("this JSON is not a comparison: it has no 'evaluations'")
        return compare(Evaluation.from_dict(item) for item in content["evaluations"])

    def _check_shared(self, metric: str) -> None:
        """A KeyError that names what there is, where a method lacks a score."""
        for evaluation in self.evaluations:
            if metric not in evaluation.scores:
                shared = [
                    m
                    for m in self.evaluations[0].scores
                    if all(m in e.scores for e in self.evaluations)
                ]
                raise KeyError(
                    f"no score {metric!r} in the evaluation of {evaluation.name!r}; all of these "
                    f"have: {', '.join(shared)}"
                )

    @property
    def caption(self) -> str:
        """What was scored and what the ± means, in one line."""
        first = self.evaluations[0]
        seeds = max(row.num_seeds for row in self.rows)
        meaning = "Monte-Carlo standard error"
        if seeds > 1:
            meaning = f"standard deviation between seeds ({seeds}), for a single run {meaning}"
        return f"{first.sizes}. ± {meaning}. Lower is better; coverage: closer to its level."

    def __str__(self) -> str:
        return self.to_markdown()

    def __rich__(self) -> Table:
        return self.to_rich()

    def _cells(self, metrics: Sequence[str]) -> list[tuple[str, list[str], list[bool]]]:
        """Name, texts and best-marks of each row."""
        for metric in metrics:
            self._check_shared(metric)
        best = {metric: self.best(metric) for metric in metrics}
        return [
            (
                row.name,
                [cell(m, row.scores[m]) for m in metrics],
                [row.name in best[m] for m in metrics],
            )
            for row in self.rows
        ]


def compare(evaluations: Iterable[Evaluation]) -> Comparison:
    """Put evaluations of the same windows side by side.

    Parameters
    ----------
    evaluations
        Models and naive baselines alike; several of one name are seeds of one method.

    Returns
    -------
    Comparison
        With ``to_rich``, ``to_markdown``, ``to_json``.

    Raises
    ------
    ValueError
        Nothing to compare, or evaluations of different windows, horizons or dimensions, whose
        scores say nothing about each other. Windows are told apart by what they add to scales of
        scores, in their order; files of earlier versions, which lack it, by their number alone.
    TypeError
        Something that is not an :class:`Evaluation`.
    """
    evaluations = tuple(evaluations)
    if not evaluations:
        raise ValueError("nothing to compare: pass at least one Evaluation")
    for evaluation in evaluations:
        if not isinstance(evaluation, Evaluation):
            raise TypeError(f"expected Evaluation objects, got {type(evaluation).__name__}")
    first = evaluations[0]
    for other in evaluations[1:]:
        for size in ("num_windows", "prediction_length", "target_dim"):
            if getattr(other, size) != getattr(first, size):
                raise ValueError(
                    f"{other.name!r} has {size}={getattr(other, size)}, {first.name!r} has "
                    f"{getattr(first, size)}: only scores on the same windows can be compared"
                )
    telling = [evaluation for evaluation in evaluations if evaluation.terms]
    for other in telling[1:]:
        check_same_truth(telling[0], other)
    return Comparison(evaluations)


def _row(seeds: Sequence[Evaluation]) -> Row:
    metrics = [metric for metric in seeds[0].scores if all(metric in e.scores for e in seeds)]
    scores = {metric: _aggregate([e[metric] for e in seeds]) for metric in metrics}
    times = [e.seconds for e in seeds if e.seconds is not None]
    return Row(seeds[0].name, scores, len(seeds), float(np.mean(times)) if times else None)


def _aggregate(scores: Sequence[Score]) -> Score:
    if len(scores) == 1:
        return scores[0]
    values = [score.value for score in scores]
    return Score(float(np.mean(values)), float(np.std(values, ddof=1)))
