#!/usr/bin/env bash
# sqlglot 30.30.0 translates Postgres' `numeric` and an ordered array_agg into SQL that runs and gives other figures, also with unsupported_level=RAISE.
#
# `numeric` without a precision keeps every digit in Postgres. It becomes DECIMAL, which is decimal(18, 3) in DuckDB, decimal(10, 0) in Spark and Databricks, and number(38, 0) in
# Snowflake: an adjustment factor of 0.98545440393403 becomes 0.985, or 1. `array_agg(close order by day)` becomes COLLECT_LIST(close) for Spark and Databricks: the order is gone.
# For BigQuery, the same array raises UnsupportedError.
# Seen: DuckDB 2.0.1 answers 0.985; the Spark SQL has no ORDER BY.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check sqlglot==30.30.0 duckdb==2.0.1
cd "$work"
venv/bin/python - <<'PY'
from decimal import Decimal

import duckdb
import sqlglot


def translate(query: str, to: str) -> str:
    return sqlglot.transpile(query, read="postgres", write=to, unsupported_level=sqlglot.ErrorLevel.RAISE)[0]


factor = "select 0.98545440393403::numeric as factor"
to_duckdb, to_spark = translate(factor, "duckdb"), translate(factor, "spark")
((answer,),) = duckdb.sql(to_duckdb).fetchall()
array = translate("select array_agg(close order by day) as closes from prices", "spark")
print("DuckDB:", to_duckdb, "->", answer)
print("Spark:", to_spark)
print("Spark:", array)
assert answer == Decimal("0.985")
assert to_spark == "SELECT CAST(0.98545440393403 AS DECIMAL) AS factor"
assert array == "SELECT COLLECT_LIST(close) AS closes FROM prices"
PY
