"""Fixtures shared by the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Side by side, a process per core: each computes with one thread. Before PyTorch is imported.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")


@pytest.fixture(scope="session")
def archive_mirror() -> Path:
    """Folder with the literature's archives; tests that need them skip where there is none."""
    mirror = os.environ.get("TSDIFF_MIRROR")
    if not mirror or not Path(mirror).is_dir():
        pytest.skip("set TSDIFF_MIRROR to a folder with the real archives to run this test")
    return Path(mirror)
