"""load-warehouse on a real Postgres: the tables it makes of commits, and that values are stored exactly."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from arro3.core import DataType
from jobkit import names as jobkit_names
from jobkit.errors import BadDataError, MisconfiguredError, UsageError
from jobkit.lake import Lake
from jobkit.postgres import staging_name
from load_warehouse import copy, parquet, partitioning, runner, tables, types
from load_warehouse.policy import LoadPolicy

from tests import environments
from tests.warehouse.samples import DATASET, LEAF, PARTITION, PRICES, commit, current, days, load, price, rewrite_known_at
from tests.warehouse.samples import versions as all_versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fixtures_postgres import Warehouse
    from tests.warehouse.samples import Row

ATTRIBUTES = """
select attname, format_type(atttypid, atttypmod) from pg_attribute
where attrelid = 'raw.prices'::regclass and attnum > 0 order by attnum
"""
LEAVES = "select inhrelid::regclass::text from pg_inherits where inhparent = 'raw.{}'::regclass order by 1"


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


DIFF_FILES = LoadPolicy(min_diff_rows=1)  # send what differs from the previous file
SEND_ALL = LoadPolicy(min_diff_rows=1000)  # send the whole file; the warehouse compares it
each_policy = pytest.mark.parametrize("policy", [DIFF_FILES, SEND_ALL], ids=["diff files", "send all"])


def test_the_first_load_creates_a_partitioned_table_with_vendor_and_meta_columns(lake: Path, warehouse: Warehouse) -> None:
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


def test_a_loaded_commit_is_unchanged_and_its_data_file_is_not_read(lake: Path, warehouse: Warehouse) -> None:
    made = commit(lake, [price("2012-01-03")])
    load(lake, warehouse)
    before = all_versions(warehouse)
    (lake / made.data.path).unlink()
    assert load(lake, warehouse).outcomes == [(DATASET, PARTITION, "unchanged")]
    assert all_versions(warehouse) == before


def test_a_second_partition_of_a_leaf_is_copied_into_it(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, [price("2012-01-03")])
    load(lake, warehouse)
    made = commit(lake, [price("2012-01-03", "600", "GOOG")], partition="ticker=GOOG/year=2012")
    load(lake, warehouse)
    assert warehouse.rows(LEAVES.format(DATASET)) == [('raw."prices-2012"',)]
    rows = warehouse.rows("select close, known_from, known_to = 'infinity' from raw.prices where ticker = 'GOOG'")
    assert rows == [(Decimal(600), datetime.fromisoformat(made.known_at), True)]


@each_policy
def test_a_restatement_closes_changed_and_removed_rows_and_does_not_rewrite_the_others(
    lake: Path, warehouse: Warehouse, policy: LoadPolicy
) -> None:
    first = commit(lake, [price("2012-01-03", "1"), price("2012-01-04", "2"), price("2012-01-05", "3")])
    load(lake, warehouse, policy=policy)
    address = warehouse.rows("select ctid, xmin from raw.prices where date = '2012-01-03'")
    second = commit(lake, [price("2012-01-06", "4"), price("2012-01-04", "2.5"), price("2012-01-03", "1")])
    job = load(lake, warehouse, policy=policy)
    assert (job.details[0]["rows_added"], job.details[0]["rows_closed"], job.details[0]["commit"]) == (2, 2, 2)
    assert current(warehouse) == {"2012-01-03": "1.000000", "2012-01-04": "2.500000", "2012-01-06": "4.000000"}
    assert warehouse.rows("select ctid, xmin from raw.prices where date = '2012-01-03'") == address
    then, now = datetime.fromisoformat(first.known_at), datetime.fromisoformat(second.known_at)
    closed = "select date::text, known_from, known_to from raw.prices where known_to < 'infinity' order by 1"
    assert warehouse.rows(closed) == [("2012-01-04", then, now), ("2012-01-05", then, now)]
    as_of = f"select count(*), sum(close) from raw.prices where known_from <= '{then}' and known_to > '{then}'"
    assert warehouse.rows(as_of) == [(3, Decimal(6))]


@each_policy
def test_the_same_rows_in_another_order_change_nothing(lake: Path, warehouse: Warehouse, policy: LoadPolicy) -> None:
    rows = [price("2012-01-03", adjClose="NaN"), price("2012-01-04", volume=None)]
    commit(lake, rows)
    load(lake, warehouse, policy=policy)
    before = all_versions(warehouse)
    commit(lake, rows[::-1])
    assert load(lake, warehouse, policy=policy).details[0]["rows_added"] == 0
    assert all_versions(warehouse) == before


@each_policy
def test_a_value_that_returns_is_a_new_version(lake: Path, warehouse: Warehouse, policy: LoadPolicy) -> None:
    for close in ("1", "2", "1"):
        commit(lake, [price("2012-01-03", close)])
        load(lake, warehouse, policy=policy)
    found = warehouse.rows("select close::int, known_to = 'infinity' from raw.prices order by known_from")
    assert found == [(1, False), (2, False), (1, True)]


def commit_history(lake: Path) -> None:
    """Commit restatements, a row that disappears and returns, an empty commit, and a second partition of the leaf."""
    commit(lake, days(300))
    commit(lake, [{**row, "close": "7"} if index % 3 == 0 else row for index, row in enumerate(days(300))])
    commit(lake, days(290))
    commit(lake, [])
    commit(lake, days(300))
    for rows in (days(20, ticker="GOOG"), days(30, ticker="GOOG")):
        commit(lake, rows, partition="ticker=GOOG/year=2012")


@each_policy
def test_a_warehouse_rebuilt_from_the_lake_has_the_same_versions_and_times(
    lake: Path, warehouse: Warehouse, policy: LoadPolicy, tmp_path: Path
) -> None:
    commit_history(lake)
    load(lake, warehouse, policy=policy)
    rebuilt = all_versions(warehouse)
    warehouse.run("drop schema raw cascade")
    partial = tmp_path / "partial"
    for path in sorted(lake.rglob("_commits/*.json")):  # one commit after the other, in their order; a lake without a log
        shutil.copytree(lake, partial, dirs_exist_ok=True, ignore=lambda _, names: [name for name in names if name.endswith(".json")])
        shutil.copy(path, partial / path.relative_to(lake))
        load(partial, warehouse, policy=policy)
    assert all_versions(warehouse) == rebuilt
    assert len(rebuilt) > 800


@each_policy
@pytest.mark.parametrize("alone", [True, False])
def test_a_large_change_swaps_a_leaf_that_holds_only_this_partition(
    lake: Path, warehouse: Warehouse, policy: LoadPolicy, monkeypatch: pytest.MonkeyPatch, *, alone: bool
) -> None:
    commit(lake, days(300))
    commit(lake, [{**row, "close": "7"} for row in days(300)])
    commit(lake, days(10, ticker="GOOG"), partition="ticker=GOOG/year=2012")
    load(lake, warehouse, policy=policy)
    in_place = all_versions(warehouse)
    warehouse.run("drop schema raw cascade")
    policy = replace(policy, swap_rows=300)
    other = "ticker=GOOG/year=2012"
    first, second = (PARTITION, other) if alone else (other, PARTITION)
    swapped: list[bool] = []
    attach_leaf = tables.attach_leaf
    monkeypatch.setattr(
        tables, "attach_leaf", lambda *args: swapped.append(tables.leaf_exists(args[0], args[2].name)) or attach_leaf(*args)
    )
    load(lake, warehouse, partitions=[first], policy=policy)
    load(lake, warehouse, partitions=[second], policy=policy)
    assert all_versions(warehouse) == in_place
    assert swapped == ([False, True] if alone else [False])
    assert warehouse.rows("select count(*) from pg_indexes where schemaname = 'raw' and tablename = 'prices-2012'") == [(2,)]
    assert warehouse.rows("select count(*) from pg_tables where schemaname = 'stage'") == [(0,)]


def test_a_swap_blocked_by_readers_becomes_a_change_in_place(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, days(300))
    load(lake, warehouse)
    leaf = warehouse.rows("select 'raw.\"prices-2012\"'::regclass::oid")
    commit(lake, [{**row, "close": "7"} for row in days(300)])
    with warehouse.connect(autocommit=False) as reader:
        reader.execute("select count(*) from raw.prices")
        load(lake, warehouse, policy=LoadPolicy(swap_rows=10, swap_tries=1))
    assert warehouse.rows("select 'raw.\"prices-2012\"'::regclass::oid") == leaf
    assert warehouse.rows("select count(*), count(*) filter (where known_to = 'infinity') from raw.prices") == [(600, 300)]


@each_policy
def test_an_empty_commit_closes_all_rows_and_the_next_adds_them_again(lake: Path, warehouse: Warehouse, policy: LoadPolicy) -> None:
    for rows in ([], [price("2012-01-03")], [], [price("2012-01-03")]):
        commit(lake, rows)
        load(lake, warehouse, policy=policy)
    assert warehouse.rows("select known_to = 'infinity' from raw.prices order by known_from") == [(False,), (True,)]
    assert warehouse.rows("select count(*) from raw._ledger") == [(4,)]


def test_known_times_increase_even_if_a_clock_was_set_back(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, [price("2012-01-03", "1")])
    rewrite_known_at(lake, commit(lake, [price("2012-01-03", "2")]), "2001-02-03T04:05:06.000007Z")
    load(lake, warehouse)
    assert warehouse.rows("select close::int, known_from < known_to from raw.prices order by known_from") == [(1, True), (2, True)]


@each_policy
def test_a_new_column_is_added_and_a_missing_one_is_null(lake: Path, warehouse: Warehouse, policy: LoadPolicy) -> None:
    commit(lake, [price("2012-01-03")])
    commit(lake, [price("2012-01-03", divCash="0.5")], columns={**PRICES, "divCash": DataType.decimal128(18, 6)})
    fewer = {name: kind for name, kind in PRICES.items() if name != "volume"}
    commit(lake, [price("2011-01-03")], columns=fewer, partition="ticker=AAPL/year=2011")
    load(lake, warehouse, workers=1, policy=policy)
    found = warehouse.rows("select date::text, volume, \"divCash\", known_to = 'infinity' from raw.prices order by date, known_from")
    assert found == [("2011-01-03", None, None, True), ("2012-01-03", 1000, None, False), ("2012-01-03", 1000, Decimal("0.5"), True)]


def test_a_column_of_another_type_is_refused_before_the_copy(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, [price("2012-01-03")])
    load(lake, warehouse)
    before = all_versions(warehouse)
    commit(lake, [price("2012-01-03", volume="1")], columns={**PRICES, "volume": DataType.float64()})
    commit(lake, [price("2013-01-03")], columns={**PRICES, "close": DataType.decimal128(20, 6)}, partition="ticker=AAPL/year=2013")
    with pytest.raises(BadDataError, match=r"column 'volume' is double precision in the file and bigint in raw.prices.*1 more partitions"):
        load(lake, warehouse, workers=1)
    assert all_versions(warehouse) == before


def test_text_is_collated_by_bytes_and_an_existing_collation_is_kept(lake: Path, warehouse: Warehouse) -> None:
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


def test_bad_data_in_one_partition_does_not_stop_the_others(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, [price("2011-01-03", volume="1")], columns={**PRICES, "volume": DataType.int16()}, partition="ticker=AAPL/year=2011")
    commit(lake, [price("2012-01-03")])
    with pytest.raises(BadDataError, match=r"prices/ticker=AAPL/year=2011.*'volume' has the Arrow type Int16"):
        load(lake, warehouse)
    assert current(warehouse) == {"2012-01-03": "1.500000"}


@pytest.mark.parametrize("first", [True, False])
def test_a_commit_with_duplicate_keys_is_refused_as_a_whole(lake: Path, warehouse: Warehouse, *, first: bool) -> None:
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


@each_policy
@pytest.mark.parametrize("again", [["1", "1"], ["2", "2"], ["1", "2"]])
def test_a_restatement_with_duplicate_keys_is_refused_whether_rows_changed_or_not(
    lake: Path, warehouse: Warehouse, policy: LoadPolicy, again: list[str]
) -> None:
    commit(lake, [price("2012-01-03", "1"), price("2012-01-04", "1")])
    load(lake, warehouse, policy=policy)
    before = all_versions(warehouse)
    commit(lake, [*(price("2012-01-03", close) for close in again), price("2012-01-04", "1")])
    with pytest.raises(BadDataError, match="two rows have the same key"):
        load(lake, warehouse, policy=policy)
    assert all_versions(warehouse) == before


@each_policy
def test_a_commit_with_a_coarser_key_closes_removed_rows_and_keeps_the_others(lake: Path, warehouse: Warehouse, policy: LoadPolicy) -> None:
    commit(lake, [price("2012-01-03"), price("2012-01-04"), price("2012-01-03", ticker="MSFT")])
    commit(lake, [price("2012-01-03"), price("2012-01-03", "2", ticker="MSFT")], key=("ticker",))
    load(lake, warehouse, policy=policy)
    found = "select ticker, date::text, close::int, known_to = 'infinity' from raw.prices order by 1, 2, 3"
    assert warehouse.rows(found) == [
        ("AAPL", "2012-01-03", 2, True),
        ("AAPL", "2012-01-04", 2, False),
        ("MSFT", "2012-01-03", 2, False),
        ("MSFT", "2012-01-03", 2, True),
    ]


# Aliases and temporary tables of a restatement.
INTERNAL_NAMES = ("stored", "staged", "staged_current", "staged_previous", "changed", "c", "d", "k", "p", "s", "address")


@each_policy
def test_columns_may_have_the_names_of_internal_tables_and_aliases(lake: Path, warehouse: Warehouse, policy: LoadPolicy) -> None:
    columns = {**PRICES, **dict.fromkeys(INTERNAL_NAMES, DataType.utf8())}
    for value in ("1", "2"):
        values = {**dict.fromkeys(INTERNAL_NAMES, value), "p": None}
        commit(lake, [price("2012-01-03", **values)], columns=columns)
    load(lake, warehouse, policy=policy)
    found = warehouse.rows(f"select {', '.join(INTERNAL_NAMES)}, known_to = 'infinity' from raw.prices order by 1")
    assert found == [(*(None if name == "p" else value for name in INTERNAL_NAMES), value == "2") for value in ("1", "2")]


@each_policy
def test_a_key_column_may_be_null(lake: Path, warehouse: Warehouse, policy: LoadPolicy) -> None:
    columns = {**PRICES, "start": DataType.date32()}
    for close in ("1", "2"):
        commit(lake, [price("2012-01-03", close), price("2012-01-03", close, start="2011-01-01")], columns=columns, key=("start", "ticker"))
        load(lake, warehouse, policy=policy)
    found = warehouse.rows("select start::text, close::int from raw.prices where known_to = 'infinity' order by 1")
    assert found == [("2011-01-01", 2), (None, 2)]
    assert warehouse.rows("select count(*) from raw.prices") == [(4,)]


def test_a_partition_with_rows_of_two_leaves_is_refused(lake: Path, warehouse: Warehouse) -> None:
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
def test_every_value_is_stored_exactly(lake: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, encoder: str) -> None:
    if encoder == "psycopg":
        monkeypatch.setattr(copy, "pgpq", None)
    commit_exact(lake)
    load(lake, warehouse)
    assert fetch_exact(warehouse) == expected_values()


LOAD_WITHOUT = """
import os, sys
from types import SimpleNamespace

lake, warehouse, *missing = sys.argv[1:]
sys.modules |= dict.fromkeys(missing)

from load_warehouse import runner
from load_warehouse.policy import LoadPolicy

job = SimpleNamespace(record_partition=lambda *_, **__: None, progress=lambda *_: None)
runner.run(job, lake, (), (), warehouse, os.environ["PASSWORD"], 1, LoadPolicy(min_diff_rows=1))
"""


@pytest.mark.parametrize("encoder", ["pgpq", "psycopg"])
def test_pyarrow_reads_the_same_values_without_arro3(lake: Path, warehouse: Warehouse, encoder: str) -> None:
    (packages,) = Path(environments.python("pyarrow", "pyarrow==26.0.1")).parents[1].glob("lib/python*/site-packages")
    missing = ["arro3.io", *(["pgpq"] if encoder == "psycopg" else [])]
    command = [sys.executable, "-c", LOAD_WITHOUT, str(lake), warehouse.url, *missing]
    environ = {**os.environ, "PYTHONPATH": str(packages), "PASSWORD": warehouse.password}
    for rows in (VALUES[:-1], VALUES):
        commit_exact(lake, rows)
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert fetch_exact(warehouse) == expected_values()


def commit_exact(lake: Path, rows: Sequence[Row] = VALUES) -> None:
    """Commit rows with a column of every type."""
    commit(lake, rows, dataset="exact", partition="file=all", columns=EXACT, key=("ticker",), leaf="hash(ticker, 1)")


def fetch_exact(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    """Return the stored rows as text, in the order of the file."""
    names = ", ".join(f'"{name}"::text' for name in EXACT)
    return warehouse.rows(f"select {names} from raw.exact order by _row_number")


def expected_values() -> list[tuple[str | None, ...]]:
    """The committed values as Postgres prints them."""
    printed = {"1969-12-31T23:59:59.999999Z": "1969-12-31 23:59:59.999999+00"}
    return [tuple(printed.get(row.get(name) or "", row.get(name)) for name in EXACT) for row in VALUES]


def test_rows_are_in_the_hash_leaf_that_postgres_expects(lake: Path, warehouse: Warehouse) -> None:
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
def test_a_column_name_that_postgres_cannot_have_is_refused(lake: Path, warehouse: Warehouse, name: str) -> None:
    commit(lake, [price("2012-01-03")], columns={**PRICES, name: DataType.utf8()})
    with pytest.raises(BadDataError, match="column name"):
        load(lake, warehouse)
    assert warehouse.rows("select to_regclass('raw.prices')") == [(None,)]


@pytest.mark.parametrize(
    "leaf", ["week(date)", "year(close)", "year(nothing)", "hash(ticker, 0)", "hash(ticker, 1); drop", "year(date", "", 'x"(date)']
)
def test_an_invalid_leaf_expression_is_refused(lake: Path, warehouse: Warehouse, leaf: str) -> None:
    commit(lake, [price("2012-01-03")], leaf=leaf)
    with pytest.raises(BadDataError, match="leaf"):
        load(lake, warehouse)


def test_another_partitioning_of_an_existing_table_is_refused(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, [price("2012-01-03")])
    load(lake, warehouse)
    commit(lake, [price("2013-01-03")], partition="ticker=AAPL/year=2013", leaf="month(date)")
    with pytest.raises(MisconfiguredError, match=r"year\(date\), .* month\(date\)"):
        load(lake, warehouse)


def test_a_table_of_another_program_is_not_touched(lake: Path, warehouse: Warehouse) -> None:
    warehouse.run("create schema raw; create table raw.prices as select 1 as precious")
    commit(lake, [price("2012-01-03")])
    with pytest.raises(MisconfiguredError, match="load-warehouse did not create it"):
        load(lake, warehouse)
    assert warehouse.rows("select precious from raw.prices") == [(1,)]


def test_a_lake_in_s3_loads_like_one_on_disk(warehouse: Warehouse, bucket: str) -> None:
    commit(f"s3://{bucket}/some/prefix", days(10))
    commit(f"s3://{bucket}/some/prefix", days(9))
    assert load(f"s3://{bucket}/some/prefix", warehouse).outcomes == [(DATASET, PARTITION, "committed")]
    assert warehouse.rows("select count(*), count(*) filter (where known_to = 'infinity') from raw.prices") == [(10, 9)]


def test_another_lake_than_the_loaded_one_is_refused(lake: Path, warehouse: Warehouse, tmp_path: Path) -> None:
    commit(lake, [price("2012-01-03", "1")])
    load(lake, warehouse)
    commit(tmp_path / "other", [price("2012-01-03", "2")])
    with pytest.raises(MisconfiguredError, match="--lake"):
        load(tmp_path / "other", warehouse)


def test_unknown_datasets_and_partitions_are_refused(lake: Path) -> None:
    commit(lake, [price("2012-01-03")])
    with pytest.raises(UsageError, match="no dataset yields in the lake .* it has prices"):
        runner.select_partitions(Lake(str(lake)), ["yields"], [])
    with pytest.raises(UsageError, match="no partition year=1999"):
        runner.select_partitions(Lake(str(lake)), [], ["year=1999"])
    with pytest.raises(UsageError, match="no partition year=1999 in"):
        runner.select_partitions(Lake(str(lake)), [], [PARTITION, "year=1999"])
    with pytest.raises(MisconfiguredError, match="has no committed partition to load"):
        runner.select_partitions(Lake(str(lake.parent / "nowhere")), [], [])


@pytest.mark.parametrize("max_lookups", [0, 100])
def test_looking_partitions_up_finds_the_same_as_listing_them(lake: Path, max_lookups: int) -> None:
    policy = LoadPolicy(max_lookups=max_lookups)
    for dataset in ("fills", DATASET):
        for year in (2012, 2011):
            commit(lake, [price(f"{year}-01-03")], dataset=dataset, partition=f"year={year}")
    commit(lake, [price("2011-01-04")], partition="year=2011")
    assert runner.select_partitions(Lake(str(lake)), [], ["year=2012"], policy) == {("fills", "year=2012"): 1, (DATASET, "year=2012"): 1}
    assert list(runner.select_partitions(Lake(str(lake)), [DATASET], ["year=2012", "year=2011"], policy).items()) == [
        ((DATASET, "year=2011"), 2),
        ((DATASET, "year=2012"), 1),
    ]


def test_the_plan_lists_what_would_be_loaded_and_loads_nothing(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, [price("2012-01-03")])
    arguments = (str(lake), (), (), warehouse.url, warehouse.password)
    planned = {"dataset": DATASET, "partition": PARTITION, "from_commit": None, "to_commit": 1, "rows": 1}
    assert runner.plan(*arguments) == [planned]
    assert warehouse.rows("select to_regnamespace('raw')") == [(None,)]
    load(lake, warehouse)
    assert runner.plan(*arguments) == []
    commit(lake, days(2))
    assert runner.plan(*arguments) == [{**planned, "from_commit": 1, "to_commit": 2, "rows": 2}]


def test_only_types_with_an_exact_counterpart_are_mapped() -> None:
    known = {str(DataType.decimal128(18, 6)): "numeric(18,6)", str(DataType.timestamp("us", tz="UTC")): "timestamp with time zone"}
    printed = {parquet.type_name(kind): sql for kind, sql in known.items()}
    assert {kind: types.sql_type(kind) for kind in printed} == printed
    unknown = [DataType.timestamp("us"), DataType.timestamp("ns", tz="UTC"), DataType.uint64(), DataType.float32(), DataType.int16()]
    for kind in unknown:
        assert types.sql_type(parquet.type_name(kind)) is None


def test_leaf_names_fit_into_an_identifier_of_postgres() -> None:
    longest = partitioning.make_hash_leaf("x" * 48, partitioning.Scheme("hash", "c", 999), 998, 1)
    assert len(f"{longest.name}-load") <= jobkit_names.LONGEST
    assert len(staging_name("x" * 48, "p=1")) <= jobkit_names.LONGEST
    assert partitioning.parse_scheme('year("date")', {"date": "date"}, "").text == LEAF
