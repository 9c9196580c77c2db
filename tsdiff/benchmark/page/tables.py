"""The tables of the report: scores of one comparison, all of them at a glance, costs, failures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tsdiff.benchmark.page import numbers as n
from tsdiff.benchmark.page.groups import Group, Method
from tsdiff.benchmark.page.markup import Html, element, join
from tsdiff.benchmark.page.metrics import HEADLINE, METRICS, metric, of_laws
from tsdiff.benchmark.record import Record
from tsdiff.evaluation import Score

__all__ = [
    "Column",
    "cost_table",
    "failure_table",
    "notes_of",
    "overview_table",
    "score_table",
    "table",
]


@dataclass(frozen=True)
class Column:
    """A column: heading, what it means, whether it sorts as numbers, whether it is shown."""

    label: str
    meaning: str = ""
    numeric: bool = True
    shown: bool = True


def table(
    label: str,
    caption: Any,
    columns: Sequence[Column],
    rows: Sequence[Html],
    *,
    sorted_by: int | None = None,
) -> Html:
    """A table whose columns sort, in a box of its own that scrolls."""
    heads = [
        element(
            "th",
            element("button", column.label, type="button", title=column.meaning or None),
            scope="col",
            class_=_classes(num=column.numeric, off=not column.shown),
            aria_sort="ascending" if position == sorted_by else "none",
        )
        for position, column in enumerate(columns)
    ]
    content = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *heads)),
        element("tbody", *rows),
        class_="sortable",
    )
    return element("div", content, class_="scroll", tabindex="0", role="region", aria_label=label)


def cell(text: Any, value: Any = None, **flags: bool) -> Html:
    """A cell, and the value that it sorts by where that is not its text."""
    if isinstance(value, float):
        value = f"{value:.9g}" if math.isfinite(value) else ""
    return element("td", text, data_value=value, class_=_classes(**flags))


def name_cell(method: Method) -> Html:
    """A method's name, and of a baseline which kind it is."""
    mark = None if method.is_model else element("span", f"{method.kind} baseline", class_="tag")
    return element("th", element("span", method.name, class_="name"), mark, scope="row")


def score_table(group: Group) -> Html:
    """Every score of every method, mean ± standard deviation over seeds, with a column chooser."""
    names = [m for m in METRICS if any(m in method.scores for method in group.methods)]
    names += sorted({m for method in group.methods for m in method.scores} - set(METRICS))
    best = {name: group.best(name) for name in names}
    compared = bool(group.baselines)
    columns = [Column("Method", numeric=False)]
    for name in names:
        about = metric(name)
        columns.append(Column(about.label, about.meaning, shown=about.shown))
        if name == HEADLINE and compared:
            columns.append(Column("Against best baseline", _AGAINST))
            columns.append(Column("95 % interval", _INTERVAL))
    columns.append(Column("Seeds", shown=False))
    rows = []
    for method in group.methods:
        cells = [name_cell(method)]
        for name in names:
            cells.append(_score_cell(method, name, method.name in best[name]))
            if name == HEADLINE and compared:
                cells += _against_cells(group, method)
        cells.append(cell(len(method.records), float(len(method.records)), num=True, off=True))
        rows.append(element("tr", *cells, class_=None if method.is_model else "baseline"))
    label = f"Scores, {group.title}"
    return table(
        label, _score_caption(group), columns, rows, sorted_by=1 if HEADLINE in names else None
    )


_AGAINST = "CRPS-sum relative to the best baseline's; below zero is better"
_INTERVAL = (
    "of that difference, by a paired bootstrap over windows and seeds; ● where it leaves out zero"
)


def notes_of(group: Group) -> Html | None:
    """What the runs' records want to be known, once for each method."""
    notes: dict[str, dict[str, None]] = {}
    for record in group.records:
        for note in record.notes:
            notes.setdefault(note, {})[record.key.method] = None
    items = [element("li", f"{', '.join(names)}: {note}") for note, names in notes.items()]
    if not items:
        return None
    count = "1 note" if len(items) == 1 else f"{len(items)} notes"
    summary = element("summary", f"{count} on these runs")
    return element("details", summary, element("ul", *items), class_="notes")


def _score_caption(group: Group) -> Html:
    size = group.size
    several = max(len(method.records) for method in group.methods) > 1
    meaning = "Monte-Carlo standard error"
    if several:
        meaning = f"standard deviation between seeds, for a single seed {meaning}"
    windows = f"{size.num_windows} window" + "s" * (size.num_windows != 1)
    text = (
        f": {windows} of {size.prediction_length} steps, {size.target_dim} dimensions, "
        f"{size.num_samples} samples. ± {meaning}. Best of each column in bold."
    )
    return join([element("b", group.title), text])


def _score_cell(method: Method, name: str, best: bool) -> Html:
    score = method.score(name)
    if method.is_point and of_laws(name):
        score = Score(float("nan"))
    value, error = n.score_text(name, score)
    parts: list[Html] = [element("span", value, class_="value")]
    if error:
        parts.append(element("span", f" ± {error}", class_="spread"))
    sampling = method.sampling_error(name)
    if math.isfinite(sampling) and value != n.NONE:
        scale = 100 if name.startswith("coverage") else 1
        text = f"sampling {n.digits(scale * sampling, 2)}"
        parts.append(element("span", text, class_="sampling"))
    return cell(join(parts), score.value, num=True, best=best, off=not metric(name).shown)


def _against_cells(group: Group, method: Method) -> list[Html]:
    """The difference from the best baseline, and its interval."""
    base = group.baselines[0]
    if method is base:
        return [
            cell(element("span", "reference", class_="quiet"), 0.0, num=True),
            cell("", num=True),
        ]
    ratio = group.relative(method)
    difference = group.difference(method)
    if difference is None:
        return [cell(n.change(ratio), ratio, num=True), cell(n.NONE, num=True)]
    bounds = n.interval(difference, base.score(HEADLINE).value)
    mark = None
    if difference.is_significant:
        mark = element("span", "● ", class_="sure", title="the interval leaves out zero")
    spread = element("span", mark, bounds, class_="nowrap")
    return [cell(n.change(ratio), ratio, num=True), cell(spread, difference.upper, num=True)]


def overview_table(groups: Sequence[Group]) -> Html:
    """CRPS-sum of every method relative to the best baseline, a column for each comparison."""
    names = dict.fromkeys(m.name for group in groups for m in group.models)
    names |= dict.fromkeys(m.name for group in groups for m in group.baselines)
    columns = [Column("Method", numeric=False)]
    columns += [
        Column(group.title, "relative to the best baseline; below zero is better")
        for group in groups
    ]
    rows = []
    for name in names:
        found = [next((m for m in group.methods if m.name == name), None) for group in groups]
        first = next(method for method in found if method is not None)
        cells = [_overview_cell(group, method) for group, method in zip(groups, found, strict=True)]
        rows.append(
            element("tr", name_cell(first), *cells, class_=None if first.is_model else "baseline")
        )
    caption = (
        "CRPS-sum (19 quantiles) relative to the best baseline of each comparison; below zero is "
        "better. ● beyond the luck of the windows: the 95 % interval of a paired bootstrap leaves "
        "out zero."
    )
    return table("All comparisons", caption, columns, rows)


def _overview_cell(group: Group, method: Method | None) -> Html:
    if method is None or not group.baselines:
        return cell(n.NONE, num=True)
    ratio = group.relative(method)
    if method is group.baselines[0]:
        return cell(element("span", "best baseline", class_="quiet"), 0.0, num=True)
    difference = group.difference(method)
    sure = difference is not None and difference.is_significant
    mark = element("span", "● ", class_="sure") if sure else None
    best = method is group.methods[0]
    text = join([mark, n.change(ratio)])
    return cell(text, ratio, num=True, best=best, better=ratio < 0, worse=ratio > 0)


_COSTS: tuple[tuple[str, str, str, Callable[[float], str]], ...] = (
    ("training_seconds", "Training", "wall time, choice of coordinates included", n.seconds),
    ("training_cpu_seconds", "CPU, training", "processor time of training", n.seconds),
    ("sampling_seconds", "Sampling, a window", "wall time of one window's samples", n.seconds),
    ("cpu_seconds", "CPU, whole run", "processor time, scoring and imports included", n.seconds),
    ("evaluations_per_step", "Evaluations", "of the network for one step of a sample", n.amount),
    ("parameters", "Parameters", "trainable numbers of the model", n.amount),
    ("peak_memory", "Memory", "largest resident memory of the run's process", n.memory),
    ("accelerator_memory", "GPU memory", "largest memory allocated on it", n.memory),
)


def cost_table(groups: Sequence[Group]) -> Html:
    """What every method took on every data set, mean over seeds."""
    pairs = [(group, method) for group in groups for method in group.methods]
    costs = [c for c in _COSTS if any(math.isfinite(m.cost(c[0])) for _, m in pairs)]
    columns = [Column("Method", numeric=False), Column("Data set", numeric=False)]
    columns += [Column(label, meaning) for _, label, meaning, _ in costs]
    rows = []
    for group, method in pairs:
        cells = [cell(show(method.cost(c)), method.cost(c), num=True) for c, _, _, show in costs]
        where = cell(group.title, nowrap=True)
        row = None if method.is_model else "baseline"
        rows.append(element("tr", name_cell(method), where, *cells, class_=row))
    return table("Costs", "What each run took, mean over seeds.", columns, rows)


def failure_table(failed: Sequence[Record]) -> Html:
    """Runs without a result, and why."""
    labels = ("Method", "Data set", "Seed", "Error")
    columns = [Column(label, numeric=label == "Seed") for label in labels]
    rows = []
    for record in failed:
        key = record.key
        error = join([element("code", record.error or "no result")])
        if record.trace:
            trace = element("details", element("summary", "where"), element("pre", record.trace))
            error = join([error, trace])
        rows.append(
            element(
                "tr",
                element("th", element("span", key.method, class_="name"), scope="row"),
                cell(f"{key.dataset}, {key.protocol}", nowrap=True),
                cell(key.seed, float(key.seed), num=True),
                element("td", error, class_="long"),
            )
        )
    runs = "1 run" if len(failed) == 1 else f"{len(failed)} runs"
    caption = f"{runs} without a result, which no mean contains; the next start tries again."
    return table("Failures", caption, columns, rows)


def _classes(**flags: bool) -> str | None:
    return " ".join(name for name, on in flags.items() if on) or None
