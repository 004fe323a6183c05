"""A dataset whose types, key or leaf changed: its table is reloaded, and then equals that of a warehouse that is loaded from nothing."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from arro3.core import DataType
from jobkit import expired_commits, failpoints
from jobkit.errors import BadDataError, MisconfiguredError
from jobkit.lake import Lake
from load_warehouse import reload
from load_warehouse.policy import LoadPolicy

from tests import kills
from tests.warehouse.samples import DATASET, KEY, LEAF, PARTITION, PRICES, Recorder, commit, load, price

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixtures_postgres import Warehouse
    from tests.warehouse.samples import Row

YEAR_2011, GOOG = "ticker=AAPL/year=2011", "ticker=GOOG/year=2012"
DECIMALS = {**PRICES, "volume": DataType.decimal128(20, 2)}
DIFF_FILES = LoadPolicy(min_diff_rows=1, swap_rows=2)


class Version(NamedTuple):
    """The rows of a commit, and what its contract says."""

    rows: list[Row]
    columns: dict[str, DataType] = PRICES
    key: tuple[str, ...] = KEY
    leaf: str = LEAF
    partition: str = PARTITION


def commit_all(lake: Path, *versions: Version) -> None:
    for version in versions:
        commit(lake, version.rows, partition=version.partition, columns=version.columns, key=version.key, leaf=version.leaf)


def run_reload(lake: Path, warehouse: Warehouse, *, forget_expired: bool = False) -> Recorder:
    job = Recorder()
    arguments = (job, str(lake), (DATASET,), warehouse.url, warehouse.password, 1)
    reload.run(*arguments, forget_expired=forget_expired, policy=DIFF_FILES)  # type: ignore[arg-type]
    return job


def read_plan(lake: Path, warehouse: Warehouse) -> list[dict[str, Any]]:
    return reload.plan(str(lake), (DATASET,), warehouse.url, warehouse.password)


DUMP = """
select to_jsonb(p) - '_load_id' || jsonb_build_object('commit', l.commit, 'partition', l.partition) from raw.prices p
join raw._ledger l on load_id = _load_id order by 1;
select to_jsonb(l) - 'load_id' - 'loaded_at' from raw._ledger l order by 1;
select to_jsonb(q) - '_load_id' from raw._quarantine q order by 1;
select attname, format_type(atttypid, atttypmod), attcollation::int, obj_description(attrelid) from pg_attribute
where attrelid = 'raw.prices'::regclass and attnum > 0 order by attnum;
select inhrelid::regclass::text, pg_get_expr(relpartbound, oid) from pg_inherits join pg_class on oid = inhrelid
where inhparent = 'raw.prices'::regclass order by 1;
select indexdef from pg_indexes where schemaname = 'raw' and tablename like 'prices%' order by 1;
select nspname, relname from pg_class join pg_namespace n on n.oid = relnamespace where nspname in ('raw', 'stage') order by 1, 2
"""


def dump(warehouse: Warehouse) -> list[list[tuple[Any, ...]]]:
    """Return everything that a warehouse has of the dataset, but for the numbers of its loads."""
    return [warehouse.rows(query) for query in DUMP.split(";")]


FIRST, SECOND, THIRD = [price("2012-01-03"), price("2012-02-03", "2")], [price("2012-01-03", "3")], [price("2012-01-03", "4")]
FINER = ("ticker", "date", "volume")
TWICE = [price("2012-01-03"), price("2012-01-03", volume="7")]
AS_TEXT = {**PRICES, "date": DataType.utf8()}
SHORTER = {**PRICES, "close": DataType.decimal128(10, 1), "volume": DataType.utf8(), "new": DataType.utf8()}
CHANGES = {
    "integer to decimal": (
        [Version(FIRST), Version([price("2011-01-03")], partition=YEAR_2011)],
        [Version([price("2012-01-03"), price("2012-02-03", "2", volume="1000.25")], DECIMALS)],
    ),
    "text to date": (
        [Version(FIRST, AS_TEXT, leaf="hash(ticker, 2)")],
        [Version(SECOND), Version([price("2011-01-03")], partition=YEAR_2011)],
    ),
    "scale and number to text": ([Version(FIRST), Version(SECOND)], [Version(FIRST, SHORTER)]),
    "key gains a column": ([Version(FIRST)], [Version(TWICE, key=FINER), Version(TWICE[:1], key=FINER)]),
    "key loses a column": ([Version(FIRST, key=FINER)], [Version(SECOND), Version([price("2012-01-03", ticker="GOOG")], partition=GOOG)]),
    "leaf from month to year": (
        [Version(FIRST[:1], leaf="month(date)"), Version([price("2012-03-03", ticker="GOOG")], leaf="month(date)", partition=GOOG)],
        [Version(SECOND, leaf="year(date)")],
    ),
    "leaf from year to hash": ([Version(FIRST)], [Version(SECOND, leaf="hash(ticker, 2)")]),
    "both types in one history": (
        [Version(FIRST), Version(SECOND)],
        [Version(FIRST, DECIMALS), Version(THIRD, DECIMALS), Version([price("2012-01-03", ticker="GOOG")], DECIMALS, partition=GOOG)],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_reloaded_table_equals_one_that_is_loaded_from_nothing(change: str, tmp_path: Path, warehouse: Warehouse) -> None:
    before, after = CHANGES[change]
    commit_all(tmp_path, *before)
    load(tmp_path, warehouse, workers=1)
    commit_all(tmp_path, *after)
    run_reload(tmp_path, warehouse)
    reloaded = dump(warehouse)
    assert {outcome for *_, outcome in (run_reload(tmp_path, warehouse).outcomes + load(tmp_path, warehouse).outcomes)} == {"unchanged"}
    assert read_plan(tmp_path, warehouse) == []
    assert dump(warehouse) == reloaded
    warehouse.run("drop schema raw cascade; drop schema stage cascade")
    load(tmp_path, warehouse, workers=1, policy=DIFF_FILES)
    assert dump(warehouse) == reloaded


def test_old_values_are_converted_and_equal_ones_are_no_restatement(tmp_path: Path, warehouse: Warehouse) -> None:
    commit_all(tmp_path, Version(FIRST), Version(SECOND))
    load(tmp_path, warehouse)
    commit_all(tmp_path, Version([*SECOND, price("2012-02-03", "2", volume="0.25")], DECIMALS))
    run_reload(tmp_path, warehouse)
    found = "select date::text, close::text, volume::text, known_to = 'infinity' from raw.prices order by date, known_from"
    assert warehouse.rows(found) == [
        ("2012-01-03", "1.500000", "1000.00", False),
        ("2012-01-03", "3.000000", "1000.00", True),
        ("2012-02-03", "2.000000", "1000.00", False),
        ("2012-02-03", "2.000000", "0.25", True),
    ]


REFUSALS = {
    "no exact equal": (
        [Version([price("2012-01-03", "1.25")])],
        Version([price("2012-01-03", "1.5")], {**PRICES, "close": DataType.decimal128(18, 1)}),
        r"prices/ticker=AAPL/year=2012 commit 1: column 'close' is numeric\(18,6\) there and numeric\(18,1\) .* value '1.25' of row 1 has",
    ),
    "a repeated key": (
        [Version(TWICE, key=FINER)],
        Version(TWICE[:1]),
        "prices/ticker=AAPL/year=2012 commit 1: two rows have the same ticker, date, .* the commit's key is ticker, date, volume; name",
    ),
    "a damaged commit": (
        [Version(FIRST), Version(SECOND)],
        Version(FIRST, DECIMALS),
        r"raw.prices is as before. .*000001.json is damaged",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_commit_that_cannot_be_loaded_again_keeps_the_table_as_it_is(refusal: str, tmp_path: Path, warehouse: Warehouse) -> None:
    before, after, message = REFUSALS[refusal]
    commit_all(tmp_path, *before)
    load(tmp_path, warehouse)
    commit_all(tmp_path, after)
    if refusal == "a damaged commit":
        (tmp_path / "raw/prices" / PARTITION / "_commits/000001.json").write_text("{}")
    unchanged = dump(warehouse)
    [step] = read_plan(tmp_path, warehouse)
    assert len(step["problems"]) == 1
    assert dump(warehouse) == unchanged  # the preview writes nothing
    with pytest.raises(BadDataError, match=message):
        run_reload(tmp_path, warehouse)
    assert dump(warehouse) == unchanged


def test_a_commit_of_a_new_shape_is_refused_until_the_table_is_reloaded(tmp_path: Path, warehouse: Warehouse) -> None:
    commit_all(tmp_path, Version(FIRST))
    load(tmp_path, warehouse)
    commit_all(tmp_path, Version(FIRST, DECIMALS))
    with pytest.raises(BadDataError, match=r"'volume' is numeric\(20,2\) in the file and bigint .* run `finelt reload prices`"):
        load(tmp_path, warehouse)
    commit_all(tmp_path, Version(FIRST, leaf="month(date)", partition=GOOG))
    with pytest.raises(MisconfiguredError, match=r"partitioned by year\(date\), but .* requires month\(date\); run `finelt reload prices`"):
        load(tmp_path, warehouse, partitions=[GOOG])
    commit_all(tmp_path, Version(FIRST), Version([price("2012-03-03"), price("2012-03-03", volume="7")], key=FINER))
    with pytest.raises(
        BadDataError, match=r"two rows have the same ticker, date, .* key is ticker, date, volume; run `finelt reload prices`"
    ):
        load(tmp_path, warehouse, partitions=[PARTITION])
    assert [step["differences"] for step in read_plan(tmp_path, warehouse)] == [["key: ticker, date -> ticker, date, volume"]]


def test_versions_that_only_the_warehouse_has_are_not_lost_unasked(tmp_path: Path, warehouse: Warehouse) -> None:
    commit_all(tmp_path, Version(FIRST), Version(SECOND))
    load(tmp_path, warehouse)
    lake = Lake(str(tmp_path))
    commits = lake.history(DATASET, PARTITION)[:1]
    commit_all(tmp_path, Version(THIRD, DECIMALS))
    expired_commits.write(lake.store, DATASET, PARTITION, [expired_commits.ExpiredCommit(1, commits[0].known_at)], None)
    lake.store.erase(lake.commit_key(DATASET, PARTITION, 1), lambda _: True)
    unchanged = dump(warehouse)
    assert read_plan(tmp_path, warehouse)[0]["expired"] == 1
    with pytest.raises(MisconfiguredError, match="1 commits of prices have expired in the lake, so only the warehouse has their versions"):
        run_reload(tmp_path, warehouse)
    assert dump(warehouse) == unchanged
    run_reload(tmp_path, warehouse, forget_expired=True)
    assert warehouse.rows("select close::int from raw.prices order by 1") == [(3,), (4,)]


def test_views_keep_the_old_table_until_they_are_made_anew_and_grants_stay(tmp_path: Path, warehouse: Warehouse) -> None:
    commit_all(tmp_path, Version(FIRST))
    load(tmp_path, warehouse)
    warehouse.run("create view public.volumes as select volume from raw.prices; grant select on raw.prices to public, pg_monitor")
    rights = (
        "select privilege_type, grantee::regrole::text from pg_class, aclexplode(relacl) where oid = 'raw.prices'::regclass order by 1, 2"
    )
    granted = warehouse.rows(rights)
    commit_all(tmp_path, Version([price("2012-01-03", volume="0.5")], DECIMALS))
    run_reload(tmp_path, warehouse)
    assert warehouse.rows("select * from public.volumes") == [(1000,), (1000,)]
    assert warehouse.rows(rights) == granted
    kept = "select count(*) from pg_class where relnamespace = 'stage'::regnamespace and relkind = 'p'"
    assert load(tmp_path, warehouse).outcomes == [(DATASET, PARTITION, "unchanged")]
    assert warehouse.rows(kept) == [(1,)]
    warehouse.run("drop view public.volumes; create view public.volumes as select volume from raw.prices where known_to = 'infinity'")
    load(tmp_path, warehouse)
    assert warehouse.rows("select volume::text from public.volumes") == [("0.50",)]
    assert warehouse.rows(kept) == [(0,)]


def test_a_killed_reload_goes_on_and_ends_like_one_that_was_not(
    tmp_path: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_all(tmp_path, *CHANGES["both types in one history"][0], Version([price("2011-01-03")], partition=YEAR_2011))
    load(tmp_path, warehouse)
    commit_all(tmp_path, *CHANGES["both types in one history"][1])
    before = dump(warehouse)
    points = ("after copy", "after commit", "after commit", "within swap of leaves", "within swap", "before commit", "after commit")
    swap = reload._swap

    def check_and_swap(*arguments: Any) -> None:
        assert dump(warehouse) == before[:-1] + dump(warehouse)[-1:]
        swap(*arguments)

    monkeypatch.setattr(reload, "_swap", check_and_swap)
    run = lambda: run_reload(tmp_path, warehouse)  # noqa: E731
    assert kills.run_with_kills(run, points, 1, monkeypatch) == len(points)
    reloaded = dump(warehouse)
    assert reloaded != before
    warehouse.run("drop schema raw cascade; drop schema stage cascade")
    load(tmp_path, warehouse, workers=1, policy=DIFF_FILES)
    assert dump(warehouse) == reloaded


def test_a_load_during_the_reload_is_in_the_new_table(tmp_path: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """One commit is loaded while the copy is made, another while the copy is put in the table's place: that load waits."""
    commit_all(tmp_path, Version(FIRST))
    load(tmp_path, warehouse)
    newest = Version([price("2012-01-03", "2", volume="0.5")], DECIMALS)
    commit_all(tmp_path, newest)
    waiting = threading.Thread(target=load, args=(tmp_path, warehouse))
    swap_if_complete, hit = reload._swap_if_complete, failpoints.hit

    def load_and_swap(*arguments: Any, **options: Any) -> bool:
        if not warehouse.rows("select from raw._ledger where partition = 'ticker=AAPL/year=2011'"):
            commit_all(tmp_path, Version([price("2011-01-03")], partition=YEAR_2011), newest, newest._replace(rows=THIRD))
            load(tmp_path, warehouse, partitions=[YEAR_2011])
        return swap_if_complete(*arguments, **options)

    def load_within_swap(name: str) -> None:
        if name == "within swap" and not waiting.ident:
            commit_all(tmp_path, Version([price("2012-01-03", ticker="GOOG")], DECIMALS, partition=GOOG))
            waiting.start()
            while not (waits := warehouse.rows("select locktype from pg_locks where not granted")):
                time.sleep(0.01)
            assert set(waits) == {("advisory",)}  # one of each worker
        hit(name)

    monkeypatch.setattr(reload, "_swap_if_complete", load_and_swap)
    monkeypatch.setattr(failpoints, "hit", load_within_swap)
    run_reload(tmp_path, warehouse)
    waiting.join()
    monkeypatch.undo()
    assert sorted(warehouse.rows("select partition, max(commit) from raw._ledger group by 1")) == [
        (YEAR_2011, 1),
        (PARTITION, 3),
        (GOOG, 1),
    ]
    reloaded = dump(warehouse)
    assert len(reloaded[0]) == 6
    warehouse.run("drop schema raw cascade; drop schema stage cascade")
    load(tmp_path, warehouse, workers=1, policy=DIFF_FILES)
    assert dump(warehouse) == reloaded
