#!/usr/bin/env bash
# A CUSIP may have the letter E in the place of an exponent: VeriSign's is 92343E102. In a CSV file, a column of CUSIPs of this shape and of digits is read as floating point.
#
# pandas 3.1.1, polars 2.1.0, duckdb 2.0.1 and pyarrow 26.0.1 agree: 92343E102 becomes 9.2343e+106 and Microsoft's 594918104 the number 594918104.0. With one CUSIP of another
# shape in the file (00206R102, AT&T) all of them read text, so the type depends on which securities a portfolio holds that day.
# Seen: [594918104.0, 9.2343e+106] from all four.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pandas==3.1.1 polars==2.1.0 duckdb==2.0.1 pyarrow==26.0.1
cd "$work"
printf 'cusip,weight\n594918104,0.4\n92343E102,0.6\n' >two.csv
printf 'cusip,weight\n594918104,0.4\n92343E102,0.5\n00206R102,0.1\n' >three.csv
venv/bin/python - <<'PY'
import duckdb
import pandas
import polars
import pyarrow.csv

readers = {
    "pandas": lambda path: pandas.read_csv(path)["cusip"].tolist(),
    "polars": lambda path: polars.read_csv(path)["cusip"].to_list(),
    "duckdb": lambda path: [cusip for (cusip,) in duckdb.sql(f"select cusip from '{path}'").fetchall()],
    "pyarrow": lambda path: pyarrow.csv.read_csv(path)["cusip"].to_pylist(),
}
for name, read in readers.items():
    two, three = read("two.csv"), read("three.csv")
    print(f"{name}: {two}; with a third: {three}")
    assert two == [594918104.0, 9.2343e106]
    assert three == ["594918104", "92343E102", "00206R102"]
PY
