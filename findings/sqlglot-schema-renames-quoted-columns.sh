#!/usr/bin/env bash
# In sqlglot 30.30.0 a schema that is given as a dictionary renames columns of Postgres: "Date" becomes date, while "Adj Close" keeps its capitals.
#
# Vendors' files have such names, and Postgres keeps them as they are when they are quoted. qualify() refuses select "Date" from prices ("could not be resolved"), and expands select * into
# "prices"."date", a column that does not exist. Names that are no bare identifiers are left alone. MappingSchema(..., normalize=False) keeps all of them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check sqlglot==30.30.0
"$work/venv/bin/python" - <<'PY'
import sqlglot
from sqlglot.errors import OptimizeError
from sqlglot.optimizer.qualify import qualify
from sqlglot.schema import MappingSchema

columns = {"prices": {"Date": "date", "Adj Close": "numeric"}}


def run(query, schema):
    try:
        return qualify(sqlglot.parse_one(query, read="postgres"), schema=schema, dialect="postgres").sql("postgres")
    except OptimizeError as error:
        return f"refused: {error}"


kept = MappingSchema(columns, dialect="postgres", normalize=False)
named, star = 'select "Date", "Adj Close" from prices', "select * from prices"
for query, schema in ((named, columns), (named, kept), (star, columns), (star, kept)):
    print(f"{'dictionary' if schema is columns else 'normalize=False':16} {query}: {run(query, schema)}")
assert run(named, columns).startswith("refused: Column 'Date' could not be resolved")
assert '"prices"."date"' in run(star, columns) and '"prices"."Adj Close"' in run(star, columns)
assert '"prices"."Date"' in run(named, kept) and '"prices"."Date"' in run(star, kept)
PY
