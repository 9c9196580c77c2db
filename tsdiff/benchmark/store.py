"""Records as files: one for each run, whole or not there.

``OUTPUT/runs/<data set>.<protocol>.<method>.<seed>-<digest>.json``. A record is written under a
temporary name and renamed, so that a benchmark which is killed leaves nothing half written. Records
of other settings carry other digests: they stay, and are no part of this benchmark's table.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from tsdiff.benchmark.record import Key, Record, RecordError

__all__ = ["Store"]

RUNS = "runs"
_TEMPORARY = ".part"


class Store:
    """The records of a folder."""

    def __init__(self, output: str | Path) -> None:
        self.output = Path(output)
        self.folder = self.output / RUNS

    def path(self, key: Key, digest: str) -> Path:
        """Where the record of a run stands, or would."""
        parts = (key.dataset, key.protocol, key.method, str(key.seed))
        readable = ".".join(re.sub(r"[^A-Za-z0-9]+", "_", part).strip("_") for part in parts)
        return self.folder / f"{readable}-{digest[:12]}.json"

    def write(self, record: Record) -> Path:
        """Keep a record, in the place of an earlier one of the same run and settings."""
        path = self.path(record.key, record.digest)
        self.folder.mkdir(parents=True, exist_ok=True)
        # Of this process alone: two that write the same record don't disturb each other.
        part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{_TEMPORARY}")
        try:
            with part.open("xb") as file:
                file.write(record.to_json())
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return path

    def read(self, key: Key, digest: str) -> Record | None:
        """The record of a run with these settings; None if there is none that can be read."""
        try:
            record = Record.from_json(self.path(key, digest).read_bytes())
        except (FileNotFoundError, RecordError):
            return None
        return record if (record.key, record.digest) == (key, digest) else None

    def __iter__(self) -> Iterator[Record]:
        """Every record that can be read, in the order of file names."""
        for path in sorted(self.folder.glob("*.json")):
            if path.name.startswith("."):
                continue
            try:
                yield Record.from_json(path.read_bytes())
            except RecordError:
                continue

    def clean(self) -> int:
        """Remove what writers that were killed have left behind, and say how many files.

        Only while nobody writes.
        """
        left = list(self.folder.glob(f".*{_TEMPORARY}"))
        for part in left:
            part.unlink(missing_ok=True)
        return len(left)
