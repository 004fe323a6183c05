#!/usr/bin/env bash
# duckdb 2.0.1 takes the text of a Hive partition for a date where it can, and INF is the date "infinity": the partition ticker=INF reads as 9999-12-31.
#
# INF was the ticker of a fund on the New York Stock Exchange. With a second ticker in the query (T) the column is text again, so a query that names one partition and a
# query over all of them give the column different types. `hive_types_autocast = false` turns the guess off. polars 2.1.0 keeps INF, but reads the folder
# cik=0000320193 as the integer 320193 and ticker=TRUE as the boolean true; pyarrow 26.0.1 keeps both tickers and makes an integer of the cik as well.
# Seen: duckdb DATE infinity; polars 'INF', 320193, True; pyarrow 'INF', 320193, 'TRUE'.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.1 polars==2.1.0 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import pathlib

import duckdb
import polars
import pyarrow
import pyarrow.dataset
import pyarrow.parquet

paths = {}
for key, value in [("ticker", "INF"), ("ticker", "T"), ("ticker", "TRUE"), ("cik", "0000320193")]:
    folder = pathlib.Path(f"{key}={value}")
    folder.mkdir()
    paths[value] = str(folder / "prices.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"close": [1.0]}), paths[value])


def duck(*values, options=""):
    return duckdb.sql(f"select typeof(ticker), ticker::varchar from read_parquet({[paths[v] for v in values]}, hive_partitioning = true{options})").fetchall()


def polar(value):
    return polars.scan_parquet(paths[value], hive_partitioning=True).collect().row(0)[-1]


def arrow(value):
    return pyarrow.dataset.dataset(paths[value], partitioning="hive").to_table().to_pylist()[0].popitem()[1]


print("duckdb, one partition:", duck("INF"))
print("duckdb, two partitions:", duck("INF", "T"))
print("duckdb, without the guess:", duck("INF", options=", hive_types_autocast = false"))
print("polars:", [polar(value) for value in ("INF", "0000320193", "TRUE")])
print("pyarrow:", [arrow(value) for value in ("INF", "0000320193", "TRUE")])
assert duck("INF") == [("DATE", "infinity")]
assert duck("INF", "T") == [("VARCHAR", "INF"), ("VARCHAR", "T")]
assert duck("INF", options=", hive_types_autocast = false") == [("VARCHAR", "INF")]
assert [polar(value) for value in ("INF", "0000320193", "TRUE")] == ["INF", 320193, True]
assert [arrow(value) for value in ("INF", "0000320193", "TRUE")] == ["INF", 320193, "TRUE"]
PY
