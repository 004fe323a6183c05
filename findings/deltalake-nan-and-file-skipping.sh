#!/usr/bin/env bash
# deltalake 1.6.6: whether NaN is above a number depends on the other values of the file. `close > 2` finds the NaN, `close > 3.5` does not, in one table with 1, NaN and 3.
#
# A row filter takes NaN as larger than every number, but the file's statistics leave NaN out (maximum 3.0), so a filter above 3.0 skips the whole file. The same holds for delete:
# `close > 3.5` deletes no row and leaves the NaN, where Postgres and duckdb would delete it.
# Seen: rows above 2: 2; above 3.5: 0; isnan: 1.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check deltalake==1.6.6 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import math

import pyarrow
from deltalake import DeltaTable, QueryBuilder, write_deltalake

write_deltalake("prices", pyarrow.table({"ticker": ["A", "B", "C"], "close": [1.0, math.nan, 3.0]}))


def rows(condition):
    return QueryBuilder().register("prices", DeltaTable("prices")).execute(f"select count(*) from prices where {condition}").read_all().column(0).to_pylist()[0]


counts = {condition: rows(condition) for condition in ("close > 2", "close > 3.5", "isnan(close)")}
deleted = DeltaTable("prices").delete("close > 3.5")["num_deleted_rows"]
print(counts, "deleted above 3.5:", deleted)
assert counts == {"close > 2": 2, "close > 3.5": 0, "isnan(close)": 1}
assert deleted == 0
PY
