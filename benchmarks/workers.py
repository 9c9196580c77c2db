"""How much sooner two workers of Ray finish a benchmark than one, each computing with one thread.

A sweep of eight models of about a minute each, as most of the default benchmark's are, in fresh
processes. Ray's own start and end count, and so do imports, 4 s of each run: with ``--epochs 6``,
runs of a quarter of a minute, two workers are 1.5 times as fast in place of 1.8. Needs two idle
cores: the load average is printed, and where others compute meanwhile the ratio says nothing.

    python benchmarks/workers.py
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tsdiff.benchmark.configuration import Configuration
from tsdiff.benchmark.machine import cores
from tsdiff.benchmark.plan import make_plan
from tsdiff.benchmark.session import Session, Workers

TEXT = """
seeds = {seeds}
num_samples = 50
likelihood = false

[budget]
max_epochs = {epochs}

[[datasets]]
name = "walk"
protocols = ["literature"]
synthetic = {{ dimensions = 4, length = 2000, num_test_windows = 7, prediction_length = 24 }}

[models."flow matching"]
estimator = "FlowMatchingEstimator"
patience = 1000
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--local", action="store_true", help="processes without Ray")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "workers.toml")
        path.write_text(
            TEXT.format(seeds=list(range(arguments.runs)), epochs=arguments.epochs), "utf-8"
        )
        plan = make_plan(Configuration.read(path), accelerator="cpu")
        plan = replace(plan, jobs=tuple(job for job in plan.jobs if job.kind == "model"))
        print(f"{len(plan.jobs)} runs, {cores()} cores")
        print("| workers | seconds | of CPU, per run | load before and after |")
        print("|--:|--:|--:|--:|")
        taken, scores = {}, []
        for workers in arguments.workers:
            session = Session(plan, Path(folder, str(workers)))
            before, began = os.getloadavg()[0], time.perf_counter()
            records = list(session.run(Workers(workers, 1, ray=not arguments.local)))
            taken[workers] = time.perf_counter() - began
            for record in records:
                if record.error is not None:
                    raise SystemExit(f"{record.key}: {record.error}")
            cpu = sum(record.costs.cpu_seconds for record in records) / len(records)
            loads = f"{before:.1f}, {os.getloadavg()[0]:.1f}"
            print(f"| {workers} | {taken[workers]:.1f} | {cpu:.1f} | {loads} |", flush=True)
            scores.append([record.result() for record in session.records()])
        assert all(found == scores[0] for found in scores), "workers must not change results"
        first, *others = arguments.workers
        for workers in others:
            print(f"{workers} workers: {taken[first] / taken[workers]:.2f} times as fast")


if __name__ == "__main__":
    main()
