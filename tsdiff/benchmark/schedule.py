"""Who does which run when: longest first, so many at once, each in a fresh process.

A record is given as soon as a run has ended, whether well, in an error or with the end of its
process. :mod:`tsdiff.benchmark.distributed` does the same with Ray.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO

from tsdiff.benchmark.machine import cores
from tsdiff.benchmark.plan import Job
from tsdiff.benchmark.record import Key, Record
from tsdiff.benchmark.running import failure
from tsdiff.benchmark.store import Store
from tsdiff.benchmark.worker import thread_variables

__all__ = ["local", "longest_first", "threads_for"]

COMMAND = [sys.executable, "-m", "tsdiff.benchmark.worker"]
_PAUSE = 0.05  # seconds between looks at the processes
_TAIL = 4000  # of what a dead process has said


def threads_for(workers: int) -> int:
    """Threads of each of so many workers on this machine."""
    return max(1, cores() // workers)


def longest_first(jobs: Iterable[Job], seconds: Mapping[Key, float] | None = None) -> list[Job]:
    """Jobs in the order to be started, so that no long one is left for the end.

    ``seconds`` are those that other runs took: a run is expected to take as long as those of the
    same method on the same task, or else by its rough weight.
    """
    by_method: dict[tuple[str, str, str], float] = {}
    for key, value in (seconds or {}).items():
        place = (key.dataset, key.protocol, key.method)
        by_method[place] = max(value, by_method.get(place, 0.0))

    def expected(job: Job) -> tuple[bool, float]:
        place = (job.key.dataset, job.key.protocol, job.key.method)
        known = by_method.get(place)
        # What is unknown starts first: it may turn out long.
        return (known is None, job.weight if known is None else known)

    return sorted(jobs, key=expected, reverse=True)


@dataclass
class _Running:
    """A job and the process that does it."""

    job: Job
    process: subprocess.Popen[bytes]
    said: IO[bytes]

    def ending(self) -> str:
        """What the process said last, and how it ended."""
        self.said.seek(0)
        text = self.said.read()[-_TAIL:].decode(errors="replace").strip()
        code = self.process.returncode
        how = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        hint = " (out of memory?)" if code == -9 else ""
        last = text.splitlines()[-1] if text else ""
        return f"the process of this run {how}{hint}{': ' if last else ''}{last}"


def local(
    jobs: Iterable[Job], store: Store, *, workers: int = 1, threads: int | None = None
) -> Iterator[Record]:
    """Do jobs in processes of this machine, ``workers`` at once; their records are stored.

    Processes still running are ended when the iteration is left, by an interrupt, say.
    """
    waiting = list(jobs)[::-1]
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_start(waiting.pop(), store, threads or threads_for(workers)))
            ended = [one for one in running if one.process.poll() is not None]
            for one in ended:
                running.remove(one)
                yield _collected(one, store)
            if not ended:
                time.sleep(_PAUSE)
    finally:
        for one in running:
            one.process.kill()
        for one in running:
            one.process.wait()
            _close(one)


def _start(job: Job, store: Store, threads: int) -> _Running:
    said = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the process has ended)
    process = subprocess.Popen(
        [*COMMAND, str(store.output)],
        stdin=subprocess.PIPE,
        stdout=said,
        stderr=said,
        env={**os.environ, **thread_variables(threads)},
        # An interrupt from the keyboard is for this process, which ends the others.
        start_new_session=True,
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has died already, and how will be told
        process.stdin.write(job.to_json() + b"\n")
        process.stdin.flush()
    return _Running(job, process, said)


def _collected(one: _Running, store: Store) -> Record:
    """The record that a process has left, or one that says how it died."""
    job = one.job
    record = store.read(job.key, job.digest) if one.process.returncode == 0 else None
    if record is None:
        record = failure(job, one.ending())
        store.write(record)
    _close(one)
    return record


def _close(one: _Running) -> None:
    one.said.close()
    if one.process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            one.process.stdin.close()
