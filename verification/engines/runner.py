"""Answer questions with ClickHouse, in an environment of its own: JSON on stdin, one line of JSON on stdout. Imports nothing of finelt."""

from __future__ import annotations

import json
import sys
from typing import Any

import chdb  # type: ignore[import-not-found]


def ask_clickhouse(question: dict[str, Any]) -> dict[str, Any]:
    """Return the rows and sums of a table at a moment, by ClickHouse's table function for local Iceberg tables."""
    columns = "".join(f", toString(sum(`{column}`)) as `{column}`" for column in question["columns"])
    query = (
        f"select count() as rows_{columns} from icebergLocal('{question['folder']}') "
        f"settings iceberg_timestamp_ms = {question['milliseconds']}, output_format_json_quote_64bit_integers = 0"
    )
    found = json.loads(chdb.query(query, "JSONEachRow").bytes())
    return {"rows": int(found.pop("rows_")), "sums": found}


if __name__ == "__main__":
    questions = json.load(sys.stdin)
    sys.stdout.write("\n" + json.dumps({question["id"]: ask_clickhouse(question) for question in questions}) + "\n")
