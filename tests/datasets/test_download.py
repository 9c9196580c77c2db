from __future__ import annotations

import hashlib
import multiprocessing
from dataclasses import replace

import pytest

from tsdiff.datasets import DownloadError, VerificationError, download, fetch


def files_in(folder):
    """Names in the cache, the lock aside."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_downloads_once_then_serves_from_the_cache(web, tiny_info, archive_bytes, tmp_path):
    info = web.info(tiny_info)
    path = fetch(info, cache=tmp_path)
    assert path == tmp_path / info.archive
    assert path.read_bytes() == archive_bytes
    assert fetch(info, cache=tmp_path) == path
    assert web.ranges == [None]
    assert files_in(tmp_path) == [info.archive]


def test_the_cache_folder_comes_from_the_environment(web, tiny_info, tmp_path, monkeypatch):
    monkeypatch.setenv("TSDIFF_CACHE", str(tmp_path / "deep" / "cache"))
    assert fetch(web.info(tiny_info)).parent == tmp_path / "deep" / "cache"


def test_goes_on_where_the_connection_broke(web, tiny_info, archive_bytes, tmp_path):
    half = download.NETWORK_CHUNK
    web.break_after = [half + 100]
    assert fetch(web.info(tiny_info), cache=tmp_path).read_bytes() == archive_bytes
    assert web.ranges == [None, f"bytes={half}-"]


def test_a_second_call_resumes_what_the_first_left(web, tiny_info, archive_bytes, tmp_path):
    web.break_after = [download.NETWORK_CHUNK, 0]
    info = web.info(tiny_info)
    with pytest.raises(DownloadError, match=r"broken|broke off"):
        fetch(info, cache=tmp_path)
    assert files_in(tmp_path) == [info.archive + ".part"]
    assert fetch(info, cache=tmp_path).read_bytes() == archive_bytes
    assert web.ranges[-1] == f"bytes={download.NETWORK_CHUNK}-"
    assert files_in(tmp_path) == [info.archive]


def test_starts_again_where_the_server_cannot_resume(web, tiny_info, archive_bytes, tmp_path):
    web.supports_ranges = False
    web.break_after = [download.NETWORK_CHUNK]
    assert fetch(web.info(tiny_info), cache=tmp_path).read_bytes() == archive_bytes
    assert len(web.ranges) == 2


@pytest.mark.parametrize("extra", [0, 10], ids=["as long", "too long"])
def test_a_damaged_part_is_thrown_away(web, tiny_info, archive_bytes, tmp_path, extra):
    info = web.info(tiny_info)
    (tmp_path / f"{info.archive}.part").write_bytes(b"x" * (len(archive_bytes) + extra))
    assert fetch(info, cache=tmp_path).read_bytes() == archive_bytes
    assert web.ranges == [f"bytes={len(archive_bytes) + extra}-", None]


def test_a_whole_part_needs_no_second_download(web, tiny_info, archive_bytes, tmp_path):
    info = web.info(tiny_info)
    (tmp_path / f"{info.archive}.part").write_bytes(archive_bytes)
    assert fetch(info, cache=tmp_path).read_bytes() == archive_bytes
    assert web.ranges == [f"bytes={len(archive_bytes)}-"]


def test_refuses_what_has_another_hash(web, tiny_info, archive_bytes, tmp_path):
    web.content = archive_bytes[:-1] + b"?"
    with pytest.raises(VerificationError, match=f"expected {tiny_info.sha256}"):
        fetch(web.info(tiny_info), cache=tmp_path)
    assert files_in(tmp_path) == []


def test_replaces_a_damaged_file_in_the_cache(web, tiny_info, archive_bytes, tmp_path):
    (tmp_path / tiny_info.archive).write_bytes(b"damaged")
    assert fetch(web.info(tiny_info), cache=tmp_path).read_bytes() == archive_bytes


def test_offline_says_what_to_do(tiny_info, tmp_path):
    with pytest.raises(DownloadError) as caught:
        fetch(tiny_info, cache=tmp_path)
    message = str(caught.value)
    for part in (tiny_info.url, str(tmp_path / tiny_info.archive), "TSDIFF_MIRROR", "refused"):
        assert part in message
    assert files_in(tmp_path) == []


def test_an_absent_file_is_an_error_that_names_the_status(web, tiny_info, tmp_path):
    with pytest.raises(DownloadError, match="404"):
        fetch(replace(tiny_info, url=f"{web.address}/other.tar.gz"), cache=tmp_path)


def test_a_mirror_folder_is_used_in_place(tiny_info, archive_bytes, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / tiny_info.archive).write_bytes(archive_bytes)
    by_argument = fetch(tiny_info, cache=tmp_path / "cache", mirror=mirror)
    monkeypatch.setenv("TSDIFF_MIRROR", str(mirror))
    by_environment = fetch(tiny_info, cache=tmp_path / "cache")
    assert by_argument == by_environment == mirror / tiny_info.archive


def test_a_damaged_file_in_a_mirror_folder_is_refused(tiny_info, tmp_path):
    (tmp_path / tiny_info.archive).write_bytes(b"damaged")
    with pytest.raises(VerificationError, match="not the published"):
        fetch(tiny_info, cache=tmp_path / "cache", mirror=tmp_path)


def test_a_mirror_address_is_asked_first(web, tiny_info, archive_bytes, tmp_path):
    path = fetch(tiny_info, cache=tmp_path, mirror=web.address + "/")
    assert path.read_bytes() == archive_bytes


def test_what_the_mirror_lacks_comes_from_the_published_address(web, tiny_info, tmp_path):
    (tmp_path / "mirror").mkdir()
    info = web.info(tiny_info)
    assert fetch(info, cache=tmp_path, mirror=tmp_path / "mirror") == tmp_path / info.archive


def test_a_mirror_that_is_nothing_is_an_error(tiny_info, tmp_path):
    with pytest.raises(ValueError, match="neither an existing folder nor an http"):
        fetch(tiny_info, cache=tmp_path, mirror=tmp_path / "absent")


def _fetch_in_child(info, cache, queue):
    queue.put(fetch(info, cache=cache).read_bytes())


def test_two_processes_at_once(web, tiny_info, archive_bytes, tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    children = [
        context.Process(target=_fetch_in_child, args=(web.info(tiny_info), tmp_path, queue))
        for _ in range(2)
    ]
    for child in children:
        child.start()
    received = [queue.get(timeout=60) for _ in children]
    for child in children:
        child.join()
    assert received == [archive_bytes] * 2
    assert len(web.ranges) == 1, "the second process should wait for the first one's file"
    assert files_in(tmp_path) == [tiny_info.archive]


def test_without_file_locks_each_process_has_its_own_part(
    web, tiny_info, archive_bytes, tmp_path, monkeypatch
):
    monkeypatch.setitem(__import__("sys").modules, "fcntl", None)
    web.break_after = [download.NETWORK_CHUNK, 0]
    info = web.info(tiny_info)
    with pytest.raises(DownloadError):
        fetch(info, cache=tmp_path)
    assert files_in(tmp_path) == []
    assert fetch(info, cache=tmp_path).read_bytes() == archive_bytes


def test_the_identity_in_git_is_checked(tiny_info, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"hello\n")
    blob = "ce013625030ba8dba906f756967f9e9ca394464a"  # printf 'hello\n' | git hash-object --stdin
    download.verify(file, replace(tiny_info, sha256=None, git_blob=blob))
    with pytest.raises(VerificationError, match="git blob"):
        download.verify(file, replace(tiny_info, sha256=None, git_blob=blob[::-1]))


def test_the_identity_of_a_pointer_to_large_file_storage_is_checked(tiny_info, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"hello\n")
    pointer = (
        "version https://git-lfs.github.com/spec/v1\n"
        f"oid sha256:{hashlib.sha256(b'hello' + bytes([10])).hexdigest()}\nsize 6\n"
    ).encode()
    blob = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()
    download.verify(file, replace(tiny_info, sha256=None, git_blob=blob, git_lfs=True))


def test_nothing_is_taken_unverified(tiny_info, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match="no hash"):
        download.verify(tmp_path / "file", replace(tiny_info, sha256=None))


def test_no_progress_bar_off_a_terminal(web, tiny_info, tmp_path, capfd):
    fetch(web.info(tiny_info), cache=tmp_path, progress=True)
    assert capfd.readouterr() == ("", "")


def test_a_progress_bar_on_a_terminal(web, tiny_info, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    fetch(web.info(tiny_info), cache=tmp_path / "quiet", progress=False)
    assert capfd.readouterr().err == ""
    fetch(web.info(tiny_info), cache=tmp_path / "loud", progress=True)
    assert tiny_info.archive in capfd.readouterr().err
