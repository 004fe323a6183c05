#!/usr/bin/env bash
# dlt 1.31.0: two fields of one record whose names differ in signs only share a column, and the last one wins. Of {"P/E": 31.5, "P.E": 12.0} the table keeps 12.0, without a word.
#
# Names are normalised to snake case (both become p_e); "Adj Close" and "adj_close" meet in the same way. The vendor's first value is nowhere in the destination.
# Seen: p_e [12.0]; adj_close [2.0].
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "dlt[duckdb]==1.31.0" duckdb==1.5.5
cd "$work"
RUNTIME__DLTHUB_TELEMETRY=false venv/bin/python - <<'PY'
import dlt

pipeline = dlt.pipeline("lake", destination=dlt.destinations.duckdb("lake.duckdb"), dataset_name="raw", pipelines_dir="state")


def stored(table, record):
    pipeline.run([record], table_name=table)
    with pipeline.sql_client() as client, client.execute_query(f"select * from {table}") as cursor:
        names = [column[0] for column in cursor.description]
        return {name: value for name, value in zip(names, cursor.fetchone(), strict=True) if not name.startswith("_dlt")}


ratios, prices = stored("ratios", {"P/E": 31.5, "P.E": 12.0}), stored("prices", {"Adj Close": 1.0, "adj_close": 2.0})
print(ratios, prices)
assert ratios == {"p_e": 12.0} and prices == {"adj_close": 2.0}
PY
