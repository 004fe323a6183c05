"""Export rows of the server in BENCH_URL, one way per process. A way that takes a path writes a Parquet file there."""

# mypy: ignore-errors

from __future__ import annotations

import os
import sys
from pathlib import Path

URL = os.environ.get("BENCH_URL", "")


def ours(mart, path):
    """Write the Parquet file as publish-marts does."""
    from urllib.parse import urlsplit

    from publish_marts import export
    from publish_marts.warehouse import open_snapshot

    password = urlsplit(URL).password
    with open_snapshot(URL.replace(f":{password}@", "@"), password) as warehouse:
        return export.write_parquet_file(warehouse, *export.list_marts(warehouse, [mart]), Path(path))


def pandas(query, path=None):
    """Export with pandas, as its documentation shows."""
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
