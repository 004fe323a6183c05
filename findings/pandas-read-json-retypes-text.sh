#!/usr/bin/env bash
# pandas 3.1.1: read_json turns text into numbers where every value looks like one, so a CIK in quotes loses its zeros; and it does not always read a price to the nearest double.
#
# JSON says which values are text, so one expects "0000320193" to stay text; it becomes the integer 320193 (dtype=False keeps it). Of the prices 0.01 to 1000.00, some are one unit in the last place
# away from float("..."), which precise_float=True does not do; read_csv of the same text reads all of them to the nearest double.
# Seen: cik [320193, 789019]; 48 prices of 100,000 differ in read_json, 0 in read_csv and 0 with precise_float=True.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pandas==3.1.1
"$work/venv/bin/python" - <<'PY'
import io
import json

import pandas

filers = json.dumps([{"cik": "0000320193"}, {"cik": "0000789019"}])
prices = [f"{cents / 100:.2f}" for cents in range(1, 100_001)]
rows = "[" + ",".join('{"price": %s}' % price for price in prices) + "]"


def differences(frame):
    return sum(got != float(price) for got, price in zip(frame["price"], prices, strict=True))


retyped, kept = (pandas.read_json(io.StringIO(filers), **options)["cik"].tolist() for options in ({}, {"dtype": False}))
by_default = differences(pandas.read_json(io.StringIO(rows)))
precise = differences(pandas.read_json(io.StringIO(rows), precise_float=True))
from_csv = differences(pandas.read_csv(io.StringIO("price\n" + "\n".join(prices))))
print("cik:", retyped, kept)
print(f"prices that differ: read_json {by_default}, precise_float {precise}, read_csv {from_csv}")
assert retyped == [320193, 789019] and kept == ["0000320193", "0000789019"]
assert by_default > 0 and precise == 0 and from_csv == 0
PY
