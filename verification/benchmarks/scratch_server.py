"""A Postgres server with a superuser's connection and a folder next to it, for one benchmark."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

from orchestration.local.postgres import Postgres, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator


class ScratchServer(NamedTuple):
    """A running server, a connection of its superuser in autocommit mode, and an otherwise empty folder."""

    server: Postgres
    admin: psycopg.Connection[Any]
    home: Path


@contextmanager
def run_scratch_server() -> Iterator[ScratchServer]:
    """Start a server in a temporary folder, and remove both at the end."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)  # the account that runs Postgres must enter it
        with (
            run_server(home / "postgres") as server,
            psycopg.connect(server.url, password=server.password, autocommit=True) as admin,
        ):
            yield ScratchServer(server, admin, home)
