"""Build the marts of one group of tickers with DuckDB, and write them as Parquet. A Ray worker runs this."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from finelt.lake_marts.model import MARTS, MODELS, PER_TICKER, PRICES, Built

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb
    import pyarrow as pa
    from pyiceberg.io import FileIO

    from finelt.lake_marts.model import Definitions, Prices, SmallTable

FUNCTIONS = Path(__file__).with_name("functions.sql")
RAW = "create view raw.tiingo_prices as select *, null::timestamptz as known_from, 'infinity'::timestamptz as known_to from prices"
ROW_GROUP = 1 << 17


def build_group(tickers: Sequence[str], definitions: Definitions, prices: Prices, folder: str) -> Built:
    """Build the marts of these tickers, and write them below `folder`, a URI."""
    import duckdb  # noqa: PLC0415  the driver needs none of it
    from pyiceberg.table import StaticTable  # noqa: PLC0415

    table = StaticTable.from_metadata(prices.metadata, dict(prices.properties))
    span = f"ticker >= '{tickers[0]}' and ticker <= '{tickers[-1]}'"  # files are skipped by it; no ticker has a quote
    rows = table.scan(row_filter=span, snapshot_id=prices.snapshot).to_arrow()
    with duckdb.connect(config={"threads": 1}) as database:
        marts = build(database, tickers, definitions, rows)
        files = {name: f"{folder}/{name}/{uuid.uuid4()}.parquet" for name, mart in marts.items() if mart.num_rows}
        for name, uri in files.items():
            _write(table.io, uri, marts[name])
    return Built(files, {name: mart.num_rows for name, mart in marts.items()})


def build(database: duckdb.DuckDBPyConnection, tickers: Sequence[str], definitions: Definitions, prices: pa.Table) -> dict[str, pa.Table]:
    """Return the marts of these tickers, from rows of the table of prices that may be others' as well."""
    database.execute("set TimeZone = 'UTC'")
    database.execute("set enable_progress_bar = false")  # it would be printed among the messages of the task
    for schema in ("raw", "staging", "intermediate", "marts"):
        database.execute(f"create schema {schema}")
    database.execute(FUNCTIONS.read_text(encoding="utf-8"))
    for name, table in definitions.tables.items():
        _create_table(database, name, table, tickers if name in PER_TICKER else None)
    database.register("prices", prices)
    database.execute(RAW)
    database.execute(f"create view {PRICES} as {definitions.code[PRICES]}")
    for name in MODELS:
        database.execute(f"create table {name} as {definitions.code[name]}")
    return {name: database.sql(f"from marts.{name} order by security_id, trade_date").to_arrow_table() for name in MARTS}


def _create_table(database: duckdb.DuckDBPyConnection, name: str, table: SmallTable, tickers: Sequence[str] | None) -> None:
    """Create a small table, with the rows of some tickers only if they are given."""
    import pyarrow as pa  # noqa: PLC0415

    types = {column: "decimal(38, 12)" if kind == "numeric" else kind for column, kind in table.columns.items()}
    columns = zip(*table.rows, strict=True) if table.rows else [() for _ in types]
    texts = pa.table({column: pa.array(values, pa.string()) for column, values in zip(types, columns, strict=True)})
    database.register("texts", texts)
    casts = ", ".join(f'"{column}"::{kind} as "{column}"' for column, kind in types.items())
    selected = "" if tickers is None else " where ticker in (select unnest(?))"
    database.execute(f"create table {name} as select {casts} from texts{selected}", [] if tickers is None else [list(tickers)])
    database.unregister("texts")


def _write(io: FileIO, uri: str, rows: pa.Table) -> None:
    from pyarrow import parquet  # noqa: PLC0415

    with io.new_output(uri).create(overwrite=False) as file:
        parquet.write_table(rows, file, compression="zstd", row_group_size=ROW_GROUP)
