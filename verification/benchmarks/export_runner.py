"""Ways to get rows out of the server in BENCH_URL, each in a process of its own. What takes a path leaves a Parquet file there."""

# mypy: ignore-errors

from __future__ import annotations

import os
import sys
from pathlib import Path

URL = os.environ.get("BENCH_URL", "")


def ours(mart, path):
    """The Parquet file of publish-marts alone."""
    from urllib.parse import urlsplit

    from publish_marts import export
    from publish_marts.warehouse import open_snapshot

    password = urlsplit(URL).password
    with open_snapshot(URL.replace(f":{password}@", "@"), password) as warehouse:
        return export.write_parquet_file(warehouse, *export.list_marts(warehouse, [mart]), Path(path))


def pandas(query, path=None):
    """As its documentation has it."""
    import pandas as pd
    from sqlalchemy import create_engine

    rows = pd.read_sql(query, create_engine(URL.replace("postgresql:", "postgresql+psycopg:")))
    if path:
        rows.to_parquet(path, compression="zstd", index=False)
    return len(rows)


if __name__ == "__main__":
    method, rows, *words = sys.argv[1:]
    if (found := {"ours": ours, "pandas": pandas}[method](*words)) != int(rows):
        sys.exit(f"{method} gave {found} rows, expected {rows}")
