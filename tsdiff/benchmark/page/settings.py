"""With which settings each method ran, how they were chosen, and on which machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from tsdiff.benchmark.page.groups import Group, Method
from tsdiff.benchmark.page.markup import Html, element, join
from tsdiff.benchmark.record import Record
from tsdiff.benchmark.tables import commits

__all__ = ["configuration_block", "facts", "settings_of_methods"]


def settings_of_methods(groups: Sequence[Group]) -> Html:
    """For each method a table: a row for each setting, a column for each set of values it had."""
    methods: dict[str, list[tuple[Group, Method]]] = {}
    for group in groups:
        for method in group.methods:
            methods.setdefault(method.name, []).append((group, method))
    ordered = sorted(methods.values(), key=lambda found: not found[0][1].is_model)
    return join(_of_method(found) for found in ordered)


def _of_method(found: Sequence[tuple[Group, Method]]) -> Html:
    """A fold: data sets on which the settings agree share a column."""
    columns: list[tuple[list[str], dict[str, str]]] = []
    for group, method in found:
        values = _values(method)
        for titles, known in columns:
            if known == values:
                titles.append(group.title)
                break
        else:
            columns.append(([group.title], values))
    names = dict.fromkeys(name for _, values in columns for name in values)
    head = element(
        "tr",
        element("th", "Setting", scope="col"),
        *(element("th", "; ".join(titles), scope="col") for titles, _ in columns),
    )
    rows = [
        element(
            "tr",
            element("th", element("code", name), scope="row"),
            *(element("td", values.get(name, "–")) for _, values in columns),
        )
        for name in names
    ]
    method = found[0][1]
    estimator = method.records[0].settings.get("estimator", "")
    caption = element("caption", f"Settings of {method.name}")
    content = element("table", caption, element("thead", head), element("tbody", *rows))
    return element(
        "details",
        element(
            "summary",
            element("span", method.name, class_="name"),
            " ",
            element("span", estimator, class_="quiet"),
        ),
        element("div", content, class_="scroll", tabindex="0"),
        class_="settings",
    )


def _values(method: Method) -> dict[str, str]:
    """Settings of the first seed but the seed itself, and what training found for each seed."""
    settings = _flat(method.records[0].settings)
    values = {k: v for k, v in settings.items() if k not in ("estimator", "parameters.seed")}
    for name in ("decoding", "scaling", "linear", "epochs", "best_epoch"):
        found = [r.training[name] for r in method.records if name in r.training]
        if found:
            same = all(value == found[0] for value in found)
            shown = found[:1] if same else found
            values[f"training.{name}"] = ", ".join(_text(value) for value in shown)
    return values


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings by dotted names."""
    flat: dict[str, str] = {}
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        elif not (isinstance(value, Mapping) or value is None):
            flat[f"{prefix}{name}"] = _text(value)
    return flat


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def facts(groups: Sequence[Group], records: Sequence[Record]) -> list[tuple[str, str]]:
    """What was run, when and on what: the lines of the heading."""
    methods = {m.name: m.is_model for group in groups for m in group.methods}
    models = sum(methods.values())
    seeds = sorted({record.key.seed for record in records})
    windows: dict[str, list[str]] = {}
    for group in groups:
        size = f"{group.protocol} {group.size.num_windows} × {group.size.prediction_length} steps"
        windows.setdefault(group.dataset, []).append(size)
    days = sorted(t[:10] for r in records for t in (r.started, r.finished) if t)
    hours = sum(c for r in records if (c := r.costs.cpu_seconds) == c) / 3600
    spent = f", {hours:.1f} CPU hours" if hours >= 0.05 else ""
    machines = [record.machine for record in records if record.machine is not None]
    versions: dict[str, dict[str, None]] = {}
    for machine in machines:
        for name, version in machine.versions.items():
            versions.setdefault(name, {})[version] = None
    lines = [
        ("Data sets", ", ".join(dict.fromkeys(group.dataset for group in groups))),
        ("Methods", f"{models} models, {len(methods) - models} baselines"),
        ("Seeds", ", ".join(map(str, seeds))),
        ("Windows", "; ".join(f"{name}: {', '.join(sizes)}" for name, sizes in windows.items())),
        ("Runs", f"{len(records)}{spent}"),
        ("Date", days[0] if days and days[0] == days[-1] else " to ".join(days[:1] + days[-1:])),
        ("Hardware", "; ".join(dict.fromkeys(map(_hardware, machines)))),
        ("Versions", ", ".join(f"{k} {' / '.join(v)}" for k, v in versions.items())),
        ("Commit", ", ".join(commits(records))),
    ]
    return [(name, text) for name, text in lines if text]


def _hardware(machine: Any) -> str:
    memory = f", {machine.memory / 2**30:.0f} GiB" if machine.memory else ""
    gpu = f", {machine.accelerator}" if machine.accelerator else ""
    threads = f"{machine.threads} thread" + "s" * (machine.threads != 1)
    return f"{machine.cpu}, {threads} of {machine.cores} cores{memory}{gpu}, {machine.system}"


def configuration_block(configuration: Any) -> Html:
    """The configuration that gives this benchmark again, as text or as JSON."""
    if is_dataclass(configuration) and not isinstance(configuration, type):
        configuration = asdict(configuration)
    if not isinstance(configuration, str):
        configuration = json.dumps(configuration, indent=2, ensure_ascii=False, default=str)
    return element("pre", element("code", configuration), tabindex="0")
