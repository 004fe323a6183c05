"""The store's promises, the same for file:// and s3://."""

from __future__ import annotations

import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError
from jobkit import store as stores
from jobkit.errors import MisconfiguredError, TemporaryError, UsageError
from jobkit.store import FileStore, NotFoundError, S3Store, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def test_what_was_put_is_read_back(store: Store) -> None:
    store.put("a/b.json", b"one")
    store.put("a/b.json", b"two")
    assert store.get("a/b.json") == b"two"
    assert store.exists("a/b.json")


def test_what_a_file_holds_is_put_without_being_held_in_memory(store: Store, tmp_path: Path) -> None:
    file, block = tmp_path / "rows", bytes(range(256)) * 4096
    with file.open("wb") as opened:
        opened.writelines([block] * 32)
    tracemalloc.start()
    store.put("a/rows", file, "text/csv")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert store.get("a/rows") == block * 32
    if isinstance(store, FileStore):  # moto answers in this process, and keeps what it is given
        assert most < len(block) * 4


def test_a_missing_object_is_told_as_missing(store: Store) -> None:
    assert not store.exists("nothing")
    with pytest.raises(NotFoundError):
        store.get("nothing")


def test_put_new_keeps_the_first(store: Store) -> None:
    assert store.put_if_absent("k", b"first")
    assert not store.put_if_absent("k", b"second")
    assert store.get("k") == b"first"


def test_put_new_of_the_same_bytes_again_counts_as_ours(store: Store) -> None:
    assert store.put_if_absent("k", b"first")
    assert store.put_if_absent("k", b"first")


def test_one_of_many_writers_wins(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: store.put_if_absent("k", b"%d" % n), range(8)))
    assert sum(won) == 1
    assert store.get("k") == b"%d" % won.index(True)


def test_put_if_writes_only_over_what_was_seen(store: Store) -> None:
    assert store.put_if_match("pointer", b"1", None)
    assert not store.put_if_match("pointer", b"2", None)
    _, tag = store.get_with_etag("pointer")
    assert store.put_if_match("pointer", b"2", tag)
    assert not store.put_if_match("pointer", b"3", tag)
    assert store.get("pointer") == b"2"


def test_delete_if_removes_only_what_was_seen(store: Store) -> None:
    store.put("d/k", b"one")
    _, tag = store.get_with_etag("d/k")
    store.put("d/k", b"other")
    assert not store.delete_if_match("d/k", tag)
    assert store.get("d/k") == b"other"
    _, tag = store.get_with_etag("d/k")
    assert store.delete_if_match("d/k", tag)
    assert store.delete_if_match("d/k", tag)
    assert store.list("d/") == []


def test_the_size_is_known_without_reading(store: Store) -> None:
    store.put("k", b"12345")
    assert store.size("k") == 5
    with pytest.raises(NotFoundError):
        store.size("nothing")


def test_a_folder_is_never_written_over(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("a/b", b"inside")
    for write in (store.put, store.put_if_absent):
        with pytest.raises(MisconfiguredError, match="a folder has that name"):
            write("a", b"over it")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert store.get("a/b") == b"inside"


def test_keys_and_folders_are_listed_in_order(store: Store) -> None:
    for key in ("d/b/2", "d/a/1", "d/b/1", "e/1"):
        store.put(key, b"")
    assert store.list("d/") == ["d/a/1", "d/b/1", "d/b/2"]
    assert store.folders("d/") == ["a", "b"]
    assert store.list("none/") == []
    assert store.folders("none/") == []


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\0b"])
def test_a_key_cannot_leave_the_store(store: Store, key: str) -> None:
    with pytest.raises(UsageError):
        store.put(key, b"")


@pytest.mark.parametrize("url", ["", "http://host/path", "s3://", "ftp://x/y"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(UsageError, match="no place to keep data"):
        open_store(url)


def _answer(status: int, code: str, headers: Mapping[str, str]) -> AWSResponse:
    class Raw:
        def stream(self, **_: Any) -> list[bytes]:
            return [f"<Error><Code>{code}</Code></Error>".encode()]

    return AWSResponse("http://s3", status, {"content-type": "application/xml", **headers}, Raw())  # type: ignore[arg-type]


def _answer_first(
    store: S3Store, status: int, code: str, *, times: int, really_put: bool, headers: Mapping[str, str] = MappingProxyType({})
) -> list[int]:
    """Let the first puts get this answer, though the object may really have been stored; returns the list of calls."""
    calls: list[int] = []
    twin = S3Store(store.bucket, store.prefix.strip("/"))

    def before_send(request: Any, **_: Any) -> AWSResponse | None:
        calls.append(1)
        if len(calls) > times:
            return None
        if really_put:
            twin.put("k", request.body.getvalue() if hasattr(request.body, "getvalue") else b"mine")
        return _answer(status, code, headers)

    store._client.meta.events.register("before-send.s3.PutObject", before_send)
    return calls


def test_a_put_whose_answer_was_lost_is_recognised_as_ours(bucket: str) -> None:
    """S3 stored it, the answer never came, the client's own retry is refused with 412: the object is still ours."""
    store = S3Store(bucket, "p")
    calls = _answer_first(store, 500, "InternalError", times=1, really_put=True)
    assert store.put_if_absent("k", b"mine")
    assert len(calls) == 2
    assert store.get("k") == b"mine"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been slept between tries."""
    slept: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", slept.append)
    return slept


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_store_is_asked_again_soon_and_then_ever_later(bucket: str, pauses: list[float], status: int) -> None:
    store = S3Store(bucket, "p")
    calls = _answer_first(store, status, "SlowDown", times=99, really_put=False)
    with pytest.raises(TemporaryError, match="S3 is busy"):
        store.put("k", b"mine")
    assert len(calls) == stores.REQUEST_TRIES
    assert pauses[0] < 0.1
    assert pauses == sorted(pauses)
    assert sum(pauses) > 8


def test_a_store_that_hangs_up_is_asked_again_soon(bucket: str, pauses: list[float]) -> None:
    store, calls = S3Store(bucket, "p"), []

    def before_send(**_: Any) -> None:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionClosedError(endpoint_url="http://s3")

    store._client.meta.events.register("before-send.s3.PutObject", before_send)
    store.put("k", b"mine")
    assert len(calls) == 3
    assert len(pauses) == 2
    assert sum(pauses) < 0.5


@pytest.mark.parametrize(("asked", "least_s", "most_s"), [("7", 7, 7), ("900", 20, 20), ("Wed, 21 Oct 2026 07:28:00 GMT", 0, 0.1)])
def test_a_store_that_says_when_is_asked_then(bucket: str, pauses: list[float], asked: str, least_s: float, most_s: float) -> None:
    store = S3Store(bucket, "p")
    _answer_first(store, 503, "SlowDown", times=1, really_put=False, headers={"retry-after": asked})
    store.put("k", b"mine")
    assert least_s <= pauses[0] <= most_s


def test_a_conflict_is_tried_again(bucket: str) -> None:
    store = S3Store(bucket, "p")
    calls = _answer_first(store, 409, "ConditionalRequestConflict", times=2, really_put=False)
    assert store.put_if_absent("k", b"mine")
    assert len(calls) == 3


def test_endless_conflict_is_temporary(bucket: str) -> None:
    store = S3Store(bucket, "p")
    _answer_first(store, 409, "ConditionalRequestConflict", times=99, really_put=False)
    with pytest.raises(TemporaryError):
        store.put_if_absent("k", b"mine")


def test_a_missing_bucket_is_our_mistake(bucket: str) -> None:
    with pytest.raises(MisconfiguredError, match="does not exist"):
        S3Store(bucket + "-not", "").put("k", b"")


def test_no_space_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stores.os, "fsync", full)
    with pytest.raises(TemporaryError, match="no space left"):
        FileStore(tmp_path).put_if_absent("k", b"x")
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_an_unwritable_place_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MisconfiguredError, match="cannot"):
        FileStore(tmp_path / "file").put("k", b"x")


def test_one_writer_at_a_time_changes_an_object_and_no_lock_file_stays(tmp_path: Path) -> None:
    """Each adds one to what it read, under the tag it read: an addition would be lost where two hold the lock at once."""
    store, times, writers = FileStore(tmp_path), 25, 8
    store.put("d/counter", b"0")

    def add(_: int) -> None:
        for _ in range(times):
            while True:
                data, tag = store.get_with_etag("d/counter")
                if store.put_if_match("d/counter", b"%d" % (int(data) + 1), tag):
                    break

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(add, range(writers)))
    assert store.get("d/counter") == b"%d" % (times * writers)
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["counter"]
    assert store.delete_if_match("d/counter", store.get_with_etag("d/counter")[1])
    assert list((tmp_path / "d").iterdir()) == []


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    store, elsewhere = FileStore(tmp_path / "store"), tmp_path / "elsewhere"
    elsewhere.write_text("kept")
    store.put("a", b"1")
    (tmp_path / "store" / ".a.lock").symlink_to(elsewhere)
    with pytest.raises(MisconfiguredError, match="cannot use"):
        store.put_if_match("a", b"2", store.get_with_etag("a")[1])
    assert (elsewhere.read_text(), store.get("a")) == ("kept", b"1")
