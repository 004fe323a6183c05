#!/usr/bin/env bash
# duckdb 1.5.5: iceberg_scan of a table with the columns T and t, whose files have no field ids, gives null for T, and under the name of t the values of T.
#
# The name mapping of the table is looked up without regard to case, so the second column takes the place of the first. Massive (Polygon) names the ticker T and the time t. Files that Iceberg wrote
# itself have field ids and are read right, and so are the same files by read_parquet, by pyiceberg, Polars and ClickHouse.
# Seen: of the rows (1, 10), (2, 20) in T and t: (None, 1), (None, 2) from files that were added; (1, 10), (2, 20) from those that pyiceberg wrote.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "pyiceberg[sql-sqlite,pyarrow]==0.12.0" pyarrow==26.0.1 duckdb==1.5.5 duckdb-extension-avro==1.5.5 duckdb-extension-iceberg==1.5.5
cd "$work"
venv/bin/python - 2>/dev/null <<'PY'
import pathlib

import duckdb
import duckdb_extension_avro
import duckdb_extension_iceberg
import pyarrow
from pyarrow import parquet
from pyiceberg.catalog.sql import SqlCatalog

folder = pathlib.Path("iceberg").absolute()
folder.mkdir()
catalog = SqlCatalog("local", uri=f"sqlite:///{folder}/catalog.db", warehouse=folder.as_uri())
catalog.create_namespace("lake")
frame = pyarrow.table({"T": [1, 2], "t": [10, 20]})
parquet.write_table(frame, folder / "file.parquet")
written = catalog.create_table("lake.written", schema=frame.schema)
written.append(frame)
added = catalog.create_table("lake.added", schema=frame.schema)
added.add_files([(folder / "file.parquet").as_uri()])

duck = duckdb.connect(config={"allow_unsigned_extensions": "true"})
for package in (duckdb_extension_avro, duckdb_extension_iceberg):
    (extension,) = pathlib.Path(package.__file__).parent.rglob("*.duckdb_extension")
    duck.execute(f"load '{extension}'")
found = {table.name()[-1]: duck.execute(f"from iceberg_scan('{table.metadata_location}')").fetchall() for table in (written, added)}
print(found, "read_parquet:", duck.execute(f"from '{folder}/file.parquet'").fetchall())
assert added.scan().to_arrow() == frame
assert found == {"written": [(1, 10), (2, 20)], "added": [(None, 1), (None, 2)]}
PY
