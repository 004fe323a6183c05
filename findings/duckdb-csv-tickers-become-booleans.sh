#!/usr/bin/env bash
# duckdb 2.0.1 reads a CSV column that holds the tickers T and F, and no other, as BOOLEAN: AT&T becomes true and Ford false.
#
# A table made from such a file stores the booleans; `where ticker = 'T'` still answers, because 'T' is cast as well, so the loss shows only in the output and in joins with text.
# One more ticker in the file (GM) and the column is text. An insert into a table that exists keeps the text, because the types of the table are used.
# Seen: [(True, 22.1), (False, 11.2)] of type BOOLEAN.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.1
cd "$work"
printf 'ticker,close\nT,22.1\nF,11.2\n' >two.csv
printf 'ticker,close\nT,22.1\nF,11.2\nGM,33.3\n' >three.csv
venv/bin/python - <<'PY'
import duckdb

two = duckdb.sql("select ticker, close, typeof(ticker) as type from 'two.csv'").fetchall()
three = duckdb.sql("select ticker, typeof(ticker) as type from 'three.csv'").fetchall()
duckdb.sql("create table price (ticker varchar, close double)")
duckdb.sql("insert into price from 'two.csv'")
stored = duckdb.sql("from price").fetchall()
print("two tickers:", two)
print("three tickers:", three)
print("inserted into a table:", stored)
assert two == [(True, 22.1, "BOOLEAN"), (False, 11.2, "BOOLEAN")]
assert three == [("T", "VARCHAR"), ("F", "VARCHAR"), ("GM", "VARCHAR")]
assert stored == [("T", 22.1), ("F", 11.2)]
PY
