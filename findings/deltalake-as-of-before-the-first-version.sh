#!/usr/bin/env bash
# deltalake 1.6.6: asked for a moment before the table existed, load_as_version answers with version 0 instead of an error, so an as-of question about 2020 sees what was first written in 2026.
#
# A backtest that asks for each day of its period gets data from the future for all the days before the first commit. Comparing the time with the oldest entry of history() is up to the caller.
# Seen: as of 2020-01-01 version 0 with its row, though the table is of today.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check deltalake==1.6.6 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import datetime

import pyarrow
from deltalake import DeltaTable, write_deltalake

write_deltalake("prices", pyarrow.table({"ticker": ["AAPL"], "close": [1.0]}))
table = DeltaTable("prices")
created = datetime.datetime.fromtimestamp(table.history()[-1]["timestamp"] / 1000, datetime.UTC)
moment = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
table.load_as_version(moment)
rows = table.to_pyarrow_table().to_pylist()
print(f"created {created:%Y-%m-%d}, as of {moment:%Y-%m-%d}: version {table.version()} {rows}")
assert created > moment
assert table.version() == 0 and rows == [{"ticker": "AAPL", "close": 1.0}]
PY
