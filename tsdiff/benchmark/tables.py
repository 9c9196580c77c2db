"""Tables of records: scores over seeds, beside baselines, and whether differences would last.

A table for each data set and protocol. Costs stand in files of their own: what the same settings
give again is in the one table, what the machine had to do with is in the other.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import orjson

from tsdiff.benchmark.record import Record
from tsdiff.evaluation import Comparison, Evaluation, Score, Significance, compare

__all__ = [
    "Result",
    "commits",
    "costs_csv",
    "costs_markdown",
    "digits",
    "is_point",
    "markdown",
    "mean_cost",
    "monte_carlo_error",
    "number",
    "results",
    "scores_csv",
    "scores_json",
]

MAIN = "crps_sum_q19"
COLUMNS = {
    "crps_sum_q19": "CRPS-sum (19 quantiles)",
    "crps": "CRPS",
    "energy_score": "energy score",
    "variogram_score": "variogram score",
    "coverage_80": "80 % covers",
    "pit_error": "PIT error",
    "nrmse": "NRMSE",
    "nll": "NLL",
}
_OF_LAWS = ("coverage", "pit")  # a point has none
_YARDSTICKS = {"pit_error": "pit_error_calibrated"}


@dataclass(frozen=True)
class Result:
    """What came of all methods on one data set under one protocol.

    ``against`` is the method that differences are taken from, where it has a result; otherwise the
    best baseline.
    """

    dataset: str
    protocol: str
    records: tuple[Record, ...]
    against: str | None = None

    @property
    def good(self) -> tuple[Record, ...]:
        """Runs with a result."""
        return tuple(record for record in self.records if not record.failed)

    @property
    def failed(self) -> tuple[Record, ...]:
        """Runs without one."""
        return tuple(record for record in self.records if record.failed)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Kind of each method."""
        return {record.key.method: record.kind for record in self.records}

    @cached_property
    def comparison(self) -> Comparison:
        """Methods side by side; ``ValueError`` if no run has a result."""
        return compare(r.evaluation for r in self.good if r.evaluation is not None)

    @cached_property
    def best_baseline(self) -> str | None:
        """Name of the baseline with the lowest CRPS-sum."""
        return self._best(of_models=False)

    @cached_property
    def best_model(self) -> str | None:
        """Name of the model with the lowest CRPS-sum."""
        return self._best(of_models=True)

    @property
    def reference(self) -> str | None:
        """Name of the method that differences are taken from."""
        known = {record.key.method for record in self.good}
        return self.against if self.against in known else self.best_baseline

    @cached_property
    def significance(self) -> Significance | None:
        """CRPS-sums less the reference's; None where there is nothing to compare."""
        return self.significance_against(self.reference)

    def significance_against(self, against: str | None) -> Significance | None:
        """CRPS-sums less a method's."""
        if against is None or len(self.comparison.rows) < 2:
            return None
        if self.comparison.evaluations[0].num_windows < 2:
            return None
        return self.comparison.significance(MAIN, against=against)

    def _best(self, *, of_models: bool) -> str | None:
        rows = [
            row
            for row in (self.comparison.rows if self.good else [])
            if (self.kinds[row.name] == "model") == of_models
            and np.isfinite(row.scores[MAIN].value)
        ]
        return min(rows, key=lambda row: row.scores[MAIN].value).name if rows else None


def results(records: Iterable[Record], *, against: str | None = None) -> list[Result]:
    """Records by data set and protocol, in the order in which these first appear."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.key.dataset, record.key.protocol), []).append(record)
    return [Result(*place, tuple(group), against) for place, group in groups.items()]


def markdown(
    records: Iterable[Record], *, title: str = "", level: int = 2, against: str | None = None
) -> str:
    """Tables of all results as Markdown, under headings of that level.

    Parameters
    ----------
    against
        The method that differences are taken from; None is the best baseline of each table.
    """
    found = results(records, against=against)
    return _document(title, level, (_section(result, level) for result in found))


def _document(title: str, level: int, sections: Iterable[str]) -> str:
    parts = [f"{'#' * (level - 1)} {title}"] if title else []
    return "\n\n".join([*parts, *sections]) + "\n"


def _heading(result: Result, level: int) -> str:
    return f"{'#' * level} {result.dataset}, {result.protocol}"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(columns: int) -> str:
    """The line under titles: names to the left, numbers to the right."""
    return "|---" + "|--:" * (columns - 1) + "|"


def _escaped(name: str) -> str:
    return name.replace("|", "\\|")


def _section(result: Result, level: int) -> str:
    parts = [_heading(result, level)]
    if result.good:
        first = result.comparison.evaluations[0]
        parts.append(
            f"{first.num_windows} windows of {first.prediction_length} steps, {first.target_dim} "
            f"dimensions, {first.num_samples} samples."
        )
        parts += [_table(result), _legend(result), _verdict(result), _origins(result)]
    parts += [_failures(result.failed)] if result.failed else []
    return "\n\n".join(part for part in parts if part)


def _table(result: Result) -> str:
    comparison, significance = result.comparison, result.significance
    shown = [m for m in COLUMNS if any(np.isfinite(r.scores[m].value) for r in comparison.rows)]
    against = result.reference
    last = "the best baseline" if against == result.best_baseline else against
    titles = ["method", "seeds", COLUMNS[MAIN], "Monte-Carlo error"]
    titles += [COLUMNS[metric] for metric in shown if metric != MAIN]
    titles += [f"less that of {_escaped(str(last))}"] if significance else []
    lines = [_row(titles), _rule(len(titles))]
    best = {metric: comparison.best(metric) for metric in (MAIN, *shown)}
    for row in comparison.rows:
        cells = [_escaped(row.name), str(row.num_seeds)]
        for metric in [MAIN, *(m for m in shown if m != MAIN)]:
            text = _cell(comparison, row.name, metric, row.num_seeds)
            cells.append(f"**{text}**" if row.name in best[metric] and text != "–" else text)
            if metric == MAIN:
                mine = (e[metric] for e in comparison.evaluations if e.name == row.name)
                cells.append(_error(monte_carlo_error(mine)))
        if significance:
            cells.append("–" if row.name == against else _difference(significance, row.name))
        lines.append(_row(cells))
    return "\n".join(lines)


def _cell(comparison: Comparison, name: str, metric: str, seeds: int) -> str:
    mine = [e for e in comparison.evaluations if e.name == name]
    values = [e[metric].value for e in mine]
    mean = float(np.mean(values))
    if not np.isfinite(mean):
        return "∞" if mean == np.inf else "–"
    if metric.startswith(_OF_LAWS) and is_point(mine):
        return "–"
    text = number(metric, mean)
    spread = float(np.std(values, ddof=1)) if seeds > 1 else 0.0
    if spread > 1e-9 * abs(mean):
        text += f" ± {number(metric, spread, like=mean)}"
    if metric in _YARDSTICKS:
        yardstick = _YARDSTICKS[metric]
        expected = [e[yardstick].value for e in mine if yardstick in e.scores]
        text += f" ({number(metric, float(np.mean(expected)))})" if expected else ""
    return text


def is_point(evaluations: Iterable[Evaluation]) -> bool:
    """Whether a method's forecasts are points, which no other draw would change."""
    return not any(e[MAIN].is_random for e in evaluations)


def monte_carlo_error(scores: Iterable[Score]) -> float:
    """Root mean square over seeds: the Monte-Carlo error of a single run."""
    return float(np.sqrt(np.mean(np.square([score.error for score in scores]))))


def _difference(significance: Significance, name: str) -> str:
    found = significance[name]
    if not np.isfinite(found.value):
        return "–"
    if not np.isfinite(found.upper - found.lower):
        return f"{found.value:+.2g}"
    text = f"{found.value:+.2g} ({found.lower:+.2g} … {found.upper:+.2g})"
    return f"**{text}**" if found.is_significant else text


def _legend(result: Result) -> str:
    seeds = max(row.num_seeds for row in result.comparison.rows)
    parts = ["Lower is better; coverage: closer to 80 %; best in bold."]
    if seeds > 1:
        parts.append("Mean ± standard deviation over seeds.")
    parts.append("Monte-Carlo error: of a single run, from drawing so many samples.")
    parts.append("PIT error in brackets: what a calibrated forecast of this size would have.")
    if result.significance:
        parts.append(
            f"Last column: difference of CRPS-sum from {result.reference}, with its 95 % "
            "interval by a paired bootstrap over windows and seeds, bold where it leaves out zero."
        )
    return " ".join(parts)


def _verdict(result: Result) -> str:
    """A sentence on models and baselines, above all where a baseline wins."""
    baseline, model = result.best_baseline, result.best_model
    if baseline is None or model is None:
        return ""
    rows = {row.name: row.scores[MAIN].value for row in result.comparison.rows}
    significance = result.significance_against(baseline)
    sure = significance is not None and significance[model].is_significant
    doubt = "" if sure else ", a difference that other windows may turn round"
    if rows[baseline] == rows[model]:
        return f"The best model, {model}, and the best baseline, {baseline}, have one CRPS-sum."
    share = abs(rows[model] / rows[baseline] - 1) if rows[baseline] else float("inf")
    if rows[baseline] < rows[model]:
        worse = f"{100 * share:.1f} % worse" if np.isfinite(share) else "worse than its zero"
        return (
            f"**A baseline wins:** {baseline} has the lowest CRPS-sum; the best model, {model}, is "
            f"{worse}{doubt}."
        )
    return (
        f"The best model by CRPS-sum, {model}, is {100 * share:.1f} % better than the best "
        f"baseline, {baseline}{doubt}."
    )


def _origins(result: Result) -> str:
    """A warning where records were made by different states of the code."""
    found = commits(result.good)
    return f"Made at {len(found)} commits: {', '.join(found)}." if len(found) > 1 else ""


def commits(records: Iterable[Record]) -> list[str]:
    """Commits that records were made at, as far as known; a ``+`` where files differed."""
    known = (r.machine.commit for r in records if r.machine is not None and r.machine.commit)
    return list(dict.fromkeys(commit[:12] + "+" * commit.endswith("+") for commit in known))


def _failures(failed: Sequence[Record]) -> str:
    lines = [
        f"* {record.key.method}, seed {record.key.seed}: {record.error}".replace("|", "\\|")
        for record in failed
    ]
    return "\n".join(["Without a result (tried again by the next start):", "", *lines])


def number(metric: str, value: float, like: float | None = None) -> str:
    """A score with three digits or four decimals, its spread with as many decimals."""
    if metric.startswith("coverage"):
        return f"{100 * value:.0f} %" if like is None else f"{100 * value:.0f}"
    size = abs(value if like is None else like)
    decimals = int(np.clip(2 - np.floor(np.log10(size)), 0, 7)) if size > 0 else 4
    return f"{value:.{min(decimals, 4) if size >= 0.1 else decimals}f}"


def _error(value: float) -> str:
    return f"{value:.2g}" if value > 1e-15 else "–"


def _rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """One row for each run and score, those of single dimensions among them."""
    rows = []
    for record in records:
        where = {**asdict(record.key), "kind": record.kind}
        if record.evaluation is None:
            rows.append({**where, "metric": "", "value": None, "error": None})
            rows[-1]["failure"] = record.error
            continue
        for metric, score in record.evaluation.scores.items():
            rows.append({**where, "metric": metric, "value": score.value, "error": score.error})
        for name, value in record.crps_per_dimension.items():
            rows.append({**where, "metric": f"crps[{name}]", "value": value, "error": None})
    return rows


def scores_csv(records: Iterable[Record]) -> str:
    """Every score of every run as CSV, a row each; ``failure`` where there is none."""
    fields = ("dataset", "protocol", "method", "seed", "kind", "metric", "value", "error")
    return _csv((*fields, "failure"), _rows(records))


def scores_json(records: Iterable[Record]) -> str:
    """The same rows as JSON."""
    return orjson.dumps(_rows(records), option=orjson.OPT_INDENT_2).decode() + "\n"


def costs_csv(records: Iterable[Record]) -> str:
    """What every run took, as CSV."""
    rows = [
        {
            **asdict(record.key),
            "kind": record.kind,
            **asdict(record.costs),
            "threads": record.machine.threads if record.machine else None,
            "cpu": record.machine.cpu if record.machine else None,
            "accelerator": record.machine.accelerator if record.machine else None,
        }
        for record in records
    ]
    return _csv(tuple(rows[0]) if rows else (), rows)


_COSTS = {
    "training_cpu_seconds": ("training, CPU s", 1.0, 3),
    "sampling_seconds": ("a window's forecast, s", 1.0, 2),
    "evaluations_per_step": ("evaluations per step", 1.0, 3),
    "parameters": ("parameters", 1.0, 6),
    "cpu_seconds": ("whole run, CPU s", 1.0, 3),
    "peak_memory": ("peak memory, GB", 1e-9, 2),
}


def costs_markdown(records: Iterable[Record], *, title: str = "", level: int = 2) -> str:
    """What methods took, means over seeds, as Markdown tables under headings of that level."""
    return _document(title, level, (_cost_section(result, level) for result in results(records)))


def _cost_section(result: Result, level: int) -> str:
    titles = ["method", *(name for name, *_ in _COSTS.values())]
    lines = [_heading(result, level), "", _row(titles), _rule(len(titles))]
    by_method: dict[str, list[Record]] = {}
    for record in result.good:
        by_method.setdefault(record.key.method, []).append(record)
    for method, mine in by_method.items():
        cells = [_escaped(method)]
        for name, (_, unit, count) in _COSTS.items():
            mean = unit * mean_cost(mine, name)
            cells.append(digits(mean, count) if mean > 0 else "–")
        lines.append(_row(cells))
    return "\n".join(lines)


def mean_cost(records: Iterable[Record], name: str) -> float:
    """Mean of a cost over the runs that counted it, NaN where none has."""
    values = [getattr(record.costs, name) for record in records]
    known = [float(value) for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def digits(value: float, count: int) -> str:
    """A positive number with so many digits at least, and never with an exponent."""
    return f"{value:.{min(12, max(0, count - 1 - math.floor(math.log10(value))))}f}"


def _csv(fields: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: "" if v is None or v != v else v for k, v in row.items()})
    return text.getvalue()
