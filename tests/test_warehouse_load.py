"""load-warehouse against a real Postgres: what it makes of commits, and that what it wrote is what was read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from arro3.core import DataType
from jobkit import names as jobkit_names
from jobkit.errors import BadDataError, MisconfiguredError, UsageError
from jobkit.lake import Lake
from jobkit.store import FileStore
from load_warehouse import copy, file_diff, parquet, partitioning, restatement, runner, tables, types

from tests import environments
from tests.warehouse_samples import DATASET, LEAF, PARTITION, PRICES, arguments, commit, current, days, load, made_at, price
from tests.warehouse_samples import versions as all_versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fixtures_postgres import Warehouse
    from tests.warehouse_samples import Row

ATTRIBUTES = """
select attname, format_type(atttypid, atttypmod) from pg_attribute
where attrelid = 'raw.prices'::regclass and attnum > 0 order by attnum
"""
LEAVES = "select inhrelid::regclass::text from pg_inherits where inhparent = 'raw.{}'::regclass order by 1"


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture(params=["what differs", "all"])
def compared(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restatement is compared with the file before, or as a whole in the warehouse."""
    monkeypatch.setattr(file_diff, "FEWEST", 1 if request.param == "what differs" else 1000)


both_ways = pytest.mark.usefixtures("compared")


def test_a_first_load_makes_a_split_table_with_the_vendors_columns_and_ours(lake: Path, warehouse: Warehouse) -> None:
    made = commit(lake, [price("2012-01-03"), price("2012-01-04")])
    commit(lake, [price("2011-12-30")], partition="ticker=AAPL/year=2011")
    job = load(lake, warehouse)
    assert sorted(job.outcomes) == [(DATASET, "ticker=AAPL/year=2011", "committed"), (DATASET, PARTITION, "committed")]
    assert warehouse.rows(ATTRIBUTES) == [
        ("_load_id", "bigint"),
        ("known_from", "timestamp with time zone"),
        ("known_to", "timestamp with time zone"),
        ("ticker", "text"),
        ("date", "date"),
        ("close", "numeric(18,6)"),
        ("volume", "bigint"),
        ("adjClose", "double precision"),
        ("_row_number", "integer"),
    ]
    assert warehouse.rows(LEAVES.format(DATASET)) == [('raw."prices-2011"',), ('raw."prices-2012"',)]
    assert warehouse.rows("select distinct known_from, known_to = 'infinity' from raw.prices where date > '2012-01-01'") == [
        (datetime.fromisoformat(made.known_at), True)
    ]
    ledger = "select dataset, partition, commit, sha256, rows from raw._ledger join raw.prices on _load_id = load_id where _row_number = 2"
    assert warehouse.rows(ledger) == [(DATASET, PARTITION, 1, made.data.sha256, 2)]


def test_the_same_commit_again_is_unchanged_and_reads_no_data_file(lake: Path, warehouse: Warehouse) -> None:
    made = commit(lake, [price("2012-01-03")])
    load(lake, warehouse)
    before = all_versions(warehouse)
    (lake / made.data.path).unlink()
    assert load(lake, warehouse).outcomes == [(DATASET, PARTITION, "unchanged")]
    assert all_versions(warehouse) == before


def test_what_is_unchanged_costs_one_listing_and_a_read_for_each_partition(
    lake: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    for year in (2010, 2011, 2012):
        commit(lake, [price(f"{year}-01-04")], partition=f"year={year}")
    load(lake, warehouse)
    asked = []
    for way in ("list", "get"):
        answer = getattr(FileStore, way)
        monkeypatch.setattr(FileStore, way, lambda store, key, way=way, answer=answer: asked.append(way) or answer(store, key))
    assert {outcome for _, _, outcome in load(lake, warehouse).outcomes} == {"unchanged"}
    assert sorted(asked) == ["get", "get", "get", "list"]


def test_a_second_partition_of_a_leaf_is_copied_into_it(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, [price("2012-01-03")])
    load(lake, warehouse)
    made = commit(lake, [price("2012-01-03", "600", "GOOG")], partition="ticker=GOOG/year=2012")
    load(lake, warehouse)
    assert warehouse.rows(LEAVES.format(DATASET)) == [('raw."prices-2012"',)]
    rows = warehouse.rows("select close, known_from, known_to = 'infinity' from raw.prices where ticker = 'GOOG'")
    assert rows == [(Decimal(600), datetime.fromisoformat(made.known_at), True)]


@both_ways
def test_a_restatement_closes_what_changed_or_vanished_and_leaves_the_rest_alone(lake: Path, warehouse: Warehouse) -> None:
    first = commit(lake, [price("2012-01-03", "1"), price("2012-01-04", "2"), price("2012-01-05", "3")])
    load(lake, warehouse)
    place = warehouse.rows("select ctid, xmin from raw.prices where date = '2012-01-03'")
    second = commit(lake, [price("2012-01-06", "4"), price("2012-01-04", "2.5"), price("2012-01-03", "1")])
    job = load(lake, warehouse)
    assert (job.details[0]["rows_added"], job.details[0]["rows_closed"], job.details[0]["commit"]) == (2, 2, 2)
    assert current(warehouse) == {"2012-01-03": "1.000000", "2012-01-04": "2.500000", "2012-01-06": "4.000000"}
    assert warehouse.rows("select ctid, xmin from raw.prices where date = '2012-01-03'") == place
    then, now = datetime.fromisoformat(first.known_at), datetime.fromisoformat(second.known_at)
    closed = "select date::text, known_from, known_to from raw.prices where known_to < 'infinity' order by 1"
    assert warehouse.rows(closed) == [("2012-01-04", then, now), ("2012-01-05", then, now)]
    as_of = f"select count(*), sum(close) from raw.prices where known_from <= '{then}' and known_to > '{then}'"
    assert warehouse.rows(as_of) == [(3, Decimal(6))]


@both_ways
def test_another_order_of_the_same_rows_changes_none(lake: Path, warehouse: Warehouse) -> None:
    rows = [price("2012-01-03", adjClose="NaN"), price("2012-01-04", volume=None)]
    commit(lake, rows)
    load(lake, warehouse)
    before = all_versions(warehouse)
    commit(lake, rows[::-1])
    assert load(lake, warehouse).details[0]["rows_added"] == 0
    assert all_versions(warehouse) == before


@both_ways
def test_a_value_that_comes_back_is_a_version_of_its_own(lake: Path, warehouse: Warehouse) -> None:
    for close in ("1", "2", "1"):
        commit(lake, [price("2012-01-03", close)])
        load(lake, warehouse)
    found = warehouse.rows("select close::int, known_to = 'infinity' from raw.prices order by known_from")
    assert found == [(1, False), (2, False), (1, True)]


def several_commits(lake: Path) -> None:
    """Restatements, a row that goes and comes back, a day without rows, a second partition of the leaf."""
    commit(lake, days(300))
    commit(lake, [{**row, "close": "7"} if index % 3 == 0 else row for index, row in enumerate(days(300))])
    commit(lake, days(290))
    commit(lake, [])
    commit(lake, days(300))
    for rows in (days(20, ticker="GOOG"), days(30, ticker="GOOG")):
        commit(lake, rows, partition="ticker=GOOG/year=2012")


@both_ways
def test_a_warehouse_rebuilt_from_the_lake_knows_the_same_at_the_same_times(lake: Path, warehouse: Warehouse, tmp_path: Path) -> None:
    several_commits(lake)
    load(lake, warehouse)
    rebuilt = all_versions(warehouse)
    warehouse.run("drop schema raw cascade")
    partial = tmp_path / "partial"
    for path in sorted(lake.rglob("*.json")):  # one commit after the other, as they were made
        shutil.copytree(lake, partial, dirs_exist_ok=True, ignore=lambda _, names: [name for name in names if name.endswith(".json")])
        shutil.copy(path, partial / path.relative_to(lake))
        load(partial, warehouse)
    assert all_versions(warehouse) == rebuilt
    assert len(rebuilt) > 800


@both_ways
@pytest.mark.parametrize("alone", [True, False])
def test_a_large_change_swaps_the_leaf_if_it_is_the_partitions_own(
    lake: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, *, alone: bool
) -> None:
    commit(lake, days(300))
    commit(lake, [{**row, "close": "7"} for row in days(300)])
    commit(lake, days(10, ticker="GOOG"), partition="ticker=GOOG/year=2012")
    load(lake, warehouse)
    in_place = all_versions(warehouse)
    warehouse.run("drop schema raw cascade")
    monkeypatch.setattr(restatement, "SWAP_ROWS", 300)
    other = "ticker=GOOG/year=2012"
    first, second = (PARTITION, other) if alone else (other, PARTITION)
    swapped: list[bool] = []
    attach = tables.attach
    monkeypatch.setattr(tables, "attach", lambda *given: swapped.append(tables.exists(given[0], given[2].name)) or attach(*given))
    load(lake, warehouse, partitions=[first])
    load(lake, warehouse, partitions=[second])
    assert all_versions(warehouse) == in_place
    assert swapped == ([False, True] if alone else [False])
    assert warehouse.rows("select count(*) from pg_indexes where schemaname = 'raw' and tablename = 'prices-2012'") == [(2,)]
    assert warehouse.rows("select count(*) from pg_tables where schemaname = 'stage'") == [(0,)]


def test_a_swap_that_readers_do_not_let_in_becomes_a_change_in_place(
    lake: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restatement, "SWAP_ROWS", 10)
    monkeypatch.setattr(tables, "SWAP_TRIES", 1)
    commit(lake, days(300))
    load(lake, warehouse)
    leaf = warehouse.rows("select 'raw.\"prices-2012\"'::regclass::oid")
    commit(lake, [{**row, "close": "7"} for row in days(300)])
    with warehouse.connect(autocommit=False) as reader:
        reader.execute("select count(*) from raw.prices")
        load(lake, warehouse)
    assert warehouse.rows("select 'raw.\"prices-2012\"'::regclass::oid") == leaf
    assert warehouse.rows("select count(*), count(*) filter (where known_to = 'infinity') from raw.prices") == [(600, 300)]


@both_ways
def test_a_commit_without_rows_closes_all_and_the_next_starts_again(lake: Path, warehouse: Warehouse) -> None:
    for rows in ([], [price("2012-01-03")], [], [price("2012-01-03")]):
        commit(lake, rows)
        load(lake, warehouse)
    assert warehouse.rows("select known_to = 'infinity' from raw.prices order by known_from") == [(False,), (True,)]
    assert warehouse.rows("select count(*) from raw._ledger") == [(4,)]


def test_known_times_grow_even_when_a_clock_was_set_back(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, [price("2012-01-03", "1")])
    made_at(lake, commit(lake, [price("2012-01-03", "2")]), "2001-02-03T04:05:06.000007Z")
    load(lake, warehouse)
    assert warehouse.rows("select close::int, known_from < known_to from raw.prices order by known_from") == [(1, True), (2, True)]


@both_ways
def test_a_new_column_widens_the_table_and_a_missing_one_reads_as_null(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, [price("2012-01-03")])
    commit(lake, [price("2012-01-03", divCash="0.5")], columns={**PRICES, "divCash": DataType.decimal128(18, 6)})
    fewer = {name: kind for name, kind in PRICES.items() if name != "volume"}
    commit(lake, [price("2011-01-03")], columns=fewer, partition="ticker=AAPL/year=2011")
    load(lake, warehouse, workers=1)
    found = warehouse.rows("select date::text, volume, \"divCash\", known_to = 'infinity' from raw.prices order by date, known_from")
    assert found == [("2011-01-03", None, None, True), ("2012-01-03", 1000, None, False), ("2012-01-03", 1000, Decimal("0.5"), True)]


def test_a_type_that_differs_is_refused_before_a_byte_is_copied(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, [price("2012-01-03")])
    load(lake, warehouse)
    before = all_versions(warehouse)
    commit(lake, [price("2012-01-03", volume="1")], columns={**PRICES, "volume": DataType.float64()})
    commit(lake, [price("2013-01-03")], columns={**PRICES, "close": DataType.decimal128(20, 6)}, partition="ticker=AAPL/year=2013")
    with pytest.raises(BadDataError, match=r"column 'volume' is double precision in the file and bigint in raw.prices.*1 more partitions"):
        load(lake, warehouse, workers=1)
    assert all_versions(warehouse) == before


def test_text_sorts_by_its_bytes_and_a_table_that_sorts_it_otherwise_is_loaded_as_it_is(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, [price("2012-01-03")])
    load(lake, warehouse)
    sorted_by = "select attcollation::regcollation::text from pg_attribute where attrelid = 'raw.prices'::regclass and attname = 'ticker'"
    assert warehouse.rows(sorted_by) == [('"C"',)]
    warehouse.run('alter table raw.prices alter ticker type text collate "default"')
    commit(lake, [price("2012-01-03", "2")])
    commit(lake, [price("2013-01-03")], partition="ticker=AAPL/year=2013")
    load(lake, warehouse)
    assert warehouse.rows(sorted_by) == [('"default"',)]
    assert current(warehouse) == {"2012-01-03": "2.000000", "2013-01-03": "1.500000"}


def test_bad_data_in_one_partition_keeps_no_other_out(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, [price("2011-01-03", volume="1")], columns={**PRICES, "volume": DataType.int16()}, partition="ticker=AAPL/year=2011")
    commit(lake, [price("2012-01-03")])
    with pytest.raises(BadDataError, match=r"prices/ticker=AAPL/year=2011.*'volume' is of Arrow type Int16"):
        load(lake, warehouse)
    assert current(warehouse) == {"2012-01-03": "1.500000"}


@pytest.mark.parametrize("first", [True, False])
def test_two_rows_with_one_key_are_refused_whole(lake: Path, warehouse: Warehouse, *, first: bool) -> None:
    if not first:
        commit(lake, [price("2012-01-03", "1")])
        load(lake, warehouse)
    commit(lake, [price("2012-01-03", "1"), price("2012-01-03", "2")])
    with pytest.raises(BadDataError, match="two rows have the same key") as refused:
        load(lake, warehouse)
    assert "2012-01-03" not in str(refused.value)  # a value may be confidential
    rows = [(1,)] if not first else []
    assert not first or warehouse.rows("select to_regclass('raw.\"prices-2012\"')") == [(None,)]
    assert warehouse.rows("select close::int from raw.prices") == rows


@both_ways
@pytest.mark.parametrize("again", [["1", "1"], ["2", "2"], ["1", "2"]])
def test_a_restated_row_that_comes_twice_is_refused_whether_it_changed_or_not(lake: Path, warehouse: Warehouse, again: list[str]) -> None:
    commit(lake, [price("2012-01-03", "1"), price("2012-01-04", "1")])
    load(lake, warehouse)
    before = all_versions(warehouse)
    commit(lake, [*(price("2012-01-03", close) for close in again), price("2012-01-04", "1")])
    with pytest.raises(BadDataError, match="two rows have the same key"):
        load(lake, warehouse)
    assert all_versions(warehouse) == before


@both_ways
def test_a_key_that_became_coarser_closes_what_is_gone_and_leaves_the_rest_alone(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, [price("2012-01-03"), price("2012-01-04"), price("2012-01-03", ticker="MSFT")])
    commit(lake, [price("2012-01-03"), price("2012-01-03", "2", ticker="MSFT")], key=("ticker",))
    load(lake, warehouse)
    found = "select ticker, date::text, close::int, known_to = 'infinity' from raw.prices order by 1, 2, 3"
    assert warehouse.rows(found) == [
        ("AAPL", "2012-01-03", 2, True),
        ("AAPL", "2012-01-04", 2, False),
        ("MSFT", "2012-01-03", 2, False),
        ("MSFT", "2012-01-03", 2, True),
    ]


@both_ways
def test_columns_may_have_the_names_of_what_a_restatement_is_made_with(lake: Path, warehouse: Warehouse) -> None:
    columns = {**PRICES, **dict.fromkeys(("held", "fresh", "f", "o", "n", "place", "changed"), DataType.utf8())}
    for value in ("1", "2"):
        commit(lake, [price("2012-01-03", held=value, fresh="x", f=None, o=value, n="y", place=value, changed="z")], columns=columns)
    load(lake, warehouse)
    found = "select held, fresh, f, o, n, place, changed, known_to = 'infinity' from raw.prices order by 1"
    assert warehouse.rows(found) == [(value, "x", None, value, "y", value, "z", value == "2") for value in ("1", "2")]


@both_ways
def test_a_key_with_null_in_it_is_a_key(lake: Path, warehouse: Warehouse) -> None:
    columns = {**PRICES, "start": DataType.date32()}
    for close in ("1", "2"):
        commit(lake, [price("2012-01-03", close), price("2012-01-03", close, start="2011-01-01")], columns=columns, key=("start", "ticker"))
        load(lake, warehouse)
    found = warehouse.rows("select start::text, close::int from raw.prices where known_to = 'infinity' order by 1")
    assert found == [("2011-01-01", 2), (None, 2)]
    assert warehouse.rows("select count(*) from raw.prices") == [(4,)]


def test_rows_of_two_leaves_in_one_partition_are_refused(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, [price("2012-01-03"), price("2013-01-03")])
    with pytest.raises(BadDataError, match="does not accept the rows"):
        load(lake, warehouse)
    assert warehouse.rows("select count(*) from raw._ledger") == [(0,)]


@pytest.mark.parametrize("encoder", ["pgpq", "psycopg"])
def test_text_with_nul_is_refused_and_nothing_is_visible(
    lake: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, encoder: str
) -> None:
    if encoder == "psycopg":
        monkeypatch.setattr(copy, "pgpq", None)
    commit(lake, [price("2012-01-03"), price("2012-01-04", ticker="A\0B")])
    with pytest.raises(BadDataError, match=r"does not accept the rows: invalid byte sequence .* 0x00"):
        load(lake, warehouse)
    assert warehouse.rows("select count(*) from raw.prices") == [(0,)]


EXACT = {
    "ticker": DataType.utf8(),
    "wide": DataType.decimal128(38, 10),
    "small": DataType.decimal128(18, 8),
    "whole": DataType.decimal128(38, 0),
    "float": DataType.float64(),
    "int": DataType.int64(),
    "short": DataType.int32(),
    "day": DataType.date32(),
    "at": DataType.timestamp("us", tz="UTC"),
    "yes": DataType.bool(),
}
VALUES: list[dict[str, str | None]] = [
    {"ticker": "", "wide": "-9999999999999999999999999999.9999999999", "small": "0.00000001", "whole": "9" * 38, "float": "NaN"},
    {"ticker": "ä\n\t\\N,\"'\u00a0猫", "wide": "0.0000000001", "small": "-0.10000000", "whole": "-" + "9" * 38, "float": "-Infinity"},
    {"ticker": "NULL", "float": "0.1", "int": "-9223372036854775808", "short": "-2147483648", "day": "0001-01-01", "yes": "true"},
    {"ticker": "z" * 2000, "float": "5e-324", "int": "9223372036854775807", "day": "9999-12-31", "at": "1969-12-31T23:59:59.999999Z"},
    {"ticker": "%s {} $1", "wide": "10000.0000000000", "small": "1000000000.00000000", "whole": "10000", "yes": "false"},
]


@pytest.mark.parametrize("encoder", ["pgpq", "psycopg"])
def test_every_value_arrives_exactly(lake: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, encoder: str) -> None:
    if encoder == "psycopg":
        monkeypatch.setattr(copy, "pgpq", None)
    commit_exact(lake)
    load(lake, warehouse)
    assert exact(warehouse) == arrived()


@pytest.mark.parametrize("encoder", ["pgpq", "psycopg"])
def test_where_arro3_is_not_to_be_had_pyarrow_reads_the_same(lake: Path, warehouse: Warehouse, encoder: str) -> None:
    (packages,) = Path(environments.python("pyarrow", "pyarrow==26.0.1")).parents[1].glob("lib/python*/site-packages")
    missing = ["arro3.io", *(["pgpq"] if encoder == "psycopg" else [])]
    program = (
        f"import sys; sys.modules |= dict.fromkeys({missing}); "
        "from load_warehouse import delta; delta.FEWEST = 1; from load_warehouse.__main__ import main; main()"
    )
    command = [sys.executable, "-c", program, "run", *arguments(lake, warehouse)]
    for rows in (VALUES[:-1], VALUES):
        commit_exact(lake, rows)
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(packages)}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert exact(warehouse) == arrived()


def commit_exact(lake: Path, rows: Sequence[Row] = VALUES) -> None:
    commit(lake, rows, dataset="exact", partition="file=all", columns=EXACT, key=("ticker",), leaf="hash(ticker, 1)")


def exact(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    names = ", ".join(f'"{name}"::text' for name in EXACT)
    return warehouse.rows(f"select {names} from raw.exact order by _row_number")


def arrived() -> list[tuple[str | None, ...]]:
    """The values as Postgres prints them."""
    told = {"1969-12-31T23:59:59.999999Z": "1969-12-31 23:59:59.999999+00"}
    return [tuple(told.get(row.get(name) or "", row.get(name)) for name in EXACT) for row in VALUES]


def test_a_hash_leaf_takes_the_rows_that_postgres_would_put_there(lake: Path, warehouse: Warehouse) -> None:
    columns = {"cik": DataType.int64(), "name": DataType.utf8()}
    for cik in range(1, 40):
        rows: list[dict[str, str | None]] = [{"cik": str(cik), "name": "x"}]
        commit(lake, rows, dataset="facts", partition=f"cik={cik:010}", columns=columns, key=("cik",), leaf="hash(cik, 16)")
    load(lake, warehouse)
    assert len(warehouse.rows(LEAVES.format("facts"))) == len(warehouse.rows("select distinct tableoid from raw.facts"))
    assert warehouse.rows("select count(*), count(distinct cik) from raw.facts") == [(39, 39)]
    assert warehouse.rows("select name from raw.facts where cik = 17") == [("x",)]


def test_hostile_column_names_are_quoted(lake: Path, warehouse: Warehouse) -> None:
    names = ['a"b', "100 % {} %s", "x); drop table raw._ledger; --", "place", "o", "select"]
    columns = {**PRICES, **{name: DataType.utf8() for name in names}}
    for value in ("1", "2"):
        commit(lake, [price("2012-01-03", **dict.fromkeys(names, value))], columns=columns, key=("date", 'a"b', "100 % {} %s"))
        load(lake, warehouse)
    assert warehouse.rows('select "a""b", "100 % {} %s" from raw.prices where known_to = \'infinity\'') == [("2", "2")]
    assert warehouse.rows("select count(*) from raw._ledger") == [(2,)]


@pytest.mark.parametrize("name", ["_load_id", "known_to", "ctid", "tableoid", "", "x" * 64])
def test_a_column_name_that_no_table_can_hold_is_refused(lake: Path, warehouse: Warehouse, name: str) -> None:
    commit(lake, [price("2012-01-03")], columns={**PRICES, name: DataType.utf8()})
    with pytest.raises(BadDataError, match="column name"):
        load(lake, warehouse)
    assert warehouse.rows("select to_regclass('raw.prices')") == [(None,)]


@pytest.mark.parametrize(
    "leaf", ["week(date)", "year(close)", "year(nothing)", "hash(ticker, 0)", "hash(ticker, 1); drop", "year(date", "", 'x"(date)']
)
def test_a_leaf_that_cannot_be_is_refused(lake: Path, warehouse: Warehouse, leaf: str) -> None:
    commit(lake, [price("2012-01-03")], leaf=leaf)
    with pytest.raises(BadDataError, match="leaf"):
        load(lake, warehouse)


def test_another_way_to_split_a_table_that_is_there_is_refused(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, [price("2012-01-03")])
    load(lake, warehouse)
    commit(lake, [price("2013-01-03")], partition="ticker=AAPL/year=2013", leaf="month(date)")
    with pytest.raises(MisconfiguredError, match=r"is split by year\(date\) and the commit asks for month\(date\)"):
        load(lake, warehouse)


def test_a_table_of_somebody_else_is_left_alone(lake: Path, warehouse: Warehouse) -> None:
    warehouse.run("create schema raw; create table raw.prices as select 1 as precious")
    commit(lake, [price("2012-01-03")])
    with pytest.raises(MisconfiguredError, match="not made by load-warehouse"):
        load(lake, warehouse)
    assert warehouse.rows("select precious from raw.prices") == [(1,)]


def test_a_lake_in_s3_loads_as_one_on_disk_does(warehouse: Warehouse, bucket: str) -> None:
    commit(f"s3://{bucket}/some/prefix", days(10))
    commit(f"s3://{bucket}/some/prefix", days(9))
    assert load(f"s3://{bucket}/some/prefix", warehouse).outcomes == [(DATASET, PARTITION, "committed")]
    assert warehouse.rows("select count(*), count(*) filter (where known_to = 'infinity') from raw.prices") == [(10, 9)]


def test_another_lake_than_the_one_loaded_is_refused(lake: Path, warehouse: Warehouse, tmp_path: Path) -> None:
    commit(lake, [price("2012-01-03", "1")])
    load(lake, warehouse)
    commit(tmp_path / "other", [price("2012-01-03", "2")])
    with pytest.raises(MisconfiguredError, match="is --lake the lake that this warehouse was loaded from"):
        load(tmp_path / "other", warehouse)


def test_what_is_not_in_the_lake_cannot_be_asked_for(lake: Path) -> None:
    commit(lake, [price("2012-01-03")])
    with pytest.raises(UsageError, match="no dataset yields in the lake .* it has prices"):
        runner.wanted(Lake(str(lake)), ["yields"], [])
    with pytest.raises(UsageError, match="no partition year=1999"):
        runner.wanted(Lake(str(lake)), [], ["year=1999"])
    with pytest.raises(UsageError, match="no partition year=1999 in"):
        runner.wanted(Lake(str(lake)), [], [PARTITION, "year=1999"])
    with pytest.raises(MisconfiguredError, match="has no committed partition to load"):
        runner.wanted(Lake(str(lake.parent / "nowhere")), [], [])


@pytest.mark.parametrize("by_name", [0, 100])
def test_partitions_asked_for_are_found_by_name_as_in_the_list(lake: Path, monkeypatch: pytest.MonkeyPatch, by_name: int) -> None:
    monkeypatch.setattr(runner, "BY_NAME", by_name)
    for dataset in ("fills", DATASET):
        for year in (2012, 2011):
            commit(lake, [price(f"{year}-01-03")], dataset=dataset, partition=f"year={year}")
    commit(lake, [price("2011-01-04")], partition="year=2011")
    assert runner.wanted(Lake(str(lake)), [], ["year=2012"]) == {("fills", "year=2012"): 1, (DATASET, "year=2012"): 1}
    assert list(runner.wanted(Lake(str(lake)), [DATASET], ["year=2012", "year=2011"]).items()) == [
        ((DATASET, "year=2011"), 2),
        ((DATASET, "year=2012"), 1),
    ]


def test_the_plan_names_what_would_be_loaded_and_loads_nothing(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, [price("2012-01-03")])
    asked = (str(lake), (), (), warehouse.url, warehouse.password)
    planned = {"dataset": DATASET, "partition": PARTITION, "from_commit": None, "to_commit": 1, "rows": 1}
    assert runner.plan(*asked) == [planned]
    assert warehouse.rows("select to_regnamespace('raw')") == [(None,)]
    load(lake, warehouse)
    assert runner.plan(*asked) == []
    commit(lake, days(2))
    assert runner.plan(*asked) == [{**planned, "from_commit": 1, "to_commit": 2, "rows": 2}]


def test_the_type_map_is_exact_or_says_no() -> None:
    known = {str(DataType.decimal128(18, 6)): "numeric(18,6)", str(DataType.timestamp("us", tz="UTC")): "timestamp with time zone"}
    printed = {parquet.type_name(kind): sql for kind, sql in known.items()}
    assert {kind: types.sql_type(kind) for kind in printed} == printed
    unknown = [DataType.timestamp("us"), DataType.timestamp("ns", tz="UTC"), DataType.uint64(), DataType.float32(), DataType.int16()]
    for kind in unknown:
        assert types.sql_type(parquet.type_name(kind)) is None


def test_leaf_names_fit_where_postgres_would_cut_them() -> None:
    longest = partitioning.hash_leaf("x" * 48, partitioning.Scheme("hash", "c", 999), 998, 1)
    assert len(f"{longest.name}-load") <= jobkit_names.LONGEST
    assert len(tables.stage_name("x" * 48, "p=1")) <= jobkit_names.LONGEST
    assert partitioning.scheme('year("date")', {"date": "date"}, "").text == LEAF
