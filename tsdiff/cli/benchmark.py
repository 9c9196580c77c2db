"""``tsdiff benchmark``: every model on every data set, from one configuration."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tsdiff.cli.screen import Screen

if TYPE_CHECKING:
    from tsdiff.benchmark.plan import Plan
    from tsdiff.benchmark.record import Record
    from tsdiff.benchmark.session import Session, Workers


def benchmark(
    ctx: typer.Context,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Where records and tables are kept.",
            show_default=False,
        ),
    ],
    configuration: Annotated[
        str | None,
        typer.Argument(
            metavar="[CONFIG]",
            help="A TOML file, or one of: default, quick, wide, ablation. By default what OUTPUT "
            "was made with, or else default.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Only this data set, protocol or method; repeatable. Naive baselines stay.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Runs at once; 1 by default.", show_default=False),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Threads of each run; by default cores / workers.",
            show_default=False,
        ),
    ] = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="Let Ray do the runs (pip install tsdiff\\[distributed]).")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address of a Ray cluster, or auto; implies --ray.",
            show_default=False,
        ),
    ] = None,
    accelerator: Annotated[
        Literal["auto", "cpu", "gpu"],
        typer.Option(help="Where models are trained and drawn from."),
    ] = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List runs and what is stored; do nothing.")
    ] = False,
    report_only: Annotated[
        bool,
        typer.Option(
            "--report-only",
            help="Write tables of the last stored records, whatever machine or version made "
            "them; run nothing.",
        ),
    ] = False,
    markdown_file: Annotated[
        Path | None,
        typer.Option(
            "--markdown", metavar="FILE", help="Write the tables here, too.", show_default=False
        ),
    ] = None,
) -> None:
    """Train and score every model of a configuration, beside baselines, over seeds.

    Each run is kept in OUTPUT/runs as soon as it ends: a benchmark that was
    stopped, however, goes on where it was when it is started again. Then
    table.md, scores.csv and a report are written.

    \b
    Examples:
      tsdiff benchmark quick --output out
      tsdiff benchmark default --output out --workers 2
      tsdiff benchmark --output out --only exchange_rate --only VSDM --dry-run
      tsdiff benchmark --output out --report-only --markdown scores.md
    """
    screen: Screen = ctx.obj
    with screen.working("Reading the configuration and the data ..."):
        from tsdiff.benchmark.configuration import Configuration
        from tsdiff.benchmark.plan import Plan, make_plan
        from tsdiff.benchmark.session import CONFIGURATION, Session, Workers

        kept = output / CONFIGURATION
        source = configuration or (str(kept) if kept.is_file() else "default")
        found = Configuration.read(source)
        plan = (
            Plan(()) if report_only else make_plan(found, accelerator=accelerator, only=only or ())
        )
    for note in plan.skipped:
        screen.warning(note)
    session = Session(plan, output)
    if dry_run:
        screen.result(_listing(plan, session))
        return
    if not report_only:
        session.keep_configuration(source)
        _run(session, Workers(workers, threads, ray or address is not None, address), screen)
    records = session.latest(found) if report_only else session.records()
    if not records:
        raise ValueError(f"{output} holds no record of this benchmark: there is nothing to report")
    with screen.working("Writing tables ..."):
        written = session.write_tables(found, records)
    table = (output / "table.md").read_text(encoding="utf-8")
    if markdown_file is not None:
        markdown_file.write_text(table, encoding="utf-8")
        written.append(markdown_file)
    screen.result(table.rstrip())
    screen.note("Written: " + ", ".join(str(path) for path in written))


def _run(session: Session, workers: Workers, screen: Screen) -> None:
    """Do what is left, and tell of each run."""
    left = session.pending()
    total = len(session.plan.jobs)
    screen.note(f"{total} runs, {total - len(left)} of them stored")
    began = time.monotonic()
    failed = 0
    with screen.working("Running ..."):
        for number, record in enumerate(session.run(workers), 1):
            failed += record.failed
            # Long runs come first, so that this errs on the safe side.
            remaining = (time.monotonic() - began) / number * (len(left) - number)
            screen.note(f"[{number}/{len(left)}, {_duration(remaining)} left] {_line(record)}")
    if failed:
        screen.warning(
            f"{failed} run{'s' * (failed != 1)} failed: the table says why, and the next start "
            "tries again"
        )


def _line(record: Record) -> str:
    if record.evaluation is None:
        return f"{record.key}: failed, {record.error}"
    score = record.evaluation["crps_sum_q19"]
    return f"{record.key}: CRPS-sum {score}, {_duration(record.costs.cpu_seconds)} of CPU"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _listing(plan: Plan, session: Session) -> str:
    """A line for each run: its name, and whether there is a record."""
    stored = session.stored()

    def state(key: object) -> str:
        record = stored.get(key)  # type: ignore[arg-type]
        return "to do" if record is None else "failed" if record.failed else "stored"

    lines = [f"{state(job.key):7}{job.key}" for job in plan.jobs]
    done = sum(not record.failed for record in stored.values())
    return "\n".join([*lines, "", f"{len(plan.jobs)} runs, {done} of them stored"])
