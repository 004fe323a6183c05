"""The copy of load-warehouse only: Parquet files into one table without a key, over one connection."""

from __future__ import annotations

import sys
from pathlib import Path

from jobkit import secrets
from load_warehouse import copy
from load_warehouse.session import Session
from psycopg import sql


def main(url: str, password: str, table: str, rows: str, *files: str) -> None:
    """Copy the files, each of so many rows, in one transaction."""
    session = Session(url, secrets.resolve(password))
    with session.transaction():
        for file in files:
            copy.copy_file(session, sql.Identifier(table), copy.ParquetFile(Path(file).read_bytes(), file), freeze=False, rows=int(rows))
    session.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
