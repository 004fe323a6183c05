"""The diff of two files: a restatement sends only rows that are not in both."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jobkit.lake import Lake
from load_warehouse import copy, file_diff, restatement
from load_warehouse.policy import LoadPolicy

from tests.warehouse.samples import KEY, PRICES, commit, current, days, load, parquet, price
from tests.warehouse.samples import versions as all_versions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from load_warehouse.file_diff import FileDiff

    from tests.fixtures_postgres import Warehouse
    from tests.warehouse.samples import Row

ROW = st.builds(
    price,
    st.integers(1, 28).map("2012-01-{:02}".format),
    st.sampled_from(["1", "2"]),
    volume=st.sampled_from(["1", "2", None]),
    adjClose=st.sampled_from(["1.5", "NaN", "-0.0", None]),
)


SMALL_BATCHES = LoadPolicy(batch_rows=4, min_diff_rows=1, max_diff_fraction=math.inf)


def file(rows: Sequence[Row], policy: LoadPolicy = SMALL_BATCHES) -> copy.ParquetFile:
    """Rows as the loader opens their Parquet file."""
    return copy.ParquetFile(parquet(rows), "test", policy.batch_rows)


def diff(old: Sequence[Row], new: Sequence[Row], policy: LoadPolicy = SMALL_BATCHES) -> FileDiff | None:
    """The diff of two files."""
    return file_diff.diff_files(file(old, policy), file(new, policy), KEY, policy)


def count_rows(rows: copy.ParquetFile) -> Counter[tuple[str, ...]]:
    """Count equal rows, without their row numbers."""
    return Counter(
        row for batch in rows.iter_batches() for row in zip(*(map(repr, batch.column(name).to_pylist()) for name in PRICES), strict=True)
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(ROW, max_size=28, unique_by=lambda row: row["date"]), st.lists(ROW, max_size=40))  # what is loaded has a key
def test_rows_removed_from_one_file_are_removed_from_the_other(old: list[Row], new: list[Row]) -> None:
    rest = diff(old, new)
    assert rest is not None
    previous, current = count_rows(rest.previous), count_rows(rest.current)
    assert (previous.total(), current.total()) == (rest.previous_rows, rest.current_rows)
    assert previous <= count_rows(file(old))
    assert current <= count_rows(file(new))
    assert count_rows(file(old)) - previous == count_rows(file(new)) - current


@pytest.mark.parametrize("seed", range(20))
def test_the_diff_of_similar_sorted_files_is_small(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  rows, no secret
    old = days(1200)
    new = [row | {"close": "7"} if chance.random() < 0.01 else row for row in old if chance.random() > 0.01]
    new = sorted(new + days(10, ticker="ABB"), key=lambda row: (str(row["ticker"]), str(row["date"])))
    old.sort(key=lambda row: (str(row["ticker"]), str(row["date"])))
    rest = diff(old, new)
    assert rest is not None
    removed, added = count_rows(file(old)) - count_rows(file(new)), count_rows(file(new)) - count_rows(file(old))
    assert removed <= count_rows(rest.previous)
    assert added <= count_rows(rest.current)
    assert rest.previous_rows <= removed.total() + 20
    assert rest.current_rows <= added.total() + 20


def test_files_that_differ_in_most_rows_are_not_read_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = LoadPolicy(batch_rows=10)
    kept: list[int] = []
    monkeypatch.setattr(file_diff.parquet, "take_rows", lambda batch, rows: kept.append(len(rows)) or batch)
    assert diff(days(300), [row | {"close": "7"} for row in days(300)], policy) is None
    assert sum(kept) <= 60
    assert diff(days(10), days(300), policy) is None


def test_only_changed_rows_are_sent(tmp_path: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, int]] = []
    stage_rows = restatement.stage_rows
    monkeypatch.setattr(restatement, "stage_rows", lambda *args: sent.append((args[2], args[4])) or stage_rows(*args))
    commit(tmp_path, days(300))
    load(tmp_path, warehouse, policy=SMALL_BATCHES)
    commit(tmp_path, [row | {"close": "7"} if index in (5, 250) else row for index, row in enumerate(days(301))])
    job = load(tmp_path, warehouse, policy=SMALL_BATCHES)
    assert sent == [(restatement.PREVIOUS, 2), (restatement.CURRENT, 3)]
    assert (job.details[0]["rows_added"], job.details[0]["rows_closed"]) == (3, 2)
    assert warehouse.rows("select count(*), count(*) filter (where known_to = 'infinity') from raw.prices") == [(303, 301)]


def test_rows_changed_by_hand_in_the_warehouse_are_restored_from_the_lake(tmp_path: Path, warehouse: Warehouse) -> None:
    commit(tmp_path, days(20))
    load(tmp_path, warehouse, policy=SMALL_BATCHES)
    warehouse.run("update raw.prices set known_to = known_from where date in ('2012-01-03', '2012-01-05')")
    commit(tmp_path, [row | {"close": "7"} if row["date"] == "2012-01-03" else row for row in days(20)])
    load(tmp_path, warehouse, policy=SMALL_BATCHES)
    assert len(current(warehouse)) == 20
    assert current(warehouse)["2012-01-03"] == "7.000000"


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_without_the_previous_file_all_rows_are_compared(tmp_path: Path, warehouse: Warehouse, harm: str) -> None:
    first = commit(tmp_path, days(20))
    load(tmp_path, warehouse, policy=SMALL_BATCHES)
    before = tmp_path / first.data.path
    before.unlink() if harm == "gone" else before.write_bytes(b"PAR1")
    commit(tmp_path, days(19))
    load(tmp_path, warehouse, policy=SMALL_BATCHES)
    assert len(current(warehouse)) == 19


@pytest.mark.parametrize("seed", range(5))
def test_diffing_files_and_sending_all_rows_give_the_same_table(tmp_path: Path, warehouse: Warehouse, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  rows, no secret
    rows = days(500)
    for _ in range(4):
        commit(tmp_path, rows)
        rows = [row | {"close": str(chance.randrange(9))} if chance.random() < 0.05 else row for row in rows if chance.random() > 0.05]
        rows += chance.sample(days(500, ticker=chance.choice(["AAPL", "ABB", "C"])), 10)
        rows = list({(row["ticker"], row["date"]): row for row in rows}.values())
        chance.shuffle(rows) if seed % 2 else rows.sort(key=str)
    found = []
    for min_diff_rows in (1, 10_000):
        load(tmp_path, warehouse, policy=LoadPolicy(batch_rows=16, min_diff_rows=min_diff_rows, max_diff_fraction=math.inf))
        found.append(all_versions(warehouse))
        warehouse.run("drop schema raw cascade")
    assert found[0] == found[1]
    assert len(Lake(str(tmp_path)).history("prices", "ticker=AAPL/year=2012")) == 4
