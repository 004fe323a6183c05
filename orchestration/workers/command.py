"""Start a Prefect worker for a pool that scripts/deploy has registered, with only the variables that its jobs may see."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from jobkit import prefect_api
from jobkit.version import version_option

from jobs.catalogue import REPOSITORY
from orchestration.deployments.model import CLIENT_SETTINGS
from orchestration.local import processes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ACCESS_VARIABLES = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY")
SETTINGS = {
    **CLIENT_SETTINGS,
    "PREFECT_PROFILES_PATH": str(Path(__file__).with_name("profiles.toml")),
    "PREFECT_WORKER_QUERY_SECONDS": "1",  # more often, polling alone keeps a server on SQLite busy
    "PYTHONPATH": str(REPOSITORY),
    "PYTHONUNBUFFERED": "1",
}


def worker_environment(kind: str, environ: Mapping[str, str], passed: Sequence[str]) -> dict[str, str]:
    """Return the worker's environment. `passed` are the names of variables that jobs of a process pool may see.

    Jobs of a process pool inherit it, so it has only what any program needs and the passed variables. Jobs elsewhere inherit its Prefect
    settings alone, so these are left out, except for the access to the server.
    """
    if kind == "process":
        inherited = {name: environ[name] for name in (*processes.INHERITED, *passed) if name in environ}
    else:
        inherited = {name: value for name, value in environ.items() if not name.startswith("PREFECT_")}
    return {**inherited, **{name: environ[name] for name in ACCESS_VARIABLES if name in environ}, **SETTINGS}


def read_pool_kind(api: prefect_api.Api, pool: str) -> str:
    """Return the kind of a work pool. Raises ClickException if the pool is missing, or the server is unreachable or refuses access."""
    try:
        return str(api.call("GET", f"/work_pools/{pool}", within_s=5)["type"])
    except prefect_api.UnreachableError as error:
        raise click.ClickException(f"no Prefect server answers at {api.url}: {error}; check --api-url and that it runs") from None
    except prefect_api.RejectedError as error:
        if error.status in (401, 403):
            raise click.ClickException(
                f"{api.url} refuses our credentials ({error.status}); set PREFECT_API_AUTH_STRING or PREFECT_API_KEY"
            ) from None
        raise click.ClickException(f"{api.url} has no work pool {pool!r}; register it with scripts/deploy first") from None


@click.command()
@version_option()
@click.option("--pool", required=True, help="The work pool, as scripts/deploy registered it.")
@click.option("--env", "passed", multiple=True, metavar="NAME", help="A variable that jobs of a process pool may see. Repeatable.")
@click.option("--api-url", envvar="PREFECT_API_URL", required=True, help="The Prefect server, e.g. http://127.0.0.1:4200/api.")
def main(pool: str, passed: tuple[str, ...], api_url: str) -> None:
    """Work for a pool until SIGTERM or Ctrl-C. Credentials come from PREFECT_API_AUTH_STRING or _KEY."""
    if missing := [name for name in passed if name not in os.environ]:
        raise click.UsageError(f"--env {missing[0]}: no such environment variable; set it first")
    environ = {**os.environ, "PREFECT_API_URL": api_url}
    kind = read_pool_kind(prefect_api.api(environ), pool)
    command = [sys.executable, "-m", "orchestration.workers.process", pool, kind]
    os.execve(sys.executable, command, worker_environment(kind, environ, passed))  # noqa: S606  so that signals reach the worker itself


if __name__ == "__main__":
    main(prog_name="scripts/worker")
