"""Runs that can be compared: one data set, one protocol, the same windows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tsdiff.benchmark.page.metrics import HEADLINE, of_laws
from tsdiff.benchmark.record import Record
from tsdiff.benchmark.tables import is_point, mean_cost, monte_carlo_error
from tsdiff.evaluation import Comparison, Difference, Evaluation, Score, Significance, compare

__all__ = ["Group", "Method", "groups_of"]

MODEL = "model"


@dataclass(frozen=True)
class Method:
    """One row: the seeds of a model or baseline, and its scores over them."""

    name: str
    kind: str
    records: tuple[Record, ...]
    scores: dict[str, Score]

    @property
    def is_model(self) -> bool:
        return self.kind == MODEL

    @property
    def evaluations(self) -> list[Evaluation]:
        return [r.evaluation for r in self.records if r.evaluation is not None]

    @property
    def is_point(self) -> bool:
        """Whether its forecasts are points, which no other draw would change."""
        return is_point(self.evaluations)

    def score(self, name: str) -> Score:
        return self.scores.get(name, Score(float("nan")))

    def sampling_error(self, name: str) -> float:
        """Monte-Carlo standard error of one seed's score, root mean square over seeds.

        NaN where another draw would change nothing.
        """
        scores = [e.scores[name] for e in self.evaluations if name in e.scores]
        if not any(score.is_random for score in scores):
            return float("nan")
        return monte_carlo_error(scores)

    def cost(self, name: str) -> float:
        """Mean over seeds of a cost, NaN where there is none."""
        return mean_cost(self.records, name)


@dataclass(frozen=True)
class Group:
    """The runs of one data set under one protocol that were scored on the same windows."""

    dataset: str
    protocol: str
    records: tuple[Record, ...]
    anchor: str  # its place in the page, #exchange_rate-literature

    @property
    def title(self) -> str:
        return f"{self.dataset}, {self.protocol}"

    @property
    def size(self) -> Evaluation:
        """Any of its evaluations: their sizes agree."""
        return self.comparison.evaluations[0]

    @cached_property
    def comparison(self) -> Comparison:
        return compare(r.evaluation for r in self.records if r.evaluation is not None)

    @cached_property
    def methods(self) -> list[Method]:
        """By score, best first; without one last."""
        found = [
            Method(row.name, records[0].kind, records, row.scores)
            for row in self.comparison.rows
            for records in [tuple(r for r in self.records if r.key.method == row.name)]
        ]

        def rank(method: Method) -> float:
            value = method.score(HEADLINE).value
            return value if np.isfinite(value) else float("inf")

        return sorted(found, key=rank)

    def best(self, name: str) -> set[str]:
        """Names of the methods whose score is best; a point is no law, and can't cover anything."""
        if not of_laws(name):
            return set(self.comparison.best(name)) if name in self.size.scores else set()
        points = {method.name for method in self.methods if method.is_point}
        laws = [e for e in self.comparison.evaluations if e.name not in points]
        return set(compare(laws).best(name)) if laws and name in laws[0].scores else set()

    @property
    def models(self) -> list[Method]:
        return [method for method in self.methods if method.is_model]

    @property
    def baselines(self) -> list[Method]:
        return [method for method in self.methods if not method.is_model]

    @cached_property
    def significance(self) -> Significance | None:
        """Differences from the best baseline; None where nothing can be said."""
        if not self.baselines:
            return None
        try:
            return self.comparison.significance(HEADLINE, against=self.baselines[0].name)
        except ValueError:  # a single window, a single method, or terms that were not kept
            return None

    def difference(self, method: Method) -> Difference | None:
        """Of a method from the best baseline."""
        found = self.significance
        if found is None or method.name == found.against:
            return None
        return found[method.name]

    def relative(self, method: Method) -> float:
        """The headline score over the best baseline's, less one; NaN without one above zero."""
        if not self.baselines:
            return float("nan")
        value, base = (one.score(HEADLINE).value for one in (method, self.baselines[0]))
        if value == base:
            return 0.0
        return value / base - 1 if base else float("nan")


def groups_of(records: Sequence[Record]) -> list[Group]:
    """Groups in the order in which they first appear; failed runs are in none.

    Raises
    ------
    ValueError
        Two records of one run.
    """
    twice = [key for key, count in Counter(r.key for r in records).items() if count > 1]
    if twice:
        raise ValueError(f"two records of one run, {twice[0]}: pass one of each")
    found: dict[tuple, list[Record]] = {}
    for record in records:
        if record.evaluation is not None:
            e = record.evaluation
            size = (e.num_windows, e.prediction_length, e.target_dim)
            found.setdefault((record.key.dataset, record.key.protocol, *size), []).append(record)
    groups: list[Group] = []
    for key, members in found.items():
        anchor = re.sub(r"[^\w]+", "-", f"{key[0]}-{key[1]}").strip("-")
        if not anchor or any(group.anchor == anchor for group in groups):
            anchor = f"{anchor}-{len(groups) + 1}"
        groups.append(Group(key[0], key[1], tuple(members), anchor))
    return groups
