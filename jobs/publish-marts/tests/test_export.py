"""Marts as files, from a real Postgres."""

from __future__ import annotations

import csv
import json
import signal
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from arro3.core import Array, DataType, RecordBatch, Table
from arro3.io import read_parquet, write_parquet
from jobkit.errors import BadDataError, MisconfiguredError
from publish_marts import export
from publish_marts.warehouse import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from publish_marts.export import Exported

    from tests.fixtures_postgres import Warehouse

KINDS = """
create schema marts;
create table marts.kinds (
    id bigint, ticker text, price numeric(18,6), wide numeric(38,10), loose numeric, ratio double precision, ok boolean,
    day date, moment timestamptz, note varchar(80), tags text[]
);
comment on table marts.kinds is 'One row per kind.';
comment on column marts.kinds.price is 'In USD.';
insert into marts.kinds values
    (2, 'Zürich, "CH"', -0.000001, 1234567890123456789012345678.0123456789, 0.1, 1/3.0::float8, true,
     'infinity', 'infinity', E'=1+1\\nline', '{a,b}'),
    (1, '@SUM(A1)', 143.500000, -1, 1e-20, 'NaN', false, '-infinity', '2012-12-31 22:30+01', '-5', null),
    (3, null, null, null, null, null, null, null, null, null, null);
"""


def exported(warehouse: Warehouse, folder: Path, name: str = "kinds") -> Exported:
    with snapshot(warehouse.url, warehouse.password) as opened:
        (mart,) = export.marts(opened, [name])
        folder.mkdir(exist_ok=True)
        return export.export(opened, mart, folder)


def made(warehouse: Warehouse, sql: str) -> None:
    with warehouse.connect() as connection:
        connection.execute(sql.encode())


def columns(one: Exported) -> dict[str, list[Any]]:
    table = read_parquet(one.path("parquet")).read_all()
    return {name: list(table.column(name).to_pylist()) for name in table.column_names}


def test_parquet_has_every_value_exactly(warehouse: Warehouse, tmp_path: Path) -> None:
    made(warehouse, KINDS)
    one = exported(warehouse, tmp_path)
    found = columns(one)
    assert one.rows == 3
    assert found["id"] == [1, 2, 3]
    assert found["ticker"] == ["@SUM(A1)", 'Zürich, "CH"', None]
    assert found["price"] == [Decimal("143.500000"), Decimal("-0.000001"), None]
    assert found["wide"] == [Decimal(-1), Decimal("1234567890123456789012345678.0123456789"), None]
    assert found["loose"] == ["0.00000000000000000001", "0.1", None]
    assert found["ratio"][1:] == [1 / 3, None]
    assert found["ok"] == [False, True, None]
    assert found["tags"] == [None, "{a,b}", None]
    schema = read_parquet(one.path("parquet")).schema
    types = [schema.field(name).type for name in ("price", "wide", "ratio")]
    assert types == [DataType.decimal128(18, 6), DataType.decimal128(38, 10), DataType.float64()]


def test_an_endless_day_is_the_last_one_and_an_endless_beginning_the_first(warehouse: Warehouse, tmp_path: Path) -> None:
    made(warehouse, KINDS)
    found = columns(exported(warehouse, tmp_path))
    assert found["day"] == [date(1, 1, 1), date(9999, 12, 31), None]
    assert found["moment"] == [datetime(2012, 12, 31, 21, 30, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC), None]


def test_csv_says_the_same_and_no_text_in_it_is_a_formula(warehouse: Warehouse, tmp_path: Path) -> None:
    made(warehouse, KINDS)
    with exported(warehouse, tmp_path).path("csv").open(encoding="utf-8", newline="") as file:
        first, second, third = csv.DictReader(file)
    assert (first["ticker"], first["note"]) == ("'@SUM(A1)", "'-5")
    assert (second["ticker"], second["note"]) == ('Zürich, "CH"', "'=1+1\nline")
    assert (second["price"], first["wide"], second["loose"]) == ("-0.000001", "-1.0000000000", "0.1")
    assert (second["day"], second["moment"]) == ("9999-12-31", "9999-12-31T00:00:00Z")
    assert set(third.values()) == {"3", ""}


@pytest.mark.parametrize("beside", ["", "A", "é", "0", None])
@pytest.mark.parametrize("formula", ["=1", "+1", "-1", "@A", "\t1", "\r1"])
def test_a_formula_is_found_whatever_is_beside_it(formula: str, beside: str | None) -> None:
    texts = Array(["Z", beside, formula], DataType.string())
    batch = export._without_formulas(RecordBatch.from_pydict({"text": texts}))
    assert batch.column("text").to_pylist() == ["Z", beside, f"'{formula}"]


@pytest.mark.parametrize("write", [export._write_csv, export._write_json])
def test_a_signal_is_answered_while_a_long_file_is_written(tmp_path: Path, write: Callable[[Path, Path], None]) -> None:
    numbers = Array(range(2_000_000), DataType.int64())
    write_parquet(Table.from_pydict(dict.fromkeys("abcdef", numbers)), tmp_path / "rows.parquet")

    class StoppedError(BaseException):
        pass

    def stop(_signal: int, _frame: object) -> None:
        raise StoppedError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(StoppedError):
            write(tmp_path / "rows.parquet", tmp_path / "rows")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert b"1999999" not in (tmp_path / "rows").read_bytes()[-200:]


def test_json_says_the_same(warehouse: Warehouse, tmp_path: Path) -> None:
    made(warehouse, KINDS)
    first, second, third = json.loads(exported(warehouse, tmp_path).path("json").read_text(encoding="utf-8"), parse_float=Decimal)
    assert (second["wide"], second["price"]) == (Decimal("1234567890123456789012345678.0123456789"), Decimal("-0.000001"))
    assert (first["note"], first["ratio"], first["ok"]) == ("-5", None, False)
    assert (second["day"], second["moment"]) == ("9999-12-31", "9999-12-31T00:00:00Z")
    assert third == {**dict.fromkeys(third), "id": 3}


def test_the_same_rows_give_the_same_bytes_however_they_lie_in_the_table(warehouse: Warehouse, tmp_path: Path) -> None:
    made(warehouse, KINDS)
    before = exported(warehouse, tmp_path / "a")
    rows = "create temp table kept as select * from marts.kinds; truncate marts.kinds; insert into marts.kinds select * from kept"
    made(warehouse, f"{rows} order by id desc")
    after = exported(warehouse, tmp_path / "b")
    assert [file.sha256 for file in before.files] == [file.sha256 for file in after.files]


def test_rows_are_in_order_of_the_unique_index_with_text_by_its_bytes(warehouse: Warehouse, tmp_path: Path) -> None:
    made(
        warehouse,
        "create schema marts; create table marts.t (n int, ticker text, day date);"
        "insert into marts.t values (1, 'b', '2012-01-02'), (2, 'B', '2012-01-02'), (3, 'a', '2012-01-03'), (4, 'b', '2011-12-30');"
        "create index on marts.t (n); create unique index on marts.t (ticker, day) where n > 2;"
        "create unique index on marts.t (day, ticker)",
    )
    one = exported(warehouse, tmp_path, "t")
    assert one.mart.key == ("day", "ticker")
    assert columns(one)["n"] == [4, 2, 1, 3]
    assert export.query(one.mart).endswith('order by mart."day", mart."ticker"::text collate "C", mart."n"')


def test_a_numeric_that_is_not_a_number_is_refused_by_name(warehouse: Warehouse, tmp_path: Path) -> None:
    made(warehouse, "create schema marts; create table marts.t as select 'NaN'::numeric(10,2) as price")
    with pytest.raises(BadDataError, match=r"marts\.t\.price holds NaN"):
        exported(warehouse, tmp_path, "t")


@pytest.mark.parametrize("type_", ["numeric(18,0)", "numeric(18,18)", "numeric(19,2)"])
def test_a_numeric_that_is_not_a_number_is_refused_whatever_its_digits(warehouse: Warehouse, tmp_path: Path, type_: str) -> None:
    made(warehouse, f"create schema marts; create table marts.t as select n as id, 'NaN'::{type_} as price from generate_series(1, 3) n")
    with pytest.raises(BadDataError, match=r"marts\.t\.price holds NaN or an infinity"):
        exported(warehouse, tmp_path, "t")


def test_numerics_with_as_many_digits_as_they_may_have_are_exact(warehouse: Warehouse, tmp_path: Path) -> None:
    nines = {
        "numeric(18,0)": "9" * 18,
        "numeric(18,6)": f"{'9' * 12}.{'9' * 6}",
        "numeric(18,18)": f"0.{'9' * 18}",
        "numeric(4,2)": "99.99",
    }
    columns_ = ", ".join(f"sign * {number}::{type_} as c{at}" for at, (type_, number) in enumerate(nines.items()))
    made(warehouse, f"create schema marts; create table marts.made as select {columns_} from unnest(array[-1, 1]) as sign")
    typed = ", ".join(f"c{at}::{type_} as c{at}" for at, type_ in enumerate(nines))
    made(warehouse, f"create table marts.t as select {typed} from marts.made")
    found = columns(exported(warehouse, tmp_path, "t"))
    assert found == {f"c{at}": [-Decimal(number), Decimal(number)] for at, number in enumerate(nines.values())}


def test_descriptions_and_types_come_from_the_catalog(warehouse: Warehouse, tmp_path: Path) -> None:
    made(warehouse, KINDS)
    mart = exported(warehouse, tmp_path).mart
    assert mart.description == "One row per kind."
    assert [(column.name, column.type, column.description) for column in mart.columns][2] == ("price", "numeric(18,6)", "In USD.")


def test_what_dbt_left_behind_is_no_mart(warehouse: Warehouse) -> None:
    made(warehouse, "create schema marts; create table marts.fct_yield (a int); create table marts.fct_yield__dbt_tmp (a int)")
    with snapshot(warehouse.url, warehouse.password) as opened:
        assert [mart.name for mart in export.marts(opened, [])] == ["fct_yield"]


def test_a_mart_that_is_not_there_is_named_with_those_that_are(warehouse: Warehouse) -> None:
    made(warehouse, "create schema marts; create table marts.fct_yield (a int)")
    refused = pytest.raises(MisconfiguredError, match="no mart fct_x .*there are fct_yield")
    with snapshot(warehouse.url, warehouse.password) as opened, refused:
        export.marts(opened, ["fct_x"])


def test_an_empty_mart_is_an_empty_file_of_each_kind(warehouse: Warehouse, tmp_path: Path) -> None:
    made(warehouse, "create schema marts; create table marts.t (day date, rate numeric(18,8))")
    one = exported(warehouse, tmp_path, "t")
    assert (one.rows, columns(one)) == (0, {"day": [], "rate": []})
    assert one.path("csv").read_text(encoding="utf-8") == "day,rate\n"
    assert json.loads(one.path("json").read_text(encoding="utf-8")) == []


def test_a_snapshot_is_of_one_moment(warehouse: Warehouse, tmp_path: Path) -> None:
    made(warehouse, "create schema marts; create table marts.t as select 1 as a")
    with snapshot(warehouse.url, warehouse.password) as opened:
        (mart,) = export.marts(opened, [])
        made(warehouse, "insert into marts.t values (2)")
        assert export.export(opened, mart, tmp_path).rows == 1
