"""Export marts to files from a real Postgres."""

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
from publish_marts import export, text_files
from publish_marts.warehouse import open_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from publish_marts.export import ExportedMart

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


def export_table(warehouse: Warehouse, folder: Path, name: str = "kinds") -> ExportedMart:
    with open_snapshot(warehouse.url, warehouse.password) as snapshot:
        (mart,) = export.list_marts(snapshot, [name])
        folder.mkdir(exist_ok=True)
        return export.export_mart(snapshot, mart, folder)


def run_sql(warehouse: Warehouse, sql: str) -> None:
    with warehouse.connect() as connection:
        connection.execute(sql.encode())


def read_columns(exported_mart: ExportedMart) -> dict[str, list[Any]]:
    table = read_parquet(exported_mart.path("parquet")).read_all()
    return {name: list(table.column(name).to_pylist()) for name in table.column_names}


def test_parquet_has_every_value_exactly(warehouse: Warehouse, tmp_path: Path) -> None:
    run_sql(warehouse, KINDS)
    exported_mart = export_table(warehouse, tmp_path)
    columns = read_columns(exported_mart)
    assert exported_mart.rows == 3
    assert columns["id"] == [1, 2, 3]
    assert columns["ticker"] == ["@SUM(A1)", 'Zürich, "CH"', None]
    assert columns["price"] == [Decimal("143.500000"), Decimal("-0.000001"), None]
    assert columns["wide"] == [Decimal(-1), Decimal("1234567890123456789012345678.0123456789"), None]
    assert columns["loose"] == ["0.00000000000000000001", "0.1", None]
    assert columns["ratio"][1:] == [1 / 3, None]
    assert columns["ok"] == [False, True, None]
    assert columns["tags"] == [None, "{a,b}", None]
    schema = read_parquet(exported_mart.path("parquet")).schema
    types = [schema.field(name).type for name in ("price", "wide", "ratio")]
    assert types == [DataType.decimal128(18, 6), DataType.decimal128(38, 10), DataType.float64()]


def test_infinity_is_written_as_the_last_or_first_date(warehouse: Warehouse, tmp_path: Path) -> None:
    run_sql(warehouse, KINDS)
    columns = read_columns(export_table(warehouse, tmp_path))
    assert columns["day"] == [date(1, 1, 1), date(9999, 12, 31), None]
    assert columns["moment"] == [datetime(2012, 12, 31, 21, 30, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC), None]


def test_csv_has_the_same_values_and_no_formula(warehouse: Warehouse, tmp_path: Path) -> None:
    run_sql(warehouse, KINDS)
    with export_table(warehouse, tmp_path).path("csv").open(encoding="utf-8", newline="") as file:
        first, second, third = csv.DictReader(file)
    assert (first["ticker"], first["note"]) == ("'@SUM(A1)", "'-5")
    assert (second["ticker"], second["note"]) == ('Zürich, "CH"', "'=1+1\nline")
    assert (second["price"], first["wide"], second["loose"]) == ("-0.000001", "-1.0000000000", "0.1")
    assert (second["day"], second["moment"]) == ("9999-12-31", "9999-12-31T00:00:00Z")
    assert set(third.values()) == {"3", ""}


@pytest.mark.parametrize("other", ["", "A", "é", "0", None])
@pytest.mark.parametrize("formula", ["=1", "+1", "-1", "@A", "\t1", "\r1"])
def test_a_formula_is_escaped_whatever_the_other_values_are(formula: str, other: str | None) -> None:
    texts = Array(["Z", other, formula], DataType.string())
    batch = text_files._escape_formulas(RecordBatch.from_pydict({"text": texts}))
    assert batch.column("text").to_pylist() == ["Z", other, f"'{formula}"]


@pytest.mark.parametrize("write", [text_files.write_csv, text_files.write_json])
def test_a_signal_is_handled_while_a_long_file_is_written(tmp_path: Path, write: Callable[[Path, Path], None]) -> None:
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


def test_json_has_the_same_values(warehouse: Warehouse, tmp_path: Path) -> None:
    run_sql(warehouse, KINDS)
    first, second, third = json.loads(export_table(warehouse, tmp_path).path("json").read_text(encoding="utf-8"), parse_float=Decimal)
    assert (second["wide"], second["price"]) == (Decimal("1234567890123456789012345678.0123456789"), Decimal("-0.000001"))
    assert (first["note"], first["ratio"], first["ok"]) == ("-5", None, False)
    assert (second["day"], second["moment"]) == ("9999-12-31", "9999-12-31T00:00:00Z")
    assert third == {**dict.fromkeys(third), "id": 3}


def test_the_same_rows_give_the_same_bytes_in_any_physical_order(warehouse: Warehouse, tmp_path: Path) -> None:
    run_sql(warehouse, KINDS)
    before = export_table(warehouse, tmp_path / "a")
    rows = "create temp table kept as select * from marts.kinds; truncate marts.kinds; insert into marts.kinds select * from kept"
    run_sql(warehouse, f"{rows} order by id desc")
    after = export_table(warehouse, tmp_path / "b")
    assert [file.sha256 for file in before.files] == [file.sha256 for file in after.files]


def test_rows_are_sorted_by_the_unique_index_and_text_by_bytes(warehouse: Warehouse, tmp_path: Path) -> None:
    run_sql(
        warehouse,
        "create schema marts; create table marts.t (n int, ticker text, day date);"
        "insert into marts.t values (1, 'b', '2012-01-02'), (2, 'B', '2012-01-02'), (3, 'a', '2012-01-03'), (4, 'b', '2011-12-30');"
        "create index on marts.t (n); create unique index on marts.t (ticker, day) where n > 2;"
        "create unique index on marts.t (day, ticker)",
    )
    exported_mart = export_table(warehouse, tmp_path, "t")
    assert exported_mart.mart.key == ("day", "ticker")
    assert read_columns(exported_mart)["n"] == [4, 2, 1, 3]
    assert export.build_query(exported_mart.mart).endswith('order by mart."day", mart."ticker"::text collate "C", mart."n"')


def test_a_numeric_nan_is_rejected_with_the_column_name(warehouse: Warehouse, tmp_path: Path) -> None:
    run_sql(warehouse, "create schema marts; create table marts.t as select 'NaN'::numeric(10,2) as price")
    with pytest.raises(BadDataError, match=r"marts\.t\.price contains NaN"):
        export_table(warehouse, tmp_path, "t")


@pytest.mark.parametrize("type_", ["numeric(18,0)", "numeric(18,18)", "numeric(19,2)"])
def test_a_numeric_nan_is_rejected_for_any_precision(warehouse: Warehouse, tmp_path: Path, type_: str) -> None:
    run_sql(warehouse, f"create schema marts; create table marts.t as select n as id, 'NaN'::{type_} as price from generate_series(1, 3) n")
    with pytest.raises(BadDataError, match=r"marts\.t\.price contains NaN or infinity"):
        export_table(warehouse, tmp_path, "t")


def test_numerics_with_the_maximum_digits_are_exact(warehouse: Warehouse, tmp_path: Path) -> None:
    nines = {
        "numeric(18,0)": "9" * 18,
        "numeric(18,6)": f"{'9' * 12}.{'9' * 6}",
        "numeric(18,18)": f"0.{'9' * 18}",
        "numeric(4,2)": "99.99",
    }
    columns_ = ", ".join(f"sign * {number}::{type_} as c{at}" for at, (type_, number) in enumerate(nines.items()))
    run_sql(warehouse, f"create schema marts; create table marts.made as select {columns_} from unnest(array[-1, 1]) as sign")
    typed = ", ".join(f"c{at}::{type_} as c{at}" for at, type_ in enumerate(nines))
    run_sql(warehouse, f"create table marts.t as select {typed} from marts.made")
    columns = read_columns(export_table(warehouse, tmp_path, "t"))
    assert columns == {f"c{at}": [-Decimal(number), Decimal(number)] for at, number in enumerate(nines.values())}


def test_descriptions_and_types_come_from_the_catalog(warehouse: Warehouse, tmp_path: Path) -> None:
    run_sql(warehouse, KINDS)
    mart = export_table(warehouse, tmp_path).mart
    assert mart.description == "One row per kind."
    assert [(column.name, column.type, column.description) for column in mart.columns][2] == ("price", "numeric(18,6)", "In USD.")


def test_temporary_tables_of_dbt_are_not_marts(warehouse: Warehouse) -> None:
    run_sql(warehouse, "create schema marts; create table marts.fct_yield (a int); create table marts.fct_yield__dbt_tmp (a int)")
    with open_snapshot(warehouse.url, warehouse.password) as snapshot:
        assert [mart.name for mart in export.list_marts(snapshot, [])] == ["fct_yield"]


def test_an_unknown_mart_is_named_together_with_the_existing_ones(warehouse: Warehouse) -> None:
    run_sql(warehouse, "create schema marts; create table marts.fct_yield (a int)")
    refused = pytest.raises(MisconfiguredError, match="no mart fct_x .*it has fct_yield")
    with open_snapshot(warehouse.url, warehouse.password) as snapshot, refused:
        export.list_marts(snapshot, ["fct_x"])


def test_an_empty_mart_gives_an_empty_file_in_each_format(warehouse: Warehouse, tmp_path: Path) -> None:
    run_sql(warehouse, "create schema marts; create table marts.t (day date, rate numeric(18,8))")
    exported_mart = export_table(warehouse, tmp_path, "t")
    assert (exported_mart.rows, read_columns(exported_mart)) == (0, {"day": [], "rate": []})
    assert exported_mart.path("csv").read_text(encoding="utf-8") == "day,rate\n"
    assert json.loads(exported_mart.path("json").read_text(encoding="utf-8")) == []


def test_a_snapshot_does_not_see_later_changes(warehouse: Warehouse, tmp_path: Path) -> None:
    run_sql(warehouse, "create schema marts; create table marts.t as select 1 as a")
    with open_snapshot(warehouse.url, warehouse.password) as snapshot:
        (mart,) = export.list_marts(snapshot, [])
        run_sql(warehouse, "insert into marts.t values (2)")
        assert export.export_mart(snapshot, mart, tmp_path).rows == 1


def test_json_is_written_by_another_process_for_many_rows(warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_sql(warehouse, KINDS)
    alone = export_table(warehouse, tmp_path / "alone")
    monkeypatch.setattr(export, "CONCURRENT_ROWS", 0)
    monkeypatch.setattr(text_files, "write_json", None)
    assert [file.sha256 for file in export_table(warehouse, tmp_path / "two").files] == [file.sha256 for file in alone.files]


def test_a_failure_of_the_other_process_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match=r"(?s)rows\.json was not written: .*No such file"),
        text_files.start_json(tmp_path / "none.parquet", tmp_path / "rows.json"),
    ):
        pass
