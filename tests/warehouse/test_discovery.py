"""A dataset without anything new costs three requests, however large it is; and what the log cannot tell is found by listing."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.client import BaseClient
from jobkit import commit_log
from jobkit.commit_log import CommitLog
from jobkit.errors import MisconfiguredError
from jobkit.lake import Lake
from load_warehouse import runner
from load_warehouse.discovery import FINGERPRINT, Position, discover
from load_warehouse.ledger import LedgerEntry
from load_warehouse.policy import LoadPolicy
from moto import mock_aws
from moto.s3.models import s3_backends

from tests.warehouse.samples import DATASET, Recorder, commit, current, load, price

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fixtures_postgres import Warehouse

ACCOUNT, BUCKET = "123456789012", "a-lake"
GROW = f"""
insert into raw._ledger (dataset, "partition", "commit", sha256, "rows", known_at)
select '{DATASET}', 'date=' || n, 1, 'x', 1, now() from generate_series(1, 10000) n;
update raw._positions set loads = (select {FINGERPRINT.as_string()} from raw._ledger)
"""


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the requests to S3 so far, in this process."""
    for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    made: list[str] = []
    call: Any = BaseClient._make_api_call
    monkeypatch.setattr(BaseClient, "_make_api_call", lambda self, name, kwargs: made.append(name) or call(self, name, kwargs))
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield made


def test_a_full_check_holds_less_than_1500_bytes_of_each_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the job holds of 5,000 partitions at once: ledger entries, the listing, and what it adds to the receipt, encoded too."""
    count, now, job = 5_000, datetime.now(UTC), Recorder()
    monkeypatch.setattr(Lake, "datasets", lambda _: [DATASET])
    monkeypatch.setattr(CommitLog, "recent_numbers", lambda *_: range(1, 1))
    monkeypatch.setattr(Lake, "iter_latest_numbers", lambda *_: ((f"date={number:08}", 1) for number in range(count)))
    tracemalloc.start()
    try:
        entries = {
            ("".join(DATASET), f"date={number:08}"): LedgerEntry(
                number, 1, f"{number:064}", datetime.now(UTC), f"{DATASET}-{number}", 1_000
            )
            for number in range(count)
        }
        grouped = runner._group_by_dataset(entries)
        discovered = runner.discover_datasets(Lake("file:///x"), (), {}, grouped, now, LoadPolicy())
        selected = runner._flatten(discovered)
        runner.record_unchanged(job, entries)  # type: ignore[arg-type]
        receipt = json.dumps(job.details)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert (len(selected), len(discovered[DATASET].selected), receipt.count("sha256")) == (count, count, count)
    assert held / count < 1500


def test_an_unchanged_dataset_of_10000_partitions_costs_three_requests(requests: list[str], warehouse: Warehouse) -> None:
    lake = f"s3://{BUCKET}/lake"
    commit(lake, [price("2012-01-03")])
    load(lake, warehouse)
    for number in range(1, 10_001):
        s3_backends[ACCOUNT]["aws"].put_object(BUCKET, f"lake/raw/{DATASET}/date={number}/_commits/000001.json", b"{}")
    warehouse.run(GROW)
    requests.clear()
    job = load(lake, warehouse)
    assert (len(job.outcomes), {outcome for _, _, outcome in job.outcomes}) == (10_001, {"unchanged"})
    assert requests == ["ListObjectsV2", "GetObject", "ListObjectsV2"]  # the datasets, the last known entry, the entries after it
    commit(lake, [price("2012-01-03", "2")])
    requests.clear()
    assert [outcome for *_, outcome in load(lake, warehouse).outcomes].count("committed") == 1
    assert len(requests) <= 10
    requests.clear()
    load(lake, warehouse)
    assert len(requests) == 3


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    commit(tmp_path / "lake", [price("2012-01-03")])
    return tmp_path / "lake"


def committed(lake: Path, warehouse: Warehouse) -> list[str]:
    """Load and return the partitions with something new."""
    return sorted(partition for _, partition, outcome in load(lake, warehouse).outcomes if outcome == "committed")


def test_each_commit_of_a_lake_without_a_log_is_read_a_few_times(lake: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of a new leaf is that of the newest commit, which only all commits together show. Each of them makes a leaf here."""
    for year in range(2000, 2010):
        commit(lake, [price(f"{year}-01-04")], partition=f"year={year}")
    shutil.rmtree(lake / "raw" / DATASET / commit_log.FOLDER)
    reads: Counter[str] = Counter()
    read_commit = Lake.read_commit
    monkeypatch.setattr(Lake, "read_commit", lambda self, *item: reads.update([item[1]]) or read_commit(self, *item))
    load(lake, warehouse, workers=1)
    assert len(reads) == 11
    assert max(reads.values()) <= 3


@pytest.mark.parametrize("is_known", [True, False])
def test_a_commit_that_comes_after_its_announcement_was_read_is_loaded(
    lake: Path, warehouse: Warehouse, tmp_path: Path, *, is_known: bool
) -> None:
    """A slow writer: others announce and commit after it, and loaders run before its commit is there."""
    if is_known:
        load(lake, warehouse)
    commit(lake, [price("2010-01-04")], partition="year=2010")
    late = lake / "raw" / DATASET / "year=2010" / "_commits" / "000001.json"
    late.rename(tmp_path / "late")
    commit(lake, [price("2011-01-04")], partition="year=2011")
    assert "year=2011" in committed(lake, warehouse)
    assert committed(lake, warehouse) == []
    (tmp_path / "late").rename(late)
    assert committed(lake, warehouse) == ["year=2010"]
    assert warehouse.rows("select open from raw._positions") == [({},)]


def test_an_entry_that_arrives_after_a_later_one_is_not_passed_over(lake: Path, warehouse: Warehouse, tmp_path: Path) -> None:
    """S3 replicates objects in any order."""
    load(lake, warehouse)
    for year in (2010, 2011):
        commit(lake, [price(f"{year}-01-04")], partition=f"year={year}")
    entry, made = (lake / "raw" / DATASET / name for name in ("_log/0000000002.json", "year=2010"))
    for path in (entry, made):
        path.rename(tmp_path / path.name)
    load(lake, warehouse)
    for path in (entry, made):
        (tmp_path / path.name).rename(path)
    load(lake, warehouse)
    assert sorted(current(warehouse)) == ["2010-01-04", "2011-01-04", "2012-01-03"]


def discover_after(lake: Lake, known: Position | None) -> tuple[set[str], Position | None]:
    """Return the partitions to look at after a position, and the next position."""
    now = datetime.now(UTC)
    found = discover(lake, DATASET, known, {}, now, LoadPolicy())
    return set(found.selected), Position(found.last.number, found.last.id, 0, now, found.missing) if found.last else None


@pytest.mark.parametrize("damage", [None, b"nonsense"])
def test_an_entry_that_is_lost_or_damaged_hides_no_commit(lake: Path, damage: bytes | None) -> None:
    """Neither its own nor those after it, however often they are looked for."""
    store = Lake(str(lake))
    _, known = discover_after(store, None)
    for year in (2010, 2011):
        commit(lake, [price(f"{year}-01-04")], partition=f"year={year}")
    entry = lake / "raw" / DATASET / "_log" / "0000000002.json"
    entry.unlink() if damage is None else entry.write_bytes(damage)
    for _ in range(2):
        selected, known = discover_after(store, known)
        assert {"year=2010", "year=2011"} <= selected
        assert known
        assert known.number == 1


def test_the_first_entry_may_arrive_after_a_later_one(lake: Path, tmp_path: Path) -> None:
    """A new warehouse loads from a lake that is still being replicated."""
    commit(lake, [price("2011-01-04")], partition="year=2011")
    folder = lake / "raw" / DATASET
    for name in ("_log/0000000001.json", "ticker=AAPL"):
        (folder / name).rename(tmp_path / name[-6:])
    selected, known = discover_after(Lake(str(lake)), None)
    assert selected == {"year=2011"}
    for name in ("_log/0000000001.json", "ticker=AAPL"):
        (tmp_path / name[-6:]).rename(folder / name)
    assert "ticker=AAPL/year=2012" in discover_after(Lake(str(lake)), known)[0]


def test_many_new_commits_are_found_by_one_listing_and_only_they_are_read(
    lake: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(lake, warehouse)
    made = [f"year={1990 + number}" for number in range(18)]
    for partition in made:
        commit(lake, [price(f"{partition[5:]}-01-04")], partition=partition)
    read: list[str] = []
    read_commit = Lake.read_commit
    monkeypatch.setattr(
        Lake, "read_commit", lambda self, dataset, part, number: read.append(part) or read_commit(self, dataset, part, number)
    )
    assert committed(lake, warehouse) == made
    assert set(read) == set(made)


def test_a_position_counts_for_its_ledger_and_its_lake_only(lake: Path, warehouse: Warehouse, tmp_path: Path) -> None:
    """Rows that were dropped to be loaded again are loaded; another lake is refused, though it has as many commits."""
    load(lake, warehouse)
    commit(tmp_path / "other", [price("2012-01-03", "9")])
    with pytest.raises(MisconfiguredError, match="which this lake does not have"):
        load(tmp_path / "other", warehouse)
    warehouse.run(f"drop table raw.{DATASET}; delete from raw._ledger")
    assert committed(lake, warehouse) == ["ticker=AAPL/year=2012"]
    assert current(warehouse) == {"2012-01-03": "1.500000"}


@pytest.mark.parametrize("is_during_load", [True, False])
def test_rows_that_are_dropped_while_others_are_loaded_are_loaded_again(
    lake: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, *, is_during_load: bool
) -> None:
    """Even if the ledger has as many rows as before."""
    commit(lake, [price("2011-01-04")], partition="year=2011")
    load(lake, warehouse)
    commit(lake, [price("2011-01-04", "2")], partition="year=2011")
    discover_datasets = runner.discover_datasets

    def drop(*arguments: Any) -> Any:
        found = discover_datasets(*arguments)
        warehouse.run("delete from raw.prices where date >= '2012-01-01'; delete from raw._ledger where partition like 'ticker%'")
        return found

    if is_during_load:
        with monkeypatch.context() as patched:
            patched.setattr(runner, "discover_datasets", drop)
            load(lake, warehouse)
    else:
        warehouse.run("delete from raw.prices where date >= '2012-01-01'; delete from raw._ledger where partition like 'ticker%'")
        load(lake, warehouse, partitions=["year=2011"])
    assert committed(lake, warehouse) == ["ticker=AAPL/year=2012"]
    assert current(warehouse) == {"2011-01-04": "2.000000", "2012-01-03": "1.500000"}
