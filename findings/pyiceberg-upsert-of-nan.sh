#!/usr/bin/env bash
# pyiceberg 0.12.0: upsert is not idempotent for a row with NaN. The same frame a second time counts as an update, writes the rows again and adds snapshots, each time it is repeated.
#
# NaN is not equal to itself in the comparison of old and new rows. A daily job that repeats its last days grows the table for ever, and a reader of the snapshots sees a restatement where nothing
# changed. Without NaN the second upsert changes nothing. A null in the key is refused (TypeError).
# Seen: second upsert of (1, NaN), (2, 5.0): 1 row updated, more snapshots; of (1, 4.0), (2, 5.0): 0 rows, no new snapshot.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "pyiceberg[sql-sqlite,pyarrow]==0.12.0" pyarrow==26.0.1
cd "$work"
venv/bin/python - 2>/dev/null <<'PY'
import math
import pathlib

import pyarrow
from pyiceberg.catalog.sql import SqlCatalog

folder = pathlib.Path("iceberg").absolute()
folder.mkdir()
catalog = SqlCatalog("local", uri=f"sqlite:///{folder}/catalog.db", warehouse=folder.as_uri())
catalog.create_namespace("lake")


def repeat(name, first):
    frame = pyarrow.table({"cusip": ["1", "2"], "close": [first, 5.0]})
    table = catalog.create_table(f"lake.{name}", schema=frame.schema)
    table.append(frame)
    before = len(table.snapshots())
    updated = table.upsert(frame, join_cols=["cusip"]).rows_updated
    return updated, len(table.snapshots()) - before


with_nan, without = repeat("with_nan", math.nan), repeat("without", 4.0)
print("with NaN (rows updated, new snapshots):", with_nan, "without:", without)
assert with_nan[0] == 1 and with_nan[1] > 0
assert without == (0, 0)
PY
