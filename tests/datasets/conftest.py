"""A small archive in the literature's layout, and a web server that misbehaves on request."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tsdiff.datasets.catalog import DatasetInfo

TRAIN_LENGTH, HORIZON, NUM_WINDOWS, NUM_DIMS = 2000, 5, 3, 2


def make_tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def json_lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture(scope="session")
def series() -> np.ndarray:
    length = TRAIN_LENGTH + NUM_WINDOWS * HORIZON
    return np.random.default_rng(0).normal(size=(NUM_DIMS, length))


@pytest.fixture(scope="session")
def archive_bytes(series: np.ndarray) -> bytes:
    def rows(length: int) -> list[dict]:
        return [{"start": "2020-01-01 00:00:00", "target": list(row[:length])} for row in series]

    lengths = [TRAIN_LENGTH + HORIZON * (window + 1) for window in range(NUM_WINDOWS)]
    return make_tar(
        {
            "tiny_nips/metadata/metadata.json": b'{"time_granularity": "D"}',
            "tiny_nips/train/data.json": json_lines(rows(TRAIN_LENGTH)),
            "tiny_nips/test/test.json": json_lines([row for n in lengths for row in rows(n)]),
        }
    )


@pytest.fixture(scope="session")
def tiny_info(archive_bytes: bytes) -> DatasetInfo:
    """The tiny archive in the catalog's terms; nobody listens at its address."""
    return DatasetInfo(
        name="tiny",
        description="",
        freq="D",
        prediction_length=HORIZON,
        target_dim=NUM_DIMS,
        num_test_windows=NUM_WINDOWS,
        licence="",
        citation="",
        archive="tiny_nips.tar.gz",
        url="http://127.0.0.1:9/tiny_nips.tar.gz",
        sha256=hashlib.sha256(archive_bytes).hexdigest(),
    )


@dataclass
class Web:
    """The server's content and manners; ``ranges`` records the Range header of each request."""

    content: bytes
    name: str = "tiny_nips.tar.gz"
    supports_ranges: bool = True
    break_after: list[int] = field(default_factory=list)  # bytes sent, one per broken request
    ranges: list[str | None] = field(default_factory=list)
    address: str = ""
    contents: dict[str, bytes] | None = None  # files by name, instead of the one above

    def file(self, name: str) -> bytes | None:
        """What the server has under a name."""
        files = {self.name: self.content} if self.contents is None else self.contents
        return files.get(name)

    def info(self, info: DatasetInfo) -> DatasetInfo:
        return replace(info, url=f"{self.address}/{info.archive}")


def _handler(web: Web) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            web.ranges.append(asked)
            content = web.file(self.path.rsplit("/", 1)[-1])
            if content is None:
                self.send_error(404)
                return
            first = int(asked[len("bytes=") : -1]) if asked and web.supports_ranges else 0
            if first and first >= len(content):
                self.send_error(416)
                return
            body = content[first:]
            self.send_response(206 if first else 200)
            if first:
                last = len(web.content) - 1
                self.send_header("Content-Range", f"bytes {first}-{last}/{last + 1}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: web.break_after.pop(0)] if web.break_after else body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def web(archive_bytes: bytes) -> Iterator[Web]:
    web = Web(archive_bytes)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(web))
    web.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield web
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy or a mirror of the machine must not answer in the local server's place."""
    for name in ("TSDIFF_MIRROR", "TSDIFF_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def tar_of() -> Callable[[dict[str, bytes]], bytes]:
    return make_tar
