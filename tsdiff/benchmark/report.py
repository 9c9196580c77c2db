"""The report: one HTML file made of records alone, to be read, printed and linked.

It needs nothing beside itself: style, scripts and data stand in it, and its content security policy
allows nothing else, so that it can be opened from a disk, mailed, or served from anywhere. Tables,
sentences and settings are there without scripts; scripts draw the charts and sort.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from tsdiff._version import __version__
from tsdiff.benchmark.page.charts import chart_data
from tsdiff.benchmark.page.findings import finding, findings
from tsdiff.benchmark.page.groups import Group, groups_of
from tsdiff.benchmark.page.markup import Html, element, join, script_json
from tsdiff.benchmark.page.metrics import METRICS
from tsdiff.benchmark.page.settings import configuration_block, facts, settings_of_methods
from tsdiff.benchmark.page.tables import (
    cost_table,
    failure_table,
    notes_of,
    overview_table,
    score_table,
)
from tsdiff.benchmark.record import Record

__all__ = ["report_html", "write_report"]

# In the order in which they stand in the page; main.js runs what the others define.
_SCRIPTS = (
    "dom.js",
    "scales.js",
    "axes.js",
    "labels.js",
    "tables.js",
    "theme.js",
    "fans.js",
    "calibration.js",
    "differences.js",
    "costs.js",
    "main.js",
)
# Last what also says how the page is printed.
_STYLES = ("charts.css", "style.css")


def write_report(
    records: Iterable[Record], path: str | Path, *, title: str, configuration: Any = None
) -> Path:
    """Write the report of a benchmark as one HTML file.

    Parameters
    ----------
    records
        One of each run, failed ones among them.
    path
        The file; one that is there is replaced.
    title
        The page's heading.
    configuration
        What the benchmark was run with, as text or as anything that JSON can hold; it is printed
        at the end of the page.

    Returns
    -------
    pathlib.Path
        Where it was written.

    Raises
    ------
    ValueError
        No records, or two of one run.
    """
    path = Path(path)
    text = report_html(records, title=title, configuration=configuration)
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def report_html(records: Iterable[Record], *, title: str, configuration: Any = None) -> str:
    """The report's HTML; see :func:`write_report`."""
    records = list(records)
    if not records:
        raise ValueError("no records to report on: run the benchmark first")
    groups = groups_of(records)
    failed = [record for record in records if record.failed]
    style = Html("\n".join(_asset(name) for name in _STYLES))
    script = Html(f'"use strict";\n(() => {{\n{"".join(_asset(name) for name in _SCRIPTS)}}})();\n')
    policy = {"http_equiv": "Content-Security-Policy", "content": _policy(style, script)}
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", **policy),
        element("meta", name="generator", content=f"tsdiff {__version__}"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", style),
    )
    body = element(
        "body",
        element("a", "Skip to the findings", href="#findings", class_="skip"),
        _navigation(groups, bool(failed)),
        element(
            "main",
            _heading(title, groups, records),
            _part("findings", "Findings", findings(groups, failed), *_overview(groups)),
            *(_comparison(position, group) for position, group in enumerate(groups)),
            _part("costs", "Costs", cost_table(groups)) if groups else None,
            _settings(groups, configuration),
            _part("failures", "Failures", failure_table(failed)) if failed else None,
            _part("reading", "How to read this", _reading()),
        ),
        element("footer", f"Made by tsdiff {__version__} from stored records alone."),
        element("script", script_json(chart_data(groups)), type="application/json", id="data"),
        element("script", script),
    )
    return "<!DOCTYPE html>\n" + element("html", head, "\n", body, lang="en") + "\n"


def _asset(name: str) -> str:
    place = files("tsdiff.benchmark.page") / "assets" / name
    return place.read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Nothing may be loaded, and of inline style and script only these."""

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; style-src 'sha256-{digest(style)}'; "
        f"script-src 'sha256-{digest(script)}'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _navigation(groups: Sequence[Group], failures: bool) -> Html:
    places = [("findings", "Findings")]
    places += [(group.anchor, group.title) for group in groups]
    places += [("costs", "Costs")] if groups else []
    places += [("settings", "Settings")]
    places += [("failures", "Failures")] if failures else []
    links = [element("li", element("a", text, href=f"#{anchor}")) for anchor, text in places]
    return element(
        "header",
        element("nav", element("ul", *links), aria_label="Sections"),
        element("button", "Dark", type="button", id="theme", hidden=True),
        class_="bar",
    )


def _heading(title: str, groups: Sequence[Group], records: Sequence[Record]) -> Html:
    pairs = [
        element("div", element("dt", name), element("dd", text))
        for name, text in facts(groups, records)
    ]
    return element(
        "section", element("h1", title), element("dl", *pairs, class_="facts"), class_="title"
    )


def _part(anchor: str, title: str, *children: Any) -> Html:
    heading = element("h2", title, id=f"{anchor}-heading")
    return element("section", heading, *children, id=anchor, aria_labelledby=f"{anchor}-heading")


def _overview(groups: Sequence[Group]) -> list[Html]:
    return [overview_table(groups)] if len(groups) > 1 else []


def _comparison(position: int, group: Group) -> Html:
    """The part of one data set under one protocol."""
    many = len(group.methods)
    return _part(
        group.anchor,
        group.title,
        element("p", finding(group), class_="lead"),
        element("div", score_table(group), data_choose_columns=True),
        notes_of(group),
        _chart(
            position,
            "differences",
            "Against the best baseline",
            "Relative difference of CRPS-sum with its 95 % interval, by a paired bootstrap over "
            "windows and seeds. Filled: the interval leaves out zero. Each interval stands on its "
            "own: of twenty methods that are no better, one may look so.",
        ),
        _chart(
            position,
            "fans",
            "Forecasts",
            "Quantiles of the first seed's forecasts, beside what happened. Point at a panel, or "
            "use the arrow keys, to read values.",
        ),
        _chart(
            position,
            "calibration",
            "Calibration",
            "Left: how often values fell into each tenth of their forecast, over what a calibrated "
            "forecast has (1); nine in ten of its bars would lie in the band. High ends: "
            "over-confident; a hump: too wide; a slope: biased. Right: how much central intervals "
            "covered; below the diagonal: over-confident. Points have nothing to calibrate.",
        ),
        _chart(
            position,
            "costs",
            "Cost and score",
            "Mean over seeds; bars are one standard deviation. Dashed: the best baseline.",
        )
        if many > 1
        else None,
    )


def _chart(position: int, kind: str, title: str, caption: str) -> Html:
    return element(
        "figure",
        element("h3", title),
        element("figcaption", caption),
        element("noscript", element("p", "This chart is drawn by a script.", class_="quiet")),
        data_chart=kind,
        data_group=position,
    )


def _settings(groups: Sequence[Group], configuration: Any) -> Html:
    block = None
    if configuration is not None:
        summary = element("summary", element("span", "Configuration", class_="name"))
        block = element("details", summary, configuration_block(configuration), class_="settings")
    about = (
        "As used, and as training found them; where they were chosen, how. Data sets on which they "
        "agree share a column; of several seeds, what differs is listed in their order."
    )
    return _part("settings", "Settings", element("p", about), settings_of_methods(groups), block)


def _reading() -> Html:
    terms = [
        element("div", element("dt", metric.label), element("dd", metric.meaning))
        for metric in METRICS.values()
        if not metric.name.endswith("_calibrated")
    ]
    notes = (
        "Literature: the test windows that papers use. Backtest: rolling windows before these. "
        "Ending: the last windows of all, these among them. "
        "The ± of several seeds is their standard deviation and contains the Monte-Carlo error of "
        "drawing so many samples. Neither says how much windows differ; the paired bootstrap does. "
        "The best method is picked by the score that is then printed, which flatters it a little."
    )
    return join([element("p", notes), element("dl", *terms, class_="terms")])
