#!/usr/bin/env bash
# SQLMesh 0.236.4 reads a seed's numbers as doubles, whatever type the model declares: the shares 123456789012.123456 of a DECIMAL(38,6) column are stored as
# 123456789012.123440, and the id 9007199254740993 of a BIGINT column with one empty cell as 9007199254740992. It says nothing.
#
# Without an empty cell the id is exact, so one more row in the file changes another row's id. duckdb 1.5.4 reads the same file exactly with these types.
# Seen: SQLMesh (123456789012.123440, 9007199254740992), duckdb (123456789012.123456, 9007199254740993).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check sqlmesh==0.236.4 duckdb==1.5.4
export SQLMESH_DISABLE_ANONYMIZED_ANALYTICS=true
cd "$work"
mkdir -p project/models project/seeds
cd project
cat >config.yaml <<'YAML'
gateways: {local: {connection: {type: duckdb, database: stored.duckdb}}}
default_gateway: local
model_defaults: {dialect: duckdb, start: 2020-01-01}
YAML
cat >models/holdings.sql <<'SQL'
MODEL (name demo.holdings, kind SEED (path '../seeds/holdings.csv'), columns (ticker TEXT, shares DECIMAL(38, 6), id BIGINT));
SQL
printf 'ticker,shares,id\nAAPL,123456789012.123456,9007199254740993\nMSFT,1,\n' >seeds/holdings.csv
"$work/venv/bin/sqlmesh" plan --no-prompts --auto-apply >/dev/null 2>&1
"$work/venv/bin/python" - <<'PY'
import duckdb

question = "select shares::text, id from {} where ticker = 'AAPL'"
stored = duckdb.connect("stored.duckdb").sql(question.format("demo.holdings")).fetchone()
types = "{'ticker': 'TEXT', 'shares': 'DECIMAL(38, 6)', 'id': 'BIGINT'}"
exact = duckdb.sql(question.format(f"read_csv('seeds/holdings.csv', columns = {types})")).fetchone()
print("SQLMesh:", stored)
print("duckdb:", exact)
assert stored == ("123456789012.123440", 9007199254740992)
assert exact == ("123456789012.123456", 9007199254740993)
PY
