"""Answer questions with one engine: `runner.py ENGINE`, JSON on stdin, one line of JSON on stdout.

Runs in the environment of the engine, so it imports nothing of finelt. A question is a table at a moment; its columns are pairs of a name
and a kind of sum, or None. An answer has the number of rows, and of each column how many values it has and their sum as text. What an
engine refuses has its `error` instead.
"""

# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Question = dict[str, Any]
Answer = dict[str, Any]


def ask_pyiceberg(question: Question) -> Answer:
    """Scan the snapshot as of the moment, and add up with pyarrow."""
    import pyarrow.compute as pc

    table = _load_table(question)
    arrow = table.scan(snapshot_id=_snapshot_at(table, question)).to_arrow()
    figures = [
        (arrow[name].length() - arrow[name].null_count, pc.sum(arrow[name]).as_py() if kind else None) for name, kind in question["columns"]
    ]
    return _answer(arrow.num_rows, figures)


def ask_polars(question: Question) -> Answer:
    """Scan the snapshot as of the moment with the reader of Polars."""
    import polars as pl

    os.environ["POLARS_ICEBERG_PLANNER"] = "pyiceberg"
    table = _load_table(question)
    frame = pl.scan_iceberg(table, snapshot_id=_snapshot_at(table, question), reader_override="native")
    figures = [pl.col(name).count().alias(f"count {at}") for at, (name, _) in enumerate(question["columns"])]
    figures += [pl.col(name).sum().alias(f"sum {at}") for at, (name, kind) in enumerate(question["columns"]) if kind]
    found = frame.select(pl.len().alias("rows"), *figures).collect().row(0, named=True)
    return _answer(found["rows"], [(found[f"count {at}"], found.get(f"sum {at}")) for at in range(len(question["columns"]))])


def ask_duckdb(question: Question) -> Answer:
    """Query the table as of the moment with DuckDB's extension, whose files are packages."""
    from pathlib import Path

    import duckdb
    import duckdb_extension_avro
    import duckdb_extension_iceberg

    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for package in (duckdb_extension_avro, duckdb_extension_iceberg):
        (extension,) = Path(package.__file__).parent.rglob("*.duckdb_extension")
        connection.execute(f"load '{extension}'")
    moment = f"make_timestamptz({question['milliseconds']} * 1000)"
    source = f"iceberg_scan('{question['metadata']}', snapshot_from_timestamp => {moment})"
    names = [name for (name, *_) in connection.execute(f"describe from {source}").fetchall() if name != "_row_number"]
    # DuckDB ignores case: of the columns T and t of Massive it calls the second t_1
    columns = [(theirs, kind) for theirs, (_, kind) in zip(names, question["columns"], strict=True)]
    query = _to_sql({"columns": columns}, '"', "{}::text", source)
    return _unpack(connection.execute(query).fetchall()[0])


def ask_clickhouse(question: Question) -> Answer:
    """Query the table as of the moment with ClickHouse's table function for local Iceberg tables."""
    import chdb

    query = _to_sql(question, "`", "toString({})", f"icebergLocal('{question['folder']}')")
    settings = f"settings iceberg_timestamp_ms = {question['milliseconds']}, output_format_json_quote_64bit_integers = 0"
    return _unpack(json.loads(chdb.query(f"{query} {settings}", "JSONCompactEachRow").bytes()))


def ask_spark_sql(question: Question) -> Answer:
    """Query the table as of the moment with Spark SQL, which Sail answers."""
    spark = _start_sail()
    options = {"snapshotId": str(question["snapshot"])}
    spark.read.format("iceberg").options(**options).load(question["folder"]).createOrReplaceTempView("asked")
    return _unpack(spark.sql(_to_sql(question, "`", "cast({} as string)", "asked")).collect()[0])


def ask_daft(question: Question) -> Answer:
    """Read the files that pyiceberg plans for the snapshot: Daft refuses Iceberg tables whose files have no field ids, as these."""
    import daft

    table = _load_table(question)
    files = [task.file.file_path for task in table.scan(snapshot_id=_snapshot_at(table, question)).plan_files()]
    if not files:
        return _answer(0, [(0, None) for _ in question["columns"]])
    column = daft.col
    figures = [column(name).count().alias(f"count {at}") for at, (name, _) in enumerate(question["columns"])]
    figures += [column(name).sum().alias(f"sum {at}") for at, (name, kind) in enumerate(question["columns"]) if kind]
    frame = daft.read_parquet(files)
    found = {name: values[0] for name, values in frame.agg(*figures).to_pydict().items()}
    return _answer(frame.count_rows(), [(found[f"count {at}"], found.get(f"sum {at}")) for at in range(len(question["columns"]))])


ENGINES: dict[str, Callable[[Question], Answer]] = {
    "pyiceberg": ask_pyiceberg,
    "polars": ask_polars,
    "duckdb": ask_duckdb,
    "chdb": ask_clickhouse,
    "pysail": ask_spark_sql,
    "daft": ask_daft,
}


def _to_sql(question: Question, quote: str, as_text: str, source: str) -> str:
    """Return a query of one row: the number of rows, then of each column its number of values and its sum."""
    figures = ["count(*)"]
    for name, kind in question["columns"]:
        figures += [f"count({quote}{name}{quote})", as_text.format(f"sum({quote}{name}{quote})") if kind else "null"]
    return f"select {', '.join(f'{figure} as f{at}' for at, figure in enumerate(figures))} from {source}"


def _unpack(row: Sequence[Any]) -> Answer:
    return _answer(row[0], list(zip(row[1::2], row[2::2], strict=True)))


def _answer(rows: int, figures: list[tuple[int, Any]]) -> Answer:
    return {"rows": int(rows), "figures": [(int(count), None if total is None else str(total)) for count, total in figures]}


def _load_table(question: Question) -> Any:
    from pyiceberg.catalog import load_catalog

    return load_catalog("finelt", type="sql", uri=question["catalog"]).load_table(tuple(question["table"]))


def _snapshot_at(table: Any, question: Question) -> int:
    return int(table.snapshot_as_of_timestamp(question["milliseconds"]).snapshot_id)


_sessions: list[Any] = []


def _start_sail() -> Any:
    """Return the session of a Spark Connect server in this process."""
    if not _sessions:
        from pysail.spark import SparkConnectServer
        from pyspark.sql import SparkSession

        server = SparkConnectServer("127.0.0.1", 0)
        server.start(background=True)
        _, port = server.listening_address
        session = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate()
        session.conf.set("spark.sql.caseSensitive", "true")  # Massive has the columns T and t
        _sessions.extend([session, server])
    return _sessions[0]


def ask(engine: str, question: Question) -> Answer:
    """Return the answer, or the `error` with which the engine refused."""
    try:
        return ENGINES[engine](question)
    except Exception as error:  # noqa: BLE001  each engine has its own
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}


if __name__ == "__main__":
    answers = {question["id"]: ask(sys.argv[1], question) for question in json.load(sys.stdin)}
    sys.stdout.write("\n" + json.dumps(answers) + "\n")
