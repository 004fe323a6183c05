#!/usr/bin/env bash
# dlt 1.31.0: the type of the first value decides what is stored later. After true the number 7 is stored as true, and after 1.5 a Decimal loses the digits that a double does not have.
#
# Neither gives an error, a warning or a variant column (100 followed by 100.5 gives one). SEC's forms have true and 1 in the same field; a source that first
# sends 1.5 and then exact amounts has them rounded.
# Seen: [true, true]; 12345678901234.123456789 is stored as 12345678901234.123.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "dlt[duckdb]==1.31.0" duckdb==1.5.5
cd "$work"
RUNTIME__DLTHUB_TELEMETRY=false venv/bin/python - <<'PY'
from decimal import Decimal

import dlt

pipeline = dlt.pipeline("lake", destination=dlt.destinations.duckdb("lake.duckdb"), dataset_name="raw", pipelines_dir="state")


def stored(table, *values):
    for value in values:
        pipeline.run([{"value": value}], table_name=table)
    with pipeline.sql_client() as client, client.execute_query(f"select * from {table}") as cursor:
        names = [column[0] for column in cursor.description if not column[0].startswith("_dlt")]
        return names, sorted(row[0] for row in cursor.fetchall())


flags, amounts = stored("flags", True, 7), stored("amounts", 1.5, Decimal("12345678901234.123456789"))
print("true, then 7:", flags)
print("1.5, then 12345678901234.123456789:", amounts)
assert flags == (["value"], [True, True])
assert amounts == (["value"], [1.5, 12345678901234.123])
PY
