"""A stage for faults: real jobs as processes, sample vendors, a Postgres of its own; and what a lake, a warehouse or a site holds.

What is compared is everything but when it happened: moments and load numbers differ between two runs that did the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
from jobkit import store as stores
from jobkit.lake import Lake
from psycopg import sql

from finelt.table_digests import digest_tables
from orchestration.local import sample_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from orchestration.local.postgres import Postgres

TOKEN = "canary-5d1e8a-token"  # noqa: S105  looked for in everything a job says

State = dict[str, Any]
tables = digest_tables


@dataclass(frozen=True)
class Ended:
    """What became of a job: its exit code (negative: killed by that signal), its receipt where it gave one, what it logged."""

    code: int
    receipt: dict[str, Any] | None
    stdout: str
    stderr: str


@dataclass
class Stage:
    """Where jobs are run."""

    folder: Path
    server: Postgres
    vendors: str
    _numbers: Any = field(default_factory=count)

    def fresh(self, name: str) -> Path:
        """A folder that nobody has used."""
        return self.folder / f"{name}-{next(self._numbers)}"

    def database(self, template: str = "template0") -> str:
        """A database of its own, as another one is, with the jobs' roles; its URL for the admin, without the password."""
        name = f"faults_{next(self._numbers)}"
        with self.admin() as admin:
            admin.execute(sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template)))
        self.server.prepare_roles(name)
        return self.server.url.rpartition("/")[0] + f"/{name}"

    def drop(self, url: str) -> None:
        """Away with a database, whoever is in it."""
        with self.admin() as admin:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(url.rpartition("/")[2])))

    def admin(self) -> psycopg.Connection[Any]:
        """A connection that may make databases."""
        return psycopg.connect(self.server.url, password=self.server.password, autocommit=True)

    def connect(self, url: str) -> psycopg.Connection[Any]:
        """A connection to a database."""
        return psycopg.connect(url, password=self.server.password, autocommit=True)

    def asks(self, job: str, vendors: str | None = None) -> list[str]:
        """An extract job's options for the sample vendors."""
        given: dict[str, Any] = {**sample_parameters.build_sample_extracts(vendors or self.vendors, "env://CANARY")[job]}
        if "start" in given:
            given["start"] = "2013-02-11" if job == "extract-massive-daily-prices" else "2012-01-01"
        return words(given)

    def warehouse(self, url: str) -> list[str]:
        """The options that say which warehouse: each job comes as the role of its name."""
        url = self.server.url_of("{job}", url.rpartition("/")[2])
        return ["--warehouse", url, "--warehouse-password", self.server.password_reference_of("{job}")]


def words(given: Mapping[str, Any]) -> list[str]:
    """Options as a command line has them."""
    pairs = ((name, one) for name, value in given.items() for one in (value if isinstance(value, list) else [value]))
    return [word for name, value in pairs for word in (f"--{name.replace('_', '-')}", str(value))]


def start(job: str, options: Sequence[str], *, verb: str = "run", prefix: Sequence[str] = (), **environ: str) -> subprocess.Popen[str]:
    """Start a job as a process of its own, which knows nothing of ours; `prefix` precedes its command, `{job}` in an option is its name."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("FINELT_", "PREFECT_"))}
    command = [*prefix, sys.executable, "-m", job.replace("-", "_"), verb, *(word.replace("{job}", job) for word in options)]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env={**ours, "CANARY": TOKEN, **environ}, text=True, **both)  # type: ignore[call-overload,no-any-return]  # noqa: S603


def ended(process: subprocess.Popen[str], within_s: float = 300) -> Ended:
    """Wait for a job."""
    with process:
        try:
            stdout, stderr = process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return Ended(process.returncode, json.loads(stdout) if stdout.strip() else None, stdout, stderr)


def run(job: str, options: Sequence[str], *, verb: str = "run", **environ: str) -> Ended:
    """Start a job and wait for it."""
    return ended(start(job, options, verb=verb, **environ))


def well(job: str, options: Sequence[str], **environ: str) -> Ended:
    """Run a job that has to end well. Raises RuntimeError otherwise."""
    done = run(job, options, **environ)
    if done.code:
        raise RuntimeError(f"{job} ended with {done.code}: {done.receipt and done.receipt['error']} {done.stderr[-2000:]}")
    return done


def lake(url: str | Path) -> State:
    """Every commit of a lake, each with files that are whole. Raises BadDataError where one is not."""
    where = Lake(str(url))
    found: State = {}
    for dataset in where.datasets():
        for partition in where.partitions(dataset):
            history = where.history(dataset, partition)
            for commit in history:
                for file in commit.files:
                    where.read(file)
            found[f"{dataset}/{partition}"] = [
                {name: value for name, value in msgspec.to_builtins(commit).items() if name not in ("known_at", "source")}
                | {"sources": len(commit.source)}  # not which: some vendors number their answers, so no two are the same
                for commit in history
            ]
    return found


def site(url: str | Path) -> State:
    """Every file of a site by its digest, but for the moments of the pointer and of its versions."""
    store = stores.open_store(str(url))
    found: State = {key: hashlib.sha256(store.get(key)).hexdigest() for key in store.list("") if key != "latest.json"}
    found.update({key: "dated" for key in found if key.endswith("/published.json")})
    if store.exists("latest.json"):
        pointer = json.loads(store.get("latest.json"))
        found["latest.json"] = (pointer["version"], pointer["content"])
    return found
