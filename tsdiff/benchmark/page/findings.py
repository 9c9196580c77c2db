"""What came out, in sentences made of the records; where a baseline wins, they say so."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tsdiff.benchmark.page.groups import Group, Method
from tsdiff.benchmark.page.markup import Html, element, join
from tsdiff.benchmark.page.metrics import HEADLINE
from tsdiff.benchmark.page.numbers import NONE, interval, score_text
from tsdiff.benchmark.record import Record

__all__ = ["finding", "findings", "summary"]


def findings(groups: Sequence[Group], failed: Sequence[Record]) -> Html:
    """The list of findings, one for each data set and protocol, after a line on all of them."""
    parts: list[Html | None] = [element("p", summary(groups), class_="lead")] if groups else []
    parts.append(
        element(
            "ul",
            *(
                element(
                    "li",
                    element("a", group.title, href=f"#{group.anchor}", class_="where"),
                    " ",
                    finding(group),
                )
                for group in groups
            ),
            class_="findings",
        )
    )
    if failed:
        runs = "run" if len(failed) == 1 else "runs"
        link = element("a", "failed", href="#failures")
        parts.append(element("p", f"{len(failed)} {runs} ", link, "."))
    return join(parts)


def summary(groups: Sequence[Group]) -> Html:
    """On how many of the data sets a model leads, and on how many a baseline does."""
    scored = [g for g in groups if math.isfinite(_value(g.methods[0]))]
    both = [g for g in scored if g.models and g.baselines]
    if not both:
        return Html("No comparison has scores of both models and baselines.")
    won = [g for g in both if g.methods[0].is_model and _value(g.methods[0]) < _best_baseline(g)]
    clear = [g for g in won if (d := g.difference(g.methods[0])) and d.is_significant]
    lost = [g for g in both if g not in won]
    lost_clear = [g for g in lost if (d := g.difference(g.models[0])) and d.is_significant]
    parts = []
    if won:
        parts.append(f"A model has the best CRPS-sum in {_of(won, both)}{_sure(clear, won)}")
    if lost:
        what = "in " + _of(lost, both) if won else "A baseline has the best CRPS-sum in "
        what = f"a baseline {what}" if won else f"{what}{_of(lost, both)}"
        parts.append(what + _sure(lost_clear, lost))
    return Html("; ".join(parts) + ".")


def finding(group: Group) -> Html:
    """What is best in one comparison, by how much, and whether it could be luck."""
    if not any(math.isfinite(_value(method)) for method in group.methods):
        return Html("No method has a score.")
    if not group.models:
        best = group.baselines[0]
        return join(["Only baselines ran; the best is ", _named(best), "."])
    model = group.models[0]
    if not group.baselines:
        return join(["The best is ", _named(model), "; there is no baseline beside it."])
    base = group.baselines[0]
    ratio = group.relative(model)
    if ratio < 0:
        first = [
            "The best is ",
            _named(model),
            ", ",
            _percent(ratio),
            " below the best baseline, ",
            _named(base),
        ]
    elif ratio == 0:
        first = [_named(model), " and the baseline ", _named(base), " score the same"]
    else:
        first = [
            "A baseline wins: ",
            _named(base),
            ". The best model, ",
            _named(model),
            ", lies ",
            *([_percent(ratio), " "] if math.isfinite(ratio) else []),
            "above it",
        ]
    return join([*first, _verdict(group, model), ". ", *_calibration(model)])


def _verdict(group: Group, model: Method) -> str:
    """Whether other windows and seeds could turn the difference around."""
    difference = group.difference(model)
    if difference is None or not math.isfinite(difference.lower):
        return "; whether that is luck can't be said from these records"
    windows = group.size.num_windows
    bounds = interval(difference, group.baselines[0].score(HEADLINE).value)
    told = "" if bounds == NONE else f" (95 % interval {bounds})"
    if difference.is_significant:
        return f", more than the luck of {windows} windows{told}"
    return f", which may be the luck of {windows} windows{told}"


def _calibration(model: Method) -> list[str]:
    """How often the model's 80 % intervals held the truth."""
    value = model.score("coverage_80").value
    if not math.isfinite(value):
        return []
    return [f"Its 80 % intervals held {100 * value:.0f} % of the values."]


def _named(method: Method) -> Html:
    value, error = score_text(HEADLINE, method.score(HEADLINE))
    text = f" ({value} ± {error})" if error else f" ({value})"
    return join([element("strong", method.name), text])


def _percent(ratio: float) -> str:
    percent = abs(100 * ratio)
    if percent < 0.05:
        return "less than 0.1 %"
    return f"{percent:.0f} %" if percent >= 9.95 else f"{percent:.1f} %"


def _value(method: Method) -> float:
    return method.score(HEADLINE).value


def _best_baseline(group: Group) -> float:
    return _value(group.baselines[0])


def _of(some: Sequence[Group], among: Sequence[Group]) -> str:
    if len(among) == 1:
        return "the one comparison"
    if len(some) == len(among):
        return "both comparisons" if len(among) == 2 else f"all {len(among)} comparisons"
    return f"{len(some)} of {len(among)} comparisons"


def _sure(clear: Sequence[Group], among: Sequence[Group]) -> str:
    told = [d for g in among if (d := g.difference(g.models[0])) and math.isfinite(d.lower)]
    if not told:  # as of a single window
        return ""
    if len(among) == 1:
        return ", beyond the luck of the windows" if clear else ", within the luck of the windows"
    if len(clear) == len(among):
        return ", each time beyond the luck of the windows"
    if not clear:
        return ", each time within the luck of the windows"
    return f", {len(clear)} times beyond the luck of the windows"
