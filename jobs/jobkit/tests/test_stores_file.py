"""A store on a local directory: what it does to the file system, and how it fails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from jobkit.errors import MisconfiguredError, TemporaryError
from jobkit.stores import FileStore

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_is_never_overwritten(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.put("a/b", b"inside")
    for write in (store.put, store.put_if_absent):
        with pytest.raises(MisconfiguredError):
            write("a", b"over it")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert store.get("a/b") == b"inside"


def test_a_full_disk_is_temporary_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(TemporaryError):
        FileStore(tmp_path).put_if_absent("k", b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_a_folder_is_misconfigured(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MisconfiguredError):
        FileStore(tmp_path / "file").put("k", b"x")


def test_temporary_files_are_listed_apart(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.put("d/k", b"x")
    (tmp_path / "d" / ".abandoned").touch()
    (tmp_path / "d" / ".k.lock").touch()
    assert list(store.list_keys("")) == ["d/k"]
    assert store.list_temporary_files("") == ["d/.abandoned"]


def test_one_conditional_writer_at_a_time_and_no_lock_file_stays(tmp_path: Path) -> None:
    """Each writer adds one to the number that it read; if two held the lock at once, an addition would be lost."""
    store, times, writers = FileStore(tmp_path), 25, 8
    store.put("d/counter", b"0")

    def add(_: int) -> None:
        for _ in range(times):
            while True:
                data, etag = store.get_with_etag("d/counter")
                if store.put_if_match("d/counter", b"%d" % (int(data) + 1), etag):
                    break

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(add, range(writers)))
    assert store.get("d/counter") == b"%d" % (times * writers)
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["counter"]
    assert store.delete_if_match("d/counter", store.get_with_etag("d/counter")[1])
    assert list((tmp_path / "d").iterdir()) == []


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    store, target = FileStore(tmp_path / "store"), tmp_path / "target"
    target.write_text("kept")
    store.put("a", b"1")
    (tmp_path / "store" / ".a.lock").symlink_to(target)
    with pytest.raises(MisconfiguredError):
        store.put_if_match("a", b"2", store.get_with_etag("a")[1])
    assert (target.read_text(), store.get("a")) == ("kept", b"1")
