"""Runs: the same bits anywhere, in any order, killed or not; and what becomes of failures."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.benchmark import small
from tsdiff.benchmark import Costs, Key, Store, running, schedule
from tsdiff.benchmark.configuration import Budget, Configuration
from tsdiff.benchmark.machine import peak_memory
from tsdiff.benchmark.plan import make_plan
from tsdiff.benchmark.running import execute
from tsdiff.benchmark.schedule import local, longest_first, threads_for
from tsdiff.benchmark.session import Session, Workers


@pytest.fixture(scope="module")
def configuration(tmp_path_factory):
    return small.read(tmp_path_factory.mktemp("configuration"))


@pytest.fixture(scope="module")
def plan(configuration):
    return make_plan(configuration, accelerator="cpu")


@pytest.fixture(scope="module")
def records(plan):
    """Every run, done in this process, the last first."""
    return {job.key: execute(job) for job in reversed(plan.jobs)}


def test_a_model_leaves_a_whole_record(records):
    record = records[Key("small", "literature", "flow", 0)]
    assert record.error is None, record.trace
    assert record.costs.evaluations_per_step == 12.0
    assert record.costs.parameters > 1000
    assert record.costs.training_seconds > 0
    assert 0 < record.costs.sampling_seconds < 60
    assert record.costs.peak_memory > 50e6
    assert record.training["epochs"] == 1
    assert record.settings["parameters"]["hidden_size"] == 8
    assert record.settings["chosen"] == "by nobody"
    assert np.isfinite(record.evaluation["nll"].value)
    assert record.machine.versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    # Two dimensions and the sum, three windows of six steps.
    assert len(record.fans) == 3 * 3
    assert {fan.label for fan in record.fans} == {"sum", "0", "1"}
    assert all(len(fan.past) == 12 and len(fan.truth) == 6 for fan in record.fans)
    for fan in record.fans:
        assert (np.diff([fan.quantiles[level] for level in fan.quantiles], axis=0) >= 0).all()
    assert sum(record.pit_counts) == pytest.approx(3 * 6 * 2, abs=0.02)
    assert sum(record.pit_counts_sum) == pytest.approx(3 * 6, abs=0.02)
    assert len(record.to_json()) < 60_000


def test_baselines_need_no_training_and_points_have_no_density(records):
    record = records[Key("small", "literature", "last value", 0)]
    assert np.isnan(record.costs.training_seconds)
    assert record.costs.parameters is None
    assert np.isnan(record.evaluation["nll"].value)
    assert "no log_prob" in record.notes[0]
    walk = records[Key("small", "literature", "random walk", 0)]
    assert np.isfinite(walk.evaluation["nll"].value)
    mean = np.mean(list(walk.crps_per_dimension.values()))
    assert mean == pytest.approx(walk.evaluation["crps"].value)


def test_histograms_count_where_values_fell():
    from tsdiff.benchmark.excerpts import pit_counts
    from tsdiff.evaluation import LastValue, evaluate

    entry = {"target": np.arange(20.0)[None], "start": pd.Period("2024", "D")}
    points = evaluate(LastValue(4), [entry], num_samples=19, keep_forecasts=True)
    counts = pit_counts(points, 4)
    assert counts == (0.0,) * 19 + (4.0,)  # all values are above all samples


def test_a_benchmark_killed_at_any_moment_ends_as_if_it_had_not_been(
    plan, records, configuration, tmp_path
):
    folder = tmp_path / "out"
    threads = torch.get_num_threads()
    command = [
        *(sys.executable, "-m", "tsdiff", "benchmark", small.write(tmp_path)),
        *("--output", folder, "--accelerator", "cpu", "--threads", str(threads)),
    ]
    number, delay = random.randrange(3), random.uniform(0, 2)
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    store = Store(folder)
    deadline = time.monotonic() + 120
    while len(list(store.folder.glob("*.json"))) < number and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # The process of its run ends with it.
    while _has_workers(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _has_workers(folder)
    before = {path: path.stat().st_mtime_ns for path in store.folder.glob("*.json")}
    assert len(before) >= number
    left = f".{next(iter(plan.jobs)).digest}.1-a.part"
    store.folder.mkdir(parents=True, exist_ok=True)
    (store.folder / left).write_bytes(b"{")

    session = Session(plan, folder)
    pending = {job.key for job in session.pending()}
    assert len(pending) == len(plan.jobs) - len(before)
    done = [record.key for record in session.run(Workers(1, threads))]
    assert set(done) == pending
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())
    assert not list(store.folder.glob(".*"))

    for record in session.records():
        assert record.error is None, record.trace
        assert record.result() == records[record.key].result(), (record.key, number, delay)
    whole = Session(plan, tmp_path / "whole")
    for record in records.values():
        whole.store.write(record)
    names = ("table.md", "scores.csv", "scores.json")
    session.write_tables(configuration)
    whole.write_tables(configuration)
    for name in names:
        assert (folder / name).read_text() == (tmp_path / "whole" / name).read_text()
    # What is shown without a plan, as on another machine, is the same.
    assert [r.key for r in session.latest(configuration)] == [r.key for r in session.records()]


@pytest.mark.parametrize(
    "change", ["prediction_length = 5", 'prediction_length = 7\ntarget_column = "north"']
)
def test_the_latest_records_are_of_one_kind_of_window(change, tmp_path):
    """Else a report without a plan would hold against each other what can't be compared."""
    before = Configuration.read(small.write_own(tmp_path))
    session = Session(make_plan(before), tmp_path / "out")
    for job in session.plan.jobs:
        session.store.write(execute(job))
    assert len(session.latest(before)) == len(session.plan.jobs)
    text = small.OWN.replace("prediction_length = 7", change)
    after = Configuration.read(small.write_own(tmp_path, text))
    newest = execute(make_plan(after).jobs[0])
    session.store.write(replace(newest, finished="2999-01-01T00:00:00+00:00"))
    found = session.latest(after)
    assert [record.digest for record in found] == [newest.digest]
    session.write_tables(after, found)


def _has_workers(folder):
    """Whether a process of this machine works for a folder; unknown, so no, without ``/proc``."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in path.read_bytes():
                return True
    return False


def test_seconds_end_a_training(plan):
    patient = {**plan.jobs[-1].parameters, "patience": 10_000}
    job = replace(plan.jobs[-1], budget=Budget(10_000, max_seconds=1.0), parameters=patient)
    record = execute(job)
    assert record.error is None, record.trace
    assert 1 <= record.training["epochs"] < 10_000
    assert record.settings["budget"]["max_seconds"] == 1.0


def test_a_dead_process_is_a_failed_run_that_is_tried_again(plan, tmp_path, monkeypatch):
    suicide = "import os, sys; print('so long', flush=True); os.kill(os.getpid(), 9)"
    monkeypatch.setattr(schedule, "COMMAND", [sys.executable, "-c", suicide])
    session = Session(replace(plan, jobs=plan.jobs[:2]), tmp_path)
    found = list(session.run(Workers(2)))
    assert [record.failed for record in found] == [True, True]
    assert "ended by signal 9 (out of memory?): so long" in found[0].error
    assert [record.error for record in session.records()] == [record.error for record in found]
    assert len(session.pending()) == 2
    session.store.write(execute(plan.jobs[0]))
    assert [job.key for job in session.pending()] == [plan.jobs[1].key]


def test_processes_end_when_the_benchmark_is_left(plan, tmp_path, monkeypatch):
    pids = tmp_path / "pids"
    wait = f"import os, time; open({str(pids)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    monkeypatch.setattr(schedule, "COMMAND", [sys.executable, "-c", wait])
    ended = local(plan.jobs[:1], Store(tmp_path))
    pause = schedule.time.sleep

    def interrupt(seconds):
        if pids.exists() and pids.read_text():
            raise KeyboardInterrupt
        pause(seconds)

    monkeypatch.setattr(schedule.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(ended)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pids.read_text()), 0)


def test_data_whose_covariates_are_known_in_advance(plan, monkeypatch):
    def with_covariates(spec, protocol):
        task = load(spec, protocol)

        def extended(entry):
            return {**entry, "feat_dynamic_real": np.ones((1, entry["target"].shape[1]))}

        return replace(
            task, train=[*map(extended, task.train)], windows=[*map(extended, task.windows)]
        )

    load = running.load
    monkeypatch.setattr(running, "load", with_covariates)
    job = next(job for job in plan.jobs if job.key.method == "flow")
    record = execute(job)
    assert record.error is None, record.trace


def test_an_error_in_a_run_is_its_record(plan, monkeypatch):
    def broken(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(running, "load", broken)
    record = execute(plan.jobs[-1])
    assert record.failed
    assert record.error == "MemoryError: no room"
    assert "in broken" in record.trace
    assert record.settings["given"]["hidden_size"] == 8


def test_a_gpu_that_is_not_there_is_told(plan):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    record = execute(replace(plan.jobs[-1], accelerator="gpu"))
    assert record.error == (
        "RuntimeError: accelerator 'gpu': PyTorch sees no CUDA device here; use 'cpu'"
    )


def test_long_runs_start_first(plan):
    by_weight = longest_first(plan.jobs)
    assert by_weight[0].kind == "model"
    seconds = {job.key: float(number) for number, job in enumerate(plan.jobs)}
    del seconds[plan.jobs[1].key]
    order = longest_first(plan.jobs, seconds)
    # What nobody knows first, then the longest.
    assert [plan.jobs.index(job) for job in order] == [1, 3, 2, 0]


def test_threads_share_the_cores(monkeypatch):
    monkeypatch.setattr(schedule, "cores", lambda: 8)
    assert [threads_for(workers) for workers in (1, 2, 3, 16)] == [8, 4, 2, 1]


def test_peak_memory_is_in_bytes():
    before = peak_memory()
    block = np.ones(25_000_000)  # 200 MB, touched
    assert peak_memory() >= min(before, block.nbytes)
    assert peak_memory() > 190e6
    assert Costs().peak_memory is None


def test_ray_does_the_same(plan, records, tmp_path):
    ray = pytest.importorskip("ray")
    session = Session(replace(plan, jobs=plan.jobs[-1:]), tmp_path)
    found = list(session.run(Workers(1, torch.get_num_threads(), ray=True)))
    assert not ray.is_initialized()
    assert len(found) == 1
    for record in session.records():
        assert record.error is None, record.trace
        assert record.result() == records[record.key].result()


def test_an_ensemble_is_scored_with_what_all_its_members_cost(tmp_path, records):
    given = small.read(tmp_path, ('chosen = "by nobody"', "num_members = 3"))
    (job,) = (job for job in make_plan(given, accelerator="cpu").jobs if job.kind == "model")
    single = records[Key("small", "literature", "flow", 0)]
    assert job.digest != single.digest
    record = execute(type(job).from_json(job.to_json()))
    assert record.error is None, record.trace
    assert record.costs.parameters == 3 * single.costs.parameters
    assert record.costs.evaluations_per_step == single.costs.evaluations_per_step
    assert record.settings["num_members"] == 3
    assert record.settings["parameters"]["seed"] == 0
    assert len(record.training["members"]) == 2
    assert np.isfinite(record.evaluation["nll"].value)
    assert record.evaluation["crps_sum"].value != single.evaluation["crps_sum"].value
