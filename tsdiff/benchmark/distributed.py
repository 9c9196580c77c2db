"""Runs as tasks of Ray: on this machine, or on the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tsdiff.benchmark.plan import Job
from tsdiff.benchmark.record import Record
from tsdiff.benchmark.running import failure
from tsdiff.benchmark.schedule import threads_for
from tsdiff.benchmark.store import Store
from tsdiff.benchmark.worker import thread_variables

__all__ = ["over_ray"]


def over_ray(
    jobs: Iterable[Job],
    store: Store,
    *,
    workers: int | None = None,
    threads: int | None = None,
    address: str | None = None,
) -> Iterator[Record]:
    """Do jobs as tasks of Ray, on this machine or the cluster at ``address``.

    Every run gets a fresh process. Records come back to this machine, which alone needs the folder
    of the benchmark; data sets must be at hand on every node.

    Raises
    ------
    ImportError
        Ray isn't installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            "--ray needs Ray: pip install 'tsdiff[distributed]', or leave it out for processes of "
            "this machine alone"
        ) from error
    jobs = list(jobs)
    count = workers or 1
    threads = threads or (threads_for(count) if address is None else 1)
    options: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    if address is None:
        options |= {"num_cpus": count * threads, "include_dashboard": False}
    else:
        options |= {"address": address}
    started = not ray.is_initialized()
    if started:
        ray.init(**options)
    try:
        yield from _ray_tasks(ray, jobs, store, workers, threads)
    finally:
        if started:
            ray.shutdown()


def _ray_tasks(
    ray: Any, jobs: list[Job], store: Store, workers: int | None, threads: int
) -> Iterator[Record]:
    gpus = float(ray.cluster_resources().get("GPU", 0))
    share = min(1.0, gpus / workers) if workers else float(gpus > 0)
    waiting, running = jobs[::-1], {}
    most = workers or len(jobs)
    # A process for each run, whose peak of memory is that run's; none is tried twice by itself.
    options = {"num_cpus": threads, "max_calls": 1, "max_retries": 0}
    runtime = {"env_vars": thread_variables(threads)}
    while waiting or running:
        while waiting and len(running) < most:
            job = waiting.pop()
            task = ray.remote(**options)(_on_ray).options(
                num_gpus=share if job.estimator and job.accelerator != "cpu" else 0,
                runtime_env=runtime,
                name=job.digest[:12],  # Ray takes ASCII alone
            )
            running[task.remote(job.to_json())] = job
        (ready, *_), _ = ray.wait(list(running), num_returns=1)
        job = running.pop(ready)
        try:
            record = Record.from_json(ray.get(ready))
        except Exception as error:  # a process or a node that died
            record = failure(job, f"{type(error).__name__}: {error}")
        store.write(record)
        yield record


def _on_ray(text: bytes) -> bytes:
    """What a task of Ray does: job in, record out, both as JSON."""
    from tsdiff.benchmark.running import execute
    from tsdiff.benchmark.worker import quiet

    quiet()
    return execute(Job.from_json(text)).to_json()
