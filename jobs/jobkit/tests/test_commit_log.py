"""The log of a dataset announces each commit before it is there, in numbers without gaps, and costs few requests however long it is."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from jobkit import commit_log
from jobkit.commit_log import CommitLog
from jobkit.errors import NewerFormatError
from jobkit.lake import CommitDraft, Lake
from jobkit.stores import S3Store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def draft(data: bytes) -> CommitDraft:
    return CommitDraft(data, 1, None, 0, lambda: (), ("day",), "year(day)", {"job": "test", "version": "0"})


def test_each_commit_is_announced_before_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(str(tmp_path))
    lake.commit("prices", "year=2012", draft(b"one"))
    lake.commit("prices", "year=2012", draft(b"one"))  # unchanged: nothing to announce
    lake.commit("prices", "year=2013", draft(b"two"))
    entries = [lake.log.read("prices", number) for number in lake.log.list_after("prices", 0)]
    assert [(entry.partition, entry.commit) for entry in entries if entry] == [("year=2012", 1), ("year=2013", 1)]
    assert len({entry.id for entry in entries if entry}) == 2

    def die(*_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(CommitLog, "announce", die)
    with pytest.raises(KeyboardInterrupt):
        lake.commit("prices", "year=2012", draft(b"three"))
    assert lake.commit_numbers("prices", "year=2012") == [1]


def test_writers_at_the_same_time_leave_no_gap_and_lose_no_entry(tmp_path: Path) -> None:
    def announce(writer: int) -> list[int]:
        log = CommitLog(open_store(str(tmp_path)))
        return [log.announce("prices", f"year={writer}", number) for number in range(1, 9)]

    with ThreadPoolExecutor(3) as pool:
        written = sorted(number for numbers in pool.map(announce, range(2010, 2013)) for number in numbers)
    assert written == list(range(1, 25))


@pytest.mark.parametrize("first", [1, 30])
@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 9, 10, 63])
def test_the_end_of_a_long_log_is_found_in_few_requests_also_if_its_begin_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, first: int
) -> None:
    monkeypatch.setattr(commit_log, "PAGE", 5)
    store = open_store(str(tmp_path))
    for number in range(first, first + count):
        store.put(f"raw/prices/_log/{number:010}.json", b"{}")
    probes: list[str] = []
    exists = type(store).exists
    monkeypatch.setattr(type(store), "exists", lambda self, key: probes.append(key) or exists(self, key))
    assert CommitLog(store).find_last("prices") == (first + count - 1 if count else 0)
    assert len(probes) <= 10
    assert CommitLog(store).announce("prices", "year=2012", 1) == (first + count if count else 1)


def test_a_damaged_entry_is_none_and_a_newer_one_is_refused(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    log, key = CommitLog(store), "raw/prices/_log/0000000001.json"
    assert log.read("prices", 1) is None
    for text in (b"", b"[1]", b'{"format": 1}', b'{"format": null}', b'{"format": 1, "id": "x", "partition": "p", "commit": "x"}'):
        store.put(key, text)
        assert log.read("prices", 1) is None
    store.put(key, b'{"format": 2, "id": "x", "partition": "p", "commit": 1}')
    with pytest.raises(NewerFormatError, match=f"{key} is of format 2, and this version reads formats up to 1; upgrade finelt"):
        log.read("prices", 1)


class ManyKeys:
    """A client of S3 whose bucket has a million keys: 250,000 partitions, each with a file and three commits."""

    def __init__(self) -> None:
        self.blocks: list[int] = []

    def get_paginator(self, _name: str) -> ManyKeys:
        return self

    def paginate(self, **_options: str) -> Iterator[dict[str, Any]]:
        for first in range(0, 250_000, 250):
            names = (f"raw/prices/date={number:07}" for number in range(first, first + 250))
            endings = ("_commits/000001.json", "_commits/000002.json", "_commits/000003.json", f"{'a' * 64}.parquet")
            yield {"Contents": [{"Key": f"{name}/{ending}", "Size": 1} for name in names for ending in endings]}
            self.blocks.append(sys.getallocatedblocks())


def test_the_listing_of_a_million_keys_holds_one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page has 1,000 keys; each takes a few blocks of memory. If the keys stayed, there were a million blocks."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    lake = Lake("s3://bucket")
    assert isinstance(lake.store, S3Store)
    lake.store._client = many = ManyKeys()
    count = sum(number == 3 for _, number in lake.iter_latest_numbers("prices"))
    assert (count, len(many.blocks)) == (250_000, 1000)
    assert max(many.blocks) - min(many.blocks) < 10_000
