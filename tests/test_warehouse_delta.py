"""What a restatement sends to the warehouse: what differs between two files, and nothing that is in both."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jobkit.lake import Lake
from load_warehouse import copy, file_diff, restatement

from tests.warehouse_samples import KEY, PRICES, commit, current, days, load, parquet, price
from tests.warehouse_samples import versions as all_versions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.fixtures_postgres import Warehouse
    from tests.warehouse_samples import Row

ROW = st.builds(
    price,
    st.integers(1, 28).map("2012-01-{:02}".format),
    st.sampled_from(["1", "2"]),
    volume=st.sampled_from(["1", "2", None]),
    adjClose=st.sampled_from(["1.5", "NaN", "-0.0", None]),
)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "BATCH_ROWS", 4)
    monkeypatch.setattr(file_diff, "FEWEST", 1)


def file(rows: Sequence[Row]) -> copy.Parquet:
    return copy.Parquet(parquet(rows), "test")


def counted(rows: copy.Parquet) -> Counter[tuple[str, ...]]:
    """How often each row is there, but for its number."""
    return Counter(
        row for batch in rows.batches() for row in zip(*(map(repr, batch.column(name).to_pylist()) for name in PRICES), strict=True)
    )


@pytest.mark.usefixtures("small_batches")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(ROW, max_size=28, unique_by=lambda row: row["date"]), st.lists(ROW, max_size=40))  # what is loaded has a key
def test_what_is_struck_out_of_one_file_is_struck_out_of_the_other(old: list[Row], new: list[Row]) -> None:
    before, after = file(old), file(new)
    left = file_diff.left(before, after, KEY)
    assert left is not None
    former, fresh = counted(left.former), counted(left.fresh)
    assert (former.total(), fresh.total()) == (left.former_rows, left.fresh_rows)
    assert former <= counted(before)
    assert fresh <= counted(after)
    assert counted(before) - former == counted(after) - fresh


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("seed", range(20))
def test_little_is_left_of_sorted_files_that_differ_in_little(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  rows, no secret
    old = days(1200)
    new = [row | {"close": "7"} if chance.random() < 0.01 else row for row in old if chance.random() > 0.01]
    new = sorted(new + days(10, ticker="ABB"), key=lambda row: (str(row["ticker"]), str(row["date"])))
    old.sort(key=lambda row: (str(row["ticker"]), str(row["date"])))
    left = file_diff.left(file(old), file(new), KEY)
    assert left is not None
    gone, come = counted(file(old)) - counted(file(new)), counted(file(new)) - counted(file(old))
    assert gone <= counted(left.former)
    assert come <= counted(left.fresh)
    assert left.former_rows <= gone.total() + 20
    assert left.fresh_rows <= come.total() + 20


def test_where_most_differs_the_files_are_not_read_to_their_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "BATCH_ROWS", 10)
    monkeypatch.setattr(file_diff, "BATCH_ROWS", 10)
    read: list[int] = []
    monkeypatch.setattr(file_diff.parquet, "take", lambda batch, rows: read.append(len(rows)) or batch)
    assert file_diff.left(file(days(300)), file([row | {"close": "7"} for row in days(300)]), KEY) is None
    assert sum(read) <= 60
    assert file_diff.left(file(days(10)), file(days(300)), KEY) is None


@pytest.mark.usefixtures("small_batches")
def test_only_what_differs_is_sent(tmp_path: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, int]] = []
    stage = restatement.stage
    monkeypatch.setattr(restatement, "stage", lambda *given: sent.append((given[2], given[4])) or stage(*given))
    commit(tmp_path, days(300))
    load(tmp_path, warehouse)
    commit(tmp_path, [row | {"close": "7"} if index in (5, 250) else row for index, row in enumerate(days(301))])
    job = load(tmp_path, warehouse)
    assert sent == [("former", 2), ("fresh", 3)]
    assert (job.details[0]["rows_added"], job.details[0]["rows_closed"]) == (3, 2)
    assert warehouse.rows("select count(*), count(*) filter (where known_to = 'infinity') from raw.prices") == [(303, 301)]


@pytest.mark.usefixtures("small_batches")
def test_rows_that_somebody_changed_in_the_warehouse_become_those_of_the_lake(tmp_path: Path, warehouse: Warehouse) -> None:
    commit(tmp_path, days(20))
    load(tmp_path, warehouse)
    warehouse.run("update raw.prices set known_to = known_from where date in ('2012-01-03', '2012-01-05')")
    commit(tmp_path, [row | {"close": "7"} if row["date"] == "2012-01-03" else row for row in days(20)])
    load(tmp_path, warehouse)
    assert len(current(warehouse)) == 20
    assert current(warehouse)["2012-01-03"] == "7.000000"


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_without_the_file_before_all_is_compared(tmp_path: Path, warehouse: Warehouse, harm: str) -> None:
    first = commit(tmp_path, days(20))
    load(tmp_path, warehouse)
    before = tmp_path / first.data.path
    before.unlink() if harm == "gone" else before.write_bytes(b"PAR1")
    commit(tmp_path, days(19))
    load(tmp_path, warehouse)
    assert len(current(warehouse)) == 19


@pytest.mark.parametrize("seed", range(5))
def test_both_ways_come_to_the_same(tmp_path: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  rows, no secret
    monkeypatch.setattr(copy, "BATCH_ROWS", 16)
    rows = days(500)
    for _ in range(4):
        commit(tmp_path, rows)
        rows = [row | {"close": str(chance.randrange(9))} if chance.random() < 0.05 else row for row in rows if chance.random() > 0.05]
        rows += chance.sample(days(500, ticker=chance.choice(["AAPL", "ABB", "C"])), 10)
        rows = list({(row["ticker"], row["date"]): row for row in rows}.values())
        chance.shuffle(rows) if seed % 2 else rows.sort(key=str)
    found = []
    for fewest in (1, 10_000):
        monkeypatch.setattr(file_diff, "FEWEST", fewest)
        load(tmp_path, warehouse)
        found.append(all_versions(warehouse))
        warehouse.run("drop schema raw cascade")
    assert found[0] == found[1]
    assert len(Lake(str(tmp_path)).history("prices", "ticker=AAPL/year=2012")) == 4
