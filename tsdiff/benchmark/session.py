"""A benchmark in a folder: what is stored, what is left to do, and the tables of it all.

``OUTPUT/runs/``, a record each; of them ``table.md``, ``scores.csv``, ``scores.json``,
``costs.csv``, ``costs.md`` and ``report.html``; ``configuration.toml``, what they are records of.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tsdiff.benchmark import tables
from tsdiff.benchmark.configuration import (
    BASELINES,
    Configuration,
    text_to_keep,
    without_folder,
)
from tsdiff.benchmark.data import PROTOCOLS
from tsdiff.benchmark.plan import MODEL, Job, Plan, baselines_of
from tsdiff.benchmark.record import Key, Record
from tsdiff.benchmark.report import report_html
from tsdiff.benchmark.schedule import local, longest_first
from tsdiff.benchmark.store import Store
from tsdiff.evaluation import compare

__all__ = ["Session", "Workers"]

CONFIGURATION = "configuration.toml"


@dataclass(frozen=True)
class Workers:
    """Who does the runs: so many processes, or tasks of Ray, here or on a cluster."""

    count: int | None = None
    threads: int | None = None
    ray: bool = False
    address: str | None = None

    def run(self, jobs: list[Job], store: Store) -> Iterator[Record]:
        """Do jobs in that order; records as they come."""
        if self.ray:
            from tsdiff.benchmark.distributed import over_ray

            yield from over_ray(
                jobs, store, workers=self.count, threads=self.threads, address=self.address
            )
        else:
            yield from local(jobs, store, workers=self.count or 1, threads=self.threads)


class Session:
    """The runs of a plan, and the folder that keeps their records."""

    def __init__(self, plan: Plan, output: str | Path) -> None:
        self.plan, self.output, self.store = plan, Path(output), Store(output)

    def stored(self) -> dict[Key, Record]:
        """Records of the plan's runs that are there, failed ones too."""
        found = ((job, self.store.read(job.key, job.digest)) for job in self.plan.jobs)
        return {job.key: record for job, record in found if record is not None}

    def pending(self) -> list[Job]:
        """Runs without a result, longest first."""
        stored = self.stored()
        # What another setting took, even, says more than nothing.
        seconds = {record.key: record.costs.cpu_seconds for record in self.store}
        left = [j for j in self.plan.jobs if j.key not in stored or stored[j.key].failed]
        return longest_first(left, {k: s for k, s in seconds.items() if s == s})

    def run(self, workers: Workers) -> Iterator[Record]:
        """Do what is left; records as they come. Files of killed writers are removed first."""
        self.store.clean()
        yield from workers.run(self.pending(), self.store)

    def records(self) -> list[Record]:
        """What is stored of the plan, in its order, as it was read from the files."""
        stored = self.stored()
        return [stored[job.key] for job in self.plan.jobs if job.key in stored]

    def latest(self, configuration: Configuration) -> list[Record]:
        """The last record of each run of a configuration, whatever machine or version made it.

        Runs on other windows than those of the last one on the same data are left out, of another
        length or with other dimensions, and on another version of a file.
        """
        last: dict[Key, Record] = {}
        for record in sorted(self.store, key=lambda record: record.finished):
            if _belongs(record, configuration):
                last[record.key] = record
        newest = {
            (r.key.dataset, r.key.protocol): r
            for r in sorted(last.values(), key=lambda r: r.finished)
            if r.evaluation is not None
        }
        return sorted(
            (
                r
                for r in last.values()
                if r.evaluation is None or _alike(r, newest[r.key.dataset, r.key.protocol])
            ),
            key=lambda record: _place(record, configuration),
        )

    def keep_configuration(self, source: str | Path) -> None:
        """Copy the configuration's file beside the records, with what its paths start from."""
        self._write(CONFIGURATION, text_to_keep(source))

    def write_tables(
        self, configuration: Configuration, records: list[Record] | None = None
    ) -> list[Path]:
        """Write what the module names, of these records or of what is stored of the plan."""
        records = self.records() if records is None else records
        texts = {
            "table.md": tables.markdown(
                records, title=configuration.title, against=configuration.against
            ),
            "scores.csv": tables.scores_csv(records),
            "scores.json": tables.scores_json(records),
            "costs.csv": tables.costs_csv(records),
            "costs.md": tables.costs_markdown(records, title=f"Costs: {configuration.title}"),
        }
        if records:
            texts["report.html"] = report_html(
                records, title=configuration.title, configuration=self._said(configuration)
            )
        return [self._write(name, text) for name, text in texts.items()]

    def _said(self, configuration: Configuration) -> str | Configuration:
        """The text of the configuration where it is the one that is kept, or what was read."""
        kept = self.output / CONFIGURATION
        if not kept.is_file():
            return configuration
        same = replace(Configuration.read(kept), source=configuration.source) == configuration
        return without_folder(kept.read_text(encoding="utf-8")) if same else configuration

    def _write(self, name: str, text: str) -> Path:
        self.output.mkdir(parents=True, exist_ok=True)
        path, part = self.output / name, self.output / f".{name}.{os.getpid()}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(path)
        return path


def _alike(one: Record, other: Record) -> bool:
    """Whether two were scored on the same windows, of one version of a file."""
    if _file(one) != _file(other):
        return False
    try:
        compare(r.evaluation for r in (one, other) if r.evaluation is not None)
    except ValueError:
        return False
    return True


def _file(record: Record) -> str:
    """The hash of the file that windows are from, or nothing."""
    table = record.settings.get("dataset", {}).get("table") or {}
    return table.get("sha256", "")


def _belongs(record: Record, configuration: Configuration) -> bool:
    """Whether it is of a run that the configuration names."""
    key = record.key
    for spec in configuration.datasets:
        if spec.name == key.dataset and key.protocol in spec.protocols:
            if key.seed not in configuration.seeds:
                return False
            if record.kind == MODEL:
                return key.method in {model.name for model in configuration.models}
            return record.kind in configuration.baselines_on(spec)
    return False


def _place(record: Record, configuration: Configuration) -> tuple[int, ...]:
    """Where it stands in tables: by data set, protocol, kind, method and seed."""
    key = record.key
    known = [model.name for model in configuration.models]
    if record.kind != MODEL:
        known = list(baselines_of("h", 1, BASELINES))  # an hourly season has them all
    return (
        [spec.name for spec in configuration.datasets].index(key.dataset),
        PROTOCOLS.index(key.protocol),
        (*BASELINES, MODEL).index(record.kind),
        known.index(key.method) if key.method in known else len(known),
        key.seed,
    )
