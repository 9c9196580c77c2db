"""A verified cache of downloaded archives, on top of :mod:`pooch`.

A file appears under its final name only when it is whole and its published hash is right: bytes
arrive in ``NAME.part`` beside it, are verified there, and are then renamed. An interrupted download
leaves its part behind, which the next call resumes (HTTP ``Range``), or starts again where the
server cannot resume or the part turns out to be damaged. A file lock lets one process at a time
work on an archive; a second one waits and finds the finished file.

``TSDIFF_CACHE`` names the cache folder, ``TSDIFF_MIRROR`` a folder or an http(s) address that holds
the archives under their own names and is asked before the published address.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import logging
import os
import sys
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tsdiff.datasets.catalog import DatasetInfo

READ_CHUNK = 1 << 18
NETWORK_CHUNK = 1 << 14  # what of a chunk came before a connection broke is lost: keep it small
TIMEOUT = (10.0, 60.0)  # seconds to connect, seconds between two bytes


class DownloadError(OSError):
    """An archive cannot be had; the message says how to supply it by hand."""


class VerificationError(DownloadError):
    """A file is not the published one: its hash differs."""


def cache_folder(cache: str | os.PathLike | None = None) -> Path:
    """The folder for downloads: argument, else ``TSDIFF_CACHE``, else the system's cache."""
    chosen = cache or os.environ.get("TSDIFF_CACHE")
    if not chosen:
        import pooch

        chosen = pooch.os_cache("tsdiff")
    return Path(chosen).expanduser().absolute()


def verify(path: Path, info: DatasetInfo) -> None:
    """Compare a file with the hashes that the catalog holds.

    Raises
    ------
    VerificationError
        A hash differs.
    ValueError
        The catalog holds no hash, so that nothing could be verified.
    """
    if not (info.sha256 or info.git_blob or info.table_sha256):
        raise ValueError(f"the catalog has no hash for {info.name!r}: nothing to verify {path} by")
    size = path.stat().st_size
    sha256 = hashlib.sha256()
    git = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(READ_CHUNK):
            sha256.update(chunk)
            git.update(chunk)
    if info.git_lfs:
        pointer = (
            "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{sha256.hexdigest()}\nsize {size}\n"
        ).encode()
        git = hashlib.sha1(f"blob {len(pointer)}\0".encode() + pointer, usedforsecurity=False)
    table = _sha256_inside(path) if info.table_sha256 else ""
    for kind, expected, found in (
        ("sha256", info.sha256, sha256.hexdigest()),
        ("git blob", info.git_blob, git.hexdigest()),
        ("table's sha256", info.table_sha256, table),
    ):
        if expected and found != expected:
            raise VerificationError(
                f"{path} is not the published {info.archive}: its {kind} hash is {found}, expected "
                f"{expected} ({size:,} bytes). The file is damaged or was changed: remove it"
                + (f". {info.recipe}" if info.recipe else "")
            )


def _sha256_inside(path: Path) -> str:
    """Hash of what a gzip file holds; of a damaged one, what ails it."""
    digest = hashlib.sha256()
    try:
        with gzip.open(path) as file:
            while chunk := file.read(READ_CHUNK):
                digest.update(chunk)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        return f"not to be had ({error})"
    return digest.hexdigest()


def fetch(
    info: DatasetInfo,
    *,
    cache: str | os.PathLike | None = None,
    mirror: str | os.PathLike | None = None,
    progress: bool = True,
) -> Path:
    """Path of a verified archive, downloaded if need be.

    Looks in the cache, then in the mirror, then at the published address; what is published in
    parts is made of these. An archive in a mirror folder is verified and used where it lies.

    Parameters
    ----------
    info
        The catalog's entry.
    cache, mirror
        Override ``TSDIFF_CACHE`` and ``TSDIFF_MIRROR``.
    progress
        Show a progress bar; only when standard error is a terminal.

    Raises
    ------
    VerificationError
        What was received, or lies in the mirror folder, is not the published file.
    DownloadError
        No source could deliver; the message names them and how to supply the file by hand.
    ValueError
        The mirror is neither a folder nor an http(s) address, or ``info`` has no archive.
    """
    if not info.archive:
        raise ValueError(f"{info.name!r} is not downloaded: get_dataset({info.name!r}) makes it")
    folder = cache_folder(cache)
    target = folder / info.archive
    if _is_verified(target, info):
        return target
    source = _mirror(mirror)
    if isinstance(source, Path) and (source / info.archive).is_file():
        verify(source / info.archive, info)
        return source / info.archive
    urls = [f"{source}/{info.archive}"] if isinstance(source, str) else []
    urls += [info.url] if info.url else []
    failures = [f"{source} holds no {info.archive}"] if isinstance(source, Path) else []
    damaged = False
    folder.mkdir(parents=True, exist_ok=True)
    with _exclusive(target) as part:
        if _is_verified(target, info):  # another process was faster
            return target
        for url in urls:
            try:
                return _retrieve(url, target, part, info, progress)
            except DownloadError as error:
                failures.append(f"{url}: {error}")
                damaged = isinstance(error, VerificationError)
        if info.originals:
            try:
                return _prepare(info, target, progress)
            except DownloadError as error:
                failures.append(f"made of its public originals: {error}")
                damaged = isinstance(error, VerificationError)
    kind = VerificationError if damaged else DownloadError
    raise kind(_advice(info, target, failures))


def _is_verified(path: Path, info: DatasetInfo) -> bool:
    try:
        verify(path, info)
    except (FileNotFoundError, VerificationError):
        return False
    return True


def _mirror(mirror: str | os.PathLike | None) -> Path | str | None:
    """A folder as a Path, an address as a string without trailing slash."""
    chosen = mirror or os.environ.get("TSDIFF_MIRROR")
    if not chosen:
        return None
    text = os.fspath(chosen)
    if text.startswith(("http://", "https://")):
        return text.rstrip("/")
    folder = Path(text).expanduser().absolute()
    if not folder.is_dir():
        raise ValueError(
            f"the mirror {text!r} (argument or TSDIFF_MIRROR) is neither an existing folder nor an "
            "http:// or https:// address"
        )
    return folder


def _advice(info: DatasetInfo, target: Path, failures: list[str]) -> str:
    tried = "\n".join(f"  - {failure}" for failure in failures or ["nothing: no mirror is set"])
    origin = f"Without a connection: download {info.url} elsewhere." if info.url else info.recipe
    return (
        f"could not get the archive of {info.name!r}. Tried:\n{tried}\n"
        f"{origin} Put it at {target}, or into a folder (or on a web server) that the environment "
        "variable TSDIFF_MIRROR names. get_dataset('ecb_exchange_rate') needs no download."
    )


def _prepare(info: DatasetInfo, target: Path, progress: bool) -> Path:
    """Make an archive of its public originals; they are verified, and so is what becomes of them.

    They come from their own addresses, whatever mirror is set: one that had the archive would have
    delivered it.
    """
    assert info.prepare is not None
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
        paths = []
        for url, sha256 in info.originals.items():
            path = Path(folder) / url.rsplit("/", 1)[-1]
            original = replace(info, archive=path.name, url=url, sha256=sha256, table_sha256=None)
            paths.append(_retrieve(url, path, Path(f"{path}.part"), original, progress))
        made = Path(folder) / target.name
        made.write_bytes(info.prepare(paths))
        verify(made, info)
        os.replace(made, target)
    return target


@contextlib.contextmanager
def _exclusive(target: Path) -> Iterator[Path]:
    """Hold the archive's lock; yield the part file to write to.

    The operating system drops the lock of a process that dies, so no lock goes stale. Where locks
    are not to be had (Windows, some network drives) every process writes a part of its own, which
    is as safe and only cannot be resumed.
    """
    private = target.with_name(f"{target.name}.{os.getpid()}.part")
    with target.with_name(f"{target.name}.lock").open("a") as lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        except (ImportError, OSError):
            try:
                yield private
            finally:
                private.unlink(missing_ok=True)
        else:
            yield target.with_name(f"{target.name}.part")


def _retrieve(url: str, target: Path, part: Path, info: DatasetInfo, progress: bool) -> Path:
    import pooch
    import requests

    # A damaged file under the final name would keep pooch from downloading when it has no hash of
    # its own to compare with; it was found unverified just now.
    target.unlink(missing_ok=True)
    downloader: Any = _ResumingDownloader(part, info, progress)
    with _quiet(pooch.get_logger()):
        try:
            pooch.retrieve(
                url,
                known_hash=info.sha256,
                fname=target.name,
                path=target.parent,
                downloader=downloader,
            )
        except requests.RequestException as error:
            raise DownloadError(f"{type(error).__name__}: {error}") from error
    return target


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


class _ResumingDownloader:
    """A downloader for pooch that hands over a verified file or raises."""

    def __init__(self, part: Path, info: DatasetInfo, progress: bool, attempts: int = 3) -> None:
        self.part, self.info, self.progress, self.attempts = part, info, progress, attempts

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        resumed = self._size() > 0
        self._receive(url)
        try:
            verify(self.part, self.info)
        except VerificationError as error:
            self.part.unlink()
            if not resumed:
                raise VerificationError(f"received something else: {error}") from error
            # The old part may be to blame: once more, from the first byte.
            self(url, output_file, pooch)
            return
        os.replace(self.part, output_file)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _receive(self, url: str) -> None:
        """Bring the part to full length; go on while attempts still bring bytes."""
        import requests

        for attempt in range(1, self.attempts + 1):
            before = self._size()
            try:
                self._request(url, before)
                return
            except requests.RequestException:
                if attempt == self.attempts or self._size() <= before:
                    raise

    def _request(self, url: str, offset: int) -> None:
        import requests

        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if offset and response.status_code == 416:
                return  # nothing follows the part: the hash decides whether it is whole
            response.raise_for_status()
            if not _continues(response, offset):
                offset = 0
            length = int(response.headers.get("Content-Length", 0))
            with (
                self.part.open("ab" if offset else "wb") as file,
                _bar(self.info.archive, offset, offset + length, self.progress) as advance,
            ):
                for chunk in response.iter_content(NETWORK_CHUNK):
                    file.write(chunk)
                    advance(len(chunk))
        received = self._size() - offset
        if received < length:
            raise requests.ConnectionError(f"broke off after {received:,} of {length:,} bytes")


def _continues(response: Any, offset: int) -> bool:
    """Whether the server sends the rest from ``offset`` on, rather than everything."""
    content_range = response.headers.get("Content-Range", "")
    return response.status_code == 206 and content_range.startswith(f"bytes {offset}-")


@contextlib.contextmanager
def _bar(name: str, done: int, total: int, progress: bool) -> Iterator[Any]:
    if not (progress and sys.stderr.isatty()):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, completed=done, total=total if total > done else None)
        yield lambda count: bar.advance(task, count)
