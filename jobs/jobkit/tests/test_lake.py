"""The commit protocol's promises, the same for file:// and s3://."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from jobkit.errors import BadDataError, UsageError
from jobkit.lake import About, Draft, Lake

PART = "ticker=AAPL/year=2012"


def draft(data: bytes, lake: Lake | None = None, **changes: Any) -> Draft:
    def source() -> Any:
        about = About("https://vendor.example/x", "text/csv", '"e1"', None)
        return (lake.keep("prices", b"vendor bytes of " + data, about),) if lake else ()

    given = {
        "rows": 3,
        "quarantine": None,
        "quarantined": 0,
        "key": ("date",),
        "leaf": "year(date)",
        "writer": {"job": "t", "version": "1"},
    }
    return Draft(data=data, source=source, **{**given, **changes})


def test_a_commit_makes_the_partition(url: str) -> None:
    lake = Lake(url)
    assert lake.head("prices", PART) is None
    commit, made = lake.commit("prices", PART, draft(b"rows", lake))
    assert made
    assert lake.head("prices", PART) == commit
    assert lake.read(commit.data) == b"rows"
    assert lake.read(commit.source[0]) == b"vendor bytes of rows"
    assert (lake.datasets(), lake.partitions("prices")) == (["prices"], [PART])


def test_the_same_bytes_again_change_nothing(url: str) -> None:
    lake = Lake(url)
    first, _ = lake.commit("prices", PART, draft(b"rows", lake))
    before = lake.store.list("")
    again, made = lake.commit("prices", PART, draft(b"rows", lake))
    assert (again, made) == (first, False)
    assert lake.store.list("") == before


def test_other_bytes_are_a_new_version_and_the_old_one_stays(url: str) -> None:
    lake = Lake(url)
    lake.commit("prices", PART, draft(b"one"))
    lake.commit("prices", PART, draft(b"two"))
    history = lake.history("prices", PART)
    assert [(commit.number, lake.read(commit.data)) for commit in history] == [(1, b"one"), (2, b"two")]
    assert history[0].known_at < history[1].known_at


def test_a_change_in_the_quarantine_alone_is_a_new_version(url: str) -> None:
    lake = Lake(url)
    lake.commit("prices", PART, draft(b"rows"))
    commit, made = lake.commit("prices", PART, draft(b"rows", quarantine=b"bad", quarantined=1))
    assert made
    assert (commit.rows_read, commit.quarantine and commit.quarantine.rows) == (4, 1)


def test_writers_at_once_lose_nothing_and_number_without_gaps(url: str) -> None:
    lake = Lake(url)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: lake.commit("prices", PART, draft(b"%d" % n)), range(8)))
    history = lake.history("prices", PART)
    assert [commit.number for commit in history] == list(range(1, 9))
    assert sorted(lake.read(commit.data) for commit in history) == [b"%d" % n for n in range(8)]


def test_a_writer_that_dies_before_its_commit_is_never_seen(url: str) -> None:
    lake = Lake(url)
    lake.commit("prices", PART, draft(b"old"))

    def dies() -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lake.commit("prices", PART, draft(b"new")._replace(source=dies))
    head = lake.head("prices", PART)
    assert head is not None
    assert lake.read(head.data) == b"old"


def test_a_commit_names_the_sha256_of_what_it_holds(url: str) -> None:
    lake = Lake(url)
    commit, _ = lake.commit("prices", PART, draft(b"rows"))
    lake.store.put(commit.data.path, b"rotten")
    with pytest.raises(BadDataError, match="sha256 differs"):
        lake.read(commit.data)


def test_a_commit_is_readable_json_with_its_key(url: str) -> None:
    lake = Lake(url)
    lake.commit("prices", PART, draft(b"rows"))
    document = json.loads(lake.store.get(f"raw/prices/{PART}/_commits/000001.json"))
    assert (document["number"], document["key"], document["leaf"]) == (1, ["date"], "year(date)")


@pytest.mark.parametrize("partition", ["", "x", "a=..", "a=1/../b=2", "a=1//b=2", "A=1", "a=b c", "a='; drop table x"])
def test_hostile_partitions_are_refused(url: str, partition: str) -> None:
    with pytest.raises(UsageError):
        Lake(url).commit("prices", partition, draft(b"x"))


@pytest.mark.parametrize("dataset", ["", "../x", "a/b", "Prices", "_bytes", "x" * 60])
def test_hostile_datasets_are_refused(url: str, dataset: str) -> None:
    with pytest.raises(UsageError):
        Lake(url).commit(dataset, PART, draft(b"x"))
