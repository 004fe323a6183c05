"""A real Postgres for tests: one embedded server a session, one empty database a test."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from orchestration.local import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestration.local.postgres import Postgres


@dataclass(frozen=True)
class Warehouse:
    """An empty database: its URL without the password, the password, and the reference jobs take it by."""

    url: str
    password: str
    password_reference: str

    def connect(self, *, autocommit: bool = True) -> psycopg.Connection[Any]:
        """A connection."""
        return psycopg.connect(self.url, password=self.password, autocommit=autocommit)

    def run(self, statements: str) -> None:
        """Run statements that give no rows."""
        with self.connect() as connection:
            connection.execute(statements.encode())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self.connect() as connection:
            return connection.execute(query.encode()).fetchall()


CHEAP_SETTINGS = {"fsync": "off", "full_page_writes": "off", "scram_iterations": "1"}  # each build of the marts logs in 125 times


@contextmanager
def run_cheap_server(directory: Path) -> Iterator[Postgres]:
    """Run a server that loses data with the machine, though not by a crash of its own, and hashes passwords once."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(postgres, "SETTINGS", {**postgres.SETTINGS, **CHEAP_SETTINGS})
            server = stack.enter_context(postgres.run_server(directory))
        with psycopg.connect(server.url, password=server.password) as admin:  # initdb hashed it with the default
            admin.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(server.user), server.password))
        yield server


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """The embedded server; gone with all its data after the session."""
    directory = tmp_path_factory.mktemp("postgres")
    with run_cheap_server(directory) as server:
        yield server
    postgres.remove(directory)


@pytest.fixture
def warehouse(postgres_server: Postgres, request: pytest.FixtureRequest) -> Iterator[Warehouse]:
    """An empty database of its own for one test."""
    name = sql.Identifier(f"test_{abs(hash(request.node.nodeid))}")
    admin = psycopg.connect(postgres_server.url, password=postgres_server.password, autocommit=True)
    with admin:
        admin.execute(sql.SQL("create database {}").format(name))
        url = postgres_server.url.replace("/warehouse", "/" + name.as_string().strip('"'))
        yield Warehouse(url, postgres_server.password, postgres_server.password_reference)
        admin.execute(sql.SQL("drop database {} with (force)").format(name))
