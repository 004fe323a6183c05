"""One way to get a table out of Postgres, by its name: what scripts/bench publish starts as a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from jobkit import secrets


def parquet(url: str, password: str, mart: str, path: str) -> None:
    """The mart's Parquet file as publish-marts writes it, and nothing else."""
    from publish_marts import export, warehouse  # noqa: PLC0415

    with warehouse.snapshot(url, password) as snapshot:
        (found,) = export.marts(snapshot, [mart])
        export._write_parquet(snapshot, found, Path(path))  # noqa: SLF001  measured without the other formats


def pandas(url: str, password: str, query: str, _path: str) -> None:
    """pandas.read_sql of a query."""
    import pandas as pd  # noqa: PLC0415
    import psycopg  # noqa: PLC0415

    with psycopg.connect(url, password=password) as connection:
        pd.read_sql(query, connection)  # type: ignore[call-overload]


WAYS = {"parquet": parquet, "pandas": pandas}

if __name__ == "__main__":
    way, url, password, *what = sys.argv[1:]
    WAYS[way](url, secrets.resolve(password), *what)
