"""Load Parquet files with another tool, in its own environment, into the table tool.prices of the server in TOOL_URL."""

# mypy: ignore-errors

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

URL = os.environ.get("TOOL_URL", "")
TABLE, SCHEMA = "prices", "tool"


def adbc(files):
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(URL) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest(TABLE, _batches(files, 8192), mode="create", db_schema_name=SCHEMA)
        connection.commit()


def polars(files):
    import polars as pl

    for number, file in enumerate(files):
        pl.read_parquet(file).write_database(f"{SCHEMA}.{TABLE}", URL, engine="adbc", if_table_exists="append" if number else "replace")


def duckdb(files):
    import duckdb
    import duckdb_extensions

    connection = duckdb.connect()
    duckdb_extensions.import_extension("postgres_scanner", con=connection)
    connection.execute(f"attach '{URL}' as warehouse (type postgres)")
    connection.execute(f"create table warehouse.{SCHEMA}.{TABLE} as select * from read_parquet({[str(file) for file in files]})")


def dlt(files, **options):
    import dlt as library

    with tempfile.TemporaryDirectory() as folder:
        pipeline = library.pipeline(
            "bench", pipelines_dir=folder, dataset_name=SCHEMA, destination=library.destinations.postgres(URL), progress=None
        )
        rows = library.resource((table for table in _tables(files)), name=TABLE, write_disposition="replace")
        pipeline.run(rows, **options).raise_on_failed_jobs()


def dlt_tuned(files):
    os.environ.update(
        {
            "NORMALIZE__WORKERS": "2",
            "LOAD__WORKERS": "2",
            "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID": "false",
            "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_ID": "false",
            "DATA_WRITER__FILE_MAX_ITEMS": "500000",
        }
    )
    dlt(files, loader_file_format="parquet")


def sling(files):
    import sling_linux_amd64

    program = Path(sling_linux_amd64.__file__).parent / "bin" / "sling-linux-amd64"  # the package's own command would look for itself
    with tempfile.TemporaryDirectory() as home:
        command = [str(program), "run", "--src-stream", f"file://{_csv(files)}", "--tgt-conn", "TOOL_URL"]
        command += ["--tgt-object", f"{SCHEMA}.{TABLE}", "--mode", "full-refresh"]
        subprocess.run(command, check=True, env={**os.environ, "HOME": home, "TOOL_URL": f"{URL}?sslmode=disable"})


def singer(files, key=("date", "symbol"), **options):
    parts = _parts()
    config = {"host": parts.hostname, "port": parts.port, "user": parts.username, "password": parts.password, "database": parts.path[1:]}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({**config, "default_target_schema": SCHEMA, **options}, file)
        file.flush()
        target = subprocess.Popen(["target-postgres", "--config", file.name], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        number, text = {"type": ["null", "number"]}, {"type": ["null", "string"]}
        properties = dict.fromkeys(("open", "high", "low", "close", "dividend"), number) | {"symbol": text, "currency": text}
        properties |= {name: {"type": "integer"} for name in ("_row_number", "volume")} | {"date": {"type": "string", "format": "date"}}
        schema = {"type": "SCHEMA", "stream": TABLE, "schema": {"properties": properties}, "key_properties": list(key)}
        target.stdin.write(json.dumps(schema) + "\n")
        for table in _tables(files):
            for row in table.to_pylist():
                row["date"] = row["date"].isoformat()
                target.stdin.write(json.dumps({"type": "RECORD", "stream": TABLE, "record": row}) + "\n")
        target.stdin.close()
        if target.wait():
            raise SystemExit(target.returncode)


def singer_tuned(files):
    singer(files, key=(), use_copy=True, batch_size_rows=100_000, validate_records=False)  # it appends where there is no key


def pandas(files, **options):
    import pandas as pd
    import sqlalchemy

    engine = sqlalchemy.create_engine(URL.replace("postgresql://", "postgresql+psycopg://"))
    for file in files:
        pd.read_parquet(file).to_sql(TABLE, engine, schema=SCHEMA, index=False, if_exists="append", **options)


def pandas_multi(files):
    pandas(files, method="multi", chunksize=1000)


def flatten(files, typed="no"):
    """Read companyfacts documents with json.load and flatten the facts; optionally write typed Parquet."""
    documents = (json.loads(Path(file).read_bytes()) for file in files)
    rows = [
        {"cik": document["cik"], "entityName": document["entityName"], "taxonomy": taxonomy, "tag": tag, "unit": unit, **fact}
        for document in documents
        for taxonomy, tags in document["facts"].items()
        for tag, concept in tags.items()
        for unit, facts in concept["units"].items()
        for fact in facts
    ]
    if typed == "no":
        return
    import datetime as dt
    import decimal

    import pyarrow as pa
    import pyarrow.parquet as pq

    for row in rows:
        row["val"] = decimal.Decimal(str(row["val"]))
        for name in ("start", "end", "filed"):
            if name in row:
                row[name] = dt.date.fromisoformat(row[name])
    types = {"cik": pa.int64(), "val": pa.decimal128(38, 10), "fy": pa.int32(), **dict.fromkeys(("start", "end", "filed"), pa.date32())}
    names = ("cik", "entityName", "taxonomy", "tag", "unit", "start", "end", "val", "accn", "fy", "fp", "form", "filed", "frame")
    schema = pa.schema([(name, types.get(name, pa.string())) for name in names])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), pa.BufferOutputStream(), compression="zstd")


def flatten_typed(files):
    flatten(files, typed="yes")


def flatten_members(files):
    """Read the companyfacts documents of a zip file with json.load and flatten the facts, one document at a time."""
    import zipfile

    rows = []
    for file in files:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                document = json.loads(archive.read(name))
                rows[:] = [
                    {"cik": document["cik"], "entityName": document["entityName"], "taxonomy": taxonomy, "tag": tag, "unit": unit, **fact}
                    for taxonomy, tags in document["facts"].items()
                    for tag, concept in tags.items()
                    for unit, facts in concept["units"].items()
                    for fact in facts
                ]


def market_pandas(files):
    import pandas as pd

    for file in files:
        rows = pd.DataFrame(json.loads(Path(file).read_bytes())["results"])
        with tempfile.TemporaryFile() as out:
            rows.to_parquet(out, compression="zstd")


def ecb_pandas(files):
    import pandas as pd

    for file in files:
        rows = pd.read_csv(file, compression="zip", na_values="N/A", parse_dates=["Date"])
        with tempfile.TemporaryFile() as out:
            rows.to_parquet(out, compression="zstd")


def _batches(files, size):
    import pyarrow.dataset as ds

    return ds.dataset([str(file) for file in files]).scanner(batch_size=size).to_reader()


def _tables(files):
    import pyarrow.parquet as pq

    return (pq.read_table(file) for file in files)


def _csv(files):
    """Return the CSV that was prepared next to the first file."""
    return Path(files[0]).parent / f"first-{len(files)}.csv"


def _parts():
    from urllib.parse import urlsplit

    return urlsplit(URL)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2:])
