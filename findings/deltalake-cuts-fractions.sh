#!/usr/bin/env bash
# deltalake 1.6.6 appends doubles to a column of whole numbers by cutting them off: 1.9 is stored as 1, without an error or a warning. It also stores 2^53 + 1 as 2^53 in a column of doubles.
#
# A table whose first file has whole quantities (inferred as int64) loses the fractions of every later file. pyiceberg 0.12.0 refuses the same append because the types differ.
# Seen: deltalake [1, 1]; pyiceberg ValueError, and the table keeps [1].
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check deltalake==1.6.6 "pyiceberg[sql-sqlite,pyarrow]==0.12.0" pyarrow==26.0.1
cd "$work"
venv/bin/python - 2>/dev/null <<'PY'
import pathlib

import pyarrow
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog.sql import SqlCatalog

whole, fraction = pyarrow.table({"quantity": [1]}), pyarrow.table({"quantity": [1.9]})
write_deltalake("delta", whole)
write_deltalake("delta", fraction, mode="append")
stored = sorted(DeltaTable("delta").to_pyarrow_table()["quantity"].to_pylist())

write_deltalake("amounts", pyarrow.table({"amount": [1.5]}))
write_deltalake("amounts", pyarrow.table({"amount": [2**53 + 1]}), mode="append")
amounts = sorted(DeltaTable("amounts").to_pyarrow_table()["amount"].to_pylist())

folder = pathlib.Path("iceberg").absolute()
folder.mkdir()
catalog = SqlCatalog("local", uri=f"sqlite:///{folder}/catalog.db", warehouse=folder.as_uri())
catalog.create_namespace("lake")
iceberg = catalog.create_table("lake.positions", schema=whole.schema)
iceberg.append(whole)
try:
    iceberg.append(fraction)
    refused = False
except ValueError:
    refused = True
print("deltalake:", stored, amounts)
print("pyiceberg:", iceberg.scan().to_arrow()["quantity"].to_pylist(), "refused" if refused else "accepted")
assert stored == [1, 1] and amounts == [1.5, float(2**53)]
assert refused and iceberg.scan().to_arrow()["quantity"].to_pylist() == [1]
PY
