"""The promises of every store, tested on a directory and on S3."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from jobkit.errors import UsageError
from jobkit.stores import FileStore, NotFoundError, Store, open_store

if TYPE_CHECKING:
    from pathlib import Path


def test_get_returns_the_last_object_that_was_put(store: Store) -> None:
    store.put("a/b.json", b"one")
    store.put("a/b.json", b"two")
    assert store.get("a/b.json") == b"two"
    assert store.exists("a/b.json")


def test_put_of_a_path_does_not_load_the_file_into_memory(store: Store, tmp_path: Path) -> None:
    file, block = tmp_path / "rows", bytes(range(256)) * 4096
    with file.open("wb") as opened:
        opened.writelines([block] * 32)
    tracemalloc.start()
    store.put("a/rows", file, "text/csv")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert store.get("a/rows") == block * 32
    if isinstance(store, FileStore):  # moto responds in this process, and keeps what it receives
        assert peak < len(block) * 4


def test_download_writes_the_object_to_a_file(store: Store, tmp_path: Path) -> None:
    block = bytes(range(256)) * 8192
    store.put("a/rows", block)
    store.download("a/rows", tmp_path / "rows")
    assert (tmp_path / "rows").read_bytes() == block
    with pytest.raises(NotFoundError):
        store.download("nothing", tmp_path / "rows")


def test_a_copy_replaces_an_object_and_outlives_the_original(store: Store) -> None:
    store.put("a/one", b"1", "text/csv")
    store.put("b/two", b"2")
    store.copy("a/one", "b/two")
    store.copy("a/one", "c/three")
    store.put("a/one", b"changed")
    assert [store.get(key) for key in ("b/two", "c/three")] == [b"1", b"1"]
    assert list(store.list_keys("")) == ["a/one", "b/two", "c/three"]
    with pytest.raises(NotFoundError):
        store.copy("nothing", "b/two")


def test_a_missing_object_raises_not_found(store: Store) -> None:
    assert not store.exists("nothing")
    for read in (store.get, store.get_with_etag, store.get_size, store.stat):
        with pytest.raises(NotFoundError):
            read("nothing")


def test_put_if_absent_keeps_the_first_object(store: Store) -> None:
    assert store.put_if_absent("k", b"first")
    assert not store.put_if_absent("k", b"second")
    assert store.get("k") == b"first"


def test_put_if_absent_succeeds_again_with_the_same_bytes(store: Store) -> None:
    assert store.put_if_absent("k", b"first")
    assert store.put_if_absent("k", b"first")


def test_one_of_many_concurrent_writers_wins(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: store.put_if_absent("k", b"%d" % n), range(8)))
    assert sum(won) == 1
    assert store.get("k") == b"%d" % won.index(True)


def test_put_if_match_writes_only_over_the_given_etag(store: Store) -> None:
    assert store.put_if_match("pointer", b"1", None)
    assert not store.put_if_match("pointer", b"2", None)
    _, etag = store.get_with_etag("pointer")
    assert store.put_if_match("pointer", b"2", etag)
    assert not store.put_if_match("pointer", b"3", etag)
    assert store.get("pointer") == b"2"


def test_delete_if_match_deletes_only_the_given_etag(store: Store) -> None:
    store.put("d/k", b"one")
    _, etag = store.get_with_etag("d/k")
    store.put("d/k", b"other")
    assert not store.delete_if_match("d/k", etag)
    assert store.get("d/k") == b"other"
    _, etag = store.get_with_etag("d/k")
    assert store.delete_if_match("d/k", etag)
    assert store.delete_if_match("d/k", etag)
    assert list(store.list_keys("d/")) == []


def test_size_and_time_are_read_without_the_object(store: Store) -> None:
    before = store.now()
    store.put("k", b"12345")
    stat = store.stat("k")
    assert (store.get_size("k"), stat.bytes) == (5, 5)
    assert abs((stat.modified - before).total_seconds()) < 60


def test_keys_and_folders_are_listed_in_order(store: Store) -> None:
    for key in ("d/b/2", "d/a/1", "d/b/1", "e/1", "d/a-1", "d/a.1", "d/b/1-2/3", "d/b/1.2"):
        store.put(key, b"")
    expected = ["d/a-1", "d/a.1", "d/a/1", "d/b/1", "d/b/1-2/3", "d/b/1.2", "d/b/2"]
    assert list(store.list_keys("d/")) == expected == sorted(expected)
    for number, key in enumerate(expected, start=1):
        assert list(store.list_keys("d/", key)) == expected[number:]
    assert list(store.list_keys("d/", "d/a/")) == expected[2:]
    assert store.list_folders("d/") == ["a", "b"]
    assert list(store.list_keys("none/")) == []
    assert store.list_folders("none/") == []


def test_erase_deletes_matching_objects_only(store: Store) -> None:
    for key in ("d/a/1", "d/a/2", "e/1"):
        store.put(key, b"")
    assert store.erase("d/", lambda key: key.endswith("1")) == ["d/a/1"]
    assert list(store.list_keys("")) == ["d/a/2", "e/1"]


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\0b"])
def test_a_key_cannot_leave_the_store(store: Store, key: str) -> None:
    with pytest.raises(UsageError):
        store.put(key, b"")


@pytest.mark.parametrize("url", ["", "http://host/path", "s3://", "ftp://x/y"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(UsageError):
        open_store(url)
