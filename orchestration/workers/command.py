"""A Prefect worker of a pool that scripts/deploy has registered, with what its jobs may see and the settings that make steps quick."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from jobkit import prefect_api

from jobs.catalogue import REPOSITORY
from orchestration.deployments.model import CLIENT_SETTINGS
from orchestration.local import processes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ACCESS = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY")
SETTINGS = {
    **CLIENT_SETTINGS,
    "PREFECT_PROFILES_PATH": str(Path(__file__).with_name("profiles.toml")),
    "PREFECT_WORKER_QUERY_SECONDS": "1",  # oftener, a server on SQLite is busy with the question alone
    "PYTHONPATH": str(REPOSITORY),
    "PYTHONUNBUFFERED": "1",
}


def environment(kind: str, environ: Mapping[str, str], passed: Sequence[str]) -> dict[str, str]:
    """What the worker sees. On the process pool its jobs inherit that, so it is what any program needs, and what is passed by name.

    Elsewhere jobs get only its settings of Prefect's; so those are left out, but for the access to the server.
    """
    if kind == "process":
        kept = {name: environ[name] for name in (*processes.INHERITED, *passed) if name in environ}
    else:
        kept = {name: value for name, value in environ.items() if not name.startswith("PREFECT_")}
    return {**kept, **{name: environ[name] for name in ACCESS if name in environ}, **SETTINGS}


def kind_of(api: prefect_api.Api, pool: str) -> str:
    """The kind of a work pool. Raises ClickException with one sentence when there is none, or no server, or we may not ask."""
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
@click.option("--pool", required=True, help="The work pool, as scripts/deploy registered it.")
@click.option("--env", "passed", multiple=True, metavar="NAME", help="A variable that jobs of a process pool may see. Repeatable.")
@click.option("--api-url", envvar="PREFECT_API_URL", required=True, help="The Prefect server, e.g. http://127.0.0.1:4200/api.")
def main(pool: str, passed: tuple[str, ...], api_url: str) -> None:
    """Work for a pool until SIGTERM or Ctrl-C. Credentials come from PREFECT_API_AUTH_STRING or _KEY."""
    if absent := [name for name in passed if name not in os.environ]:
        raise click.UsageError(f"--env {absent[0]}: there is no such variable here; set it first")
    environ = {**os.environ, "PREFECT_API_URL": api_url}
    kind = kind_of(prefect_api.api(environ), pool)
    command = [sys.executable, "-m", "orchestration.workers.process", pool, kind, "at once"]
    os.execve(sys.executable, command, environment(kind, environ, passed))  # noqa: S606  so that signals reach the worker itself


if __name__ == "__main__":
    main(prog_name="scripts/worker")
