"""What computes: processor, memory, versions, and how much of it a process has used."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from tsdiff._version import __version__
from tsdiff.benchmark.record import Machine

__all__ = ["cores", "describe", "peak_memory", "versions"]

_PACKAGE = Path(__file__).parents[1]


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Versions of what results depend on."""
    packages = {name: metadata.version(name) for name in ("torch", "numpy", "gluonts")}
    return {"python": platform.python_version(), "tsdiff": __version__, **packages}


def describe(accelerator: str = "") -> Machine:
    """This machine, as this process sees it."""
    import torch

    return Machine(
        cpu=_cpu(),
        cores=cores(),
        threads=torch.get_num_threads(),
        memory=_memory(),
        accelerator=torch.cuda.get_device_name() if accelerator == "cuda" else "",
        system=f"{platform.system()} {platform.machine()}",
        versions=versions(),
        commit=_commit(),
    )


def peak_memory() -> int | None:
    """Largest resident memory of this process so far, bytes; None where the system doesn't say.

    Linux hands on the maximum of ``getrusage`` from a parent to the program it starts, so that a
    small run would seem as large as what started it: there the process' own mark is read.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        if found := re.search(r"^VmHWM:\s+(\d+) kB", status, flags=re.MULTILINE):
            return 1024 * int(found[1])
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        if found := re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE):
            return found[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _commit() -> str:
    """Commit of the repository that holds this package; ends in ``+`` if its files differ."""
    try:
        # A package that is merely installed somewhere below a repository is not part of it.
        _git("ls-files", "--error-unmatch", "__init__.py")
        return _git("rev-parse", "HEAD") + "+" * bool(_git("status", "--porcelain", "."))
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_PACKAGE), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()
