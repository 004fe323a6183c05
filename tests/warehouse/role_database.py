"""A warehouse as in the demo, compose and AWS: each job connects as the role of its name."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from jobkit import secrets
from jobkit.receipt import Receipt
from psycopg import sql

from tests import forks, recorded_lake

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jobkit.lake import Lake

    from orchestration.local.postgres import Postgres

LOAD, TRANSFORM, PUBLISH, READER = "load-warehouse", "transform-warehouse", "publish-marts", "reader"


class ReceiptWithLog(Receipt):
    """A receipt, and what the job wrote to stderr."""

    stderr: str


@dataclass(frozen=True)
class RoleDatabase:
    """A database of a server with the roles of all jobs."""

    server: Postgres
    name: str

    def connect(self, role: str, *, autocommit: bool = True) -> psycopg.Connection[Any]:
        """Connect as one of the roles."""
        password = secrets.resolve(self.server.password_reference_of(role))
        return psycopg.connect(self.server.url_of(role, self.name), password=password, autocommit=autocommit)

    def connect_as_admin(self) -> psycopg.Connection[Any]:
        """Connect as the superuser."""
        return psycopg.connect(self.server.url_of(self.server.user, self.name), password=self.server.password, autocommit=True)

    def rows(self, role: str, query: str) -> list[tuple[Any, ...]]:
        """Run a query as a role and return its rows."""
        with self.connect(role) as connection:
            return connection.execute(query.encode()).fetchall()

    def try_job(self, job: str, verb: str = "run", *argv: str) -> ReceiptWithLog:
        """Run a verb of a job as the role of its name; return the receipt with stderr."""
        access = ["--warehouse", self.server.url_of(job, self.name), "--warehouse-password", self.server.password_reference_of(job)]
        done = forks.run([sys.executable, "-m", job.replace("-", "_"), verb, *access, *argv])
        receipt: ReceiptWithLog = {**json.loads(done.stdout), "stderr": done.stderr}
        return receipt

    def run_job(self, job: str, *argv: str) -> ReceiptWithLog:
        """Run a job that must succeed; return the receipt."""
        receipt = self.try_job(job, "run", *argv)
        assert receipt["exit_code"] == 0, receipt["error"]
        return receipt


@contextmanager
def role_database(server: Postgres, name: str) -> Iterator[RoleDatabase]:
    """An empty database with roles, dropped after the block."""
    with psycopg.connect(server.url, password=server.password, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        server.prepare_roles(name)
        yield RoleDatabase(server, name)
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def load_and_transform(database: RoleDatabase, lake: Lake, answers: Sequence[recorded_lake.Answer]) -> None:
    """Commit the answers to the lake, load them and build the marts."""
    for answer in answers:
        recorded_lake.commit(lake, answer)
    database.run_job(LOAD, "--lake", str(recorded_lake.lake_path(lake)))
    database.run_job(TRANSFORM)
