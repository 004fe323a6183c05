"""A warehouse as the demo, compose and AWS have it: each job came as the role of its name."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from jobkit import secrets
from psycopg import sql

from tests import recorded_lake

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jobkit.lake import Lake

    from orchestration.local.postgres import Postgres

LOAD, TRANSFORM, PUBLISH, READER = "load-warehouse", "transform-warehouse", "publish-marts", "reader"


@dataclass(frozen=True)
class Place:
    """A database of a server, whose roles are prepared."""

    server: Postgres
    name: str

    def connect(self, role: str, *, autocommit: bool = True) -> psycopg.Connection[Any]:
        """A connection as one of the roles."""
        password = secrets.resolve(self.server.password_reference_of(role))
        return psycopg.connect(self.server.url_of(role, self.name), password=password, autocommit=autocommit)

    def admin(self) -> psycopg.Connection[Any]:
        """A connection that may do everything."""
        return psycopg.connect(self.server.url_of(self.server.user, self.name), password=self.server.password, autocommit=True)

    def rows(self, role: str, query: str) -> list[tuple[Any, ...]]:
        """What a role reads."""
        with self.connect(role) as connection:
            return connection.execute(query.encode()).fetchall()

    def job(self, job: str, verb: str = "run", *words: str) -> dict[str, Any]:
        """The receipt of a job that comes as the role of its name."""
        access = ["--warehouse", self.server.url_of(job, self.name), "--warehouse-password", self.server.password_reference_of(job)]
        command = [sys.executable, "-m", job.replace("-", "_"), verb, *access, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        receipt: dict[str, Any] = {**json.loads(done.stdout), "stderr": done.stderr}
        return receipt

    def well(self, job: str, *words: str) -> dict[str, Any]:
        """The same, of a job that has to end well."""
        receipt = self.job(job, "run", *words)
        assert receipt["exit_code"] == 0, receipt["error"]
        return receipt


@contextmanager
def place(server: Postgres, name: str) -> Iterator[Place]:
    """An empty database with roles, for as long as it takes."""
    with psycopg.connect(server.url, password=server.password, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        server.prepare_roles(name)
        yield Place(server, name)
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def fill(where: Place, lake: Lake, answers: Sequence[recorded_lake.Answer]) -> None:
    """Load and transform what the vendors answered."""
    for answer in answers:
        recorded_lake.commit(lake, answer)
    where.well(LOAD, "--lake", str(recorded_lake.lake_path(lake)))
    where.well(TRANSFORM)
