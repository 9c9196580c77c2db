"""A process that does one run: ``python -m tsdiff.benchmark.worker OUTPUT``, the job on its input.

A process of its own gives each run its own peak of memory, and lets the system end one that takes
too much without ending the benchmark. It ends with the one that started it: its input is kept
open, and closes when that one dies, however it dies.
"""

from __future__ import annotations

import os
import sys
import threading

from tsdiff.benchmark.plan import Job
from tsdiff.benchmark.running import execute
from tsdiff.benchmark.store import Store

__all__ = ["main", "quiet", "thread_variables"]

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def thread_variables(threads: int) -> dict[str, str]:
    """What to put in the environment of a process that shall compute with so many threads."""
    return dict.fromkeys(_THREADS, str(threads))


def main() -> None:
    """Read a job, do it, keep its record."""
    job = Job.from_json(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    quiet()
    Store(sys.argv[1]).write(execute(job))


def quiet() -> None:
    """Libraries' advice is not for the user of a benchmark."""
    import warnings

    warnings.simplefilter("ignore")


def _end_with_parent() -> None:
    # Not through the buffered stream, whose lock would be held when the interpreter ends.
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
