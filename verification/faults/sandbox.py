"""A sandbox for faults: a folder, a Postgres server and sample vendors, removed at the end."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from orchestration.local import postgres, sample_parameters
from verification.faults import job_runs
from verification.sample_vendors import server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from orchestration.local.postgres import Postgres


@dataclass(eq=False)  # a key of caches
class Sandbox:
    """Where jobs run: a folder, a Postgres server, and the URL of the sample vendors.

    `project` is the dbt project that is built. None: the one of this checkout.
    """

    folder: Path
    server: Postgres
    vendors: str
    project: Path | None = None
    _numbers: Any = field(default_factory=count)

    def new_path(self, name: str) -> Path:
        """Give a path that does not exist yet."""
        return self.folder / f"{name}-{next(self._numbers)}"

    def create_database(self, template: str = "template0") -> str:
        """Create a database as a copy of another, with the jobs' roles. Return its URL for the admin, without the password."""
        name = f"faults_{next(self._numbers)}"
        with self.connect_as_admin() as admin:
            admin.execute(sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template)))
        self.server.prepare_roles(name)
        return self.server.url.rpartition("/")[0] + f"/{name}"

    def copy_database(self, url: str) -> str:
        """Create a copy of a database to which there are no connections. Return its URL for the admin, without the password."""
        return self.create_database(url.rpartition("/")[2])

    def drop_database(self, url: str) -> None:
        """Drop a database, even if there are connections to it."""
        with self.connect_as_admin() as admin:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(url.rpartition("/")[2])))

    def connect_as_admin(self) -> psycopg.Connection[Any]:
        """Connect as a role that may create databases."""
        return psycopg.connect(self.server.url, password=self.server.password, autocommit=True)

    def connect(self, url: str) -> psycopg.Connection[Any]:
        """Connect to a database."""
        return psycopg.connect(url, password=self.server.password, autocommit=True)

    def extract_options(self, job: str, vendors: str | None = None) -> list[str]:
        """Give an extract job's options for the sample vendors."""
        options: dict[str, Any] = {**sample_parameters.build_all_sample_extracts(vendors or self.vendors, "env://CANARY")[job]}
        if "start" in options:
            options["start"] = "2013-02-11" if job == "extract-massive-daily-prices" else "2012-01-01"
        return job_runs.to_argv(options)

    def warehouse_options(self, url: str) -> list[str]:
        """Give the options that select a warehouse. Each job connects with its own role."""
        url = self.server.url_of("{job}", url.rpartition("/")[2])
        return ["--warehouse", url, "--warehouse-password", self.server.password_reference_of("{job}")]

    def transform_options(self, url: str) -> list[str]:
        """Give the options of transform-warehouse for a warehouse."""
        return [*self.warehouse_options(url), *(["--project", str(self.project)] if self.project else [])]


@contextmanager
def open_sandbox(run_server: Callable[[Path], AbstractContextManager[Postgres]] = postgres.run_server) -> Iterator[Sandbox]:
    """Start a sandbox, and remove it at the end."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        with run_server(home / "postgres") as warehouse, server.run_server() as vendors:
            yield Sandbox(home, warehouse, vendors)
        postgres.remove(home / "postgres")
