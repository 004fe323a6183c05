"""Find the stack of which a person asks: the demo that `finelt demo --keep` left running, the stack in containers, or a Prefect server."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
import psycopg
from jobkit import prefect_api, secrets
from jobkit.errors import MisconfiguredError, TemporaryError
from rich import box
from rich.console import Console
from rich.table import Table

from orchestration.compose import env_file
from orchestration.console.follow import check_server
from orchestration.local import postgres, stack
from orchestration.local.options import directory_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

LEDGER_READER = "publish-marts"  # the role with the fewest rights that may read raw and marts
PIPE_WIDTH = 200
WRAPPED = ("name", "message", "newest_partition")  # columns that may take several lines on a narrow terminal

DIRECTORY = directory_option("The directory of the demo.")
COMPOSE = click.option("--compose", "is_compose", is_flag=True, help="Ask the stack in containers instead of the demo.")
API_URL = click.option(
    "--api-url", envvar="PREFECT_API_URL", help="Ask this Prefect server, such as http://127.0.0.1:4200/api, instead of the demo's."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def server_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options --dir, --compose, --api-url and --json to a command that asks a Prefect server."""
    for option in (JSON, API_URL, COMPOSE, DIRECTORY):
        command = option(command)
    return command


def open_api(directory: Path, api_url: str | None, *, is_compose: bool) -> prefect_api.Api:
    """Return a Prefect server's API, once it has answered. Raises MisconfiguredError."""
    if is_compose:
        values = env_file.read_stack(env_file.ENV_FILE)
        server, auth = f"http://127.0.0.1:{values['FINELT_PREFECT_PORT']}", values["FINELT_PREFECT_AUTH"]
        api = prefect_api.api({"PREFECT_API_URL": f"{server}/api", "PREFECT_API_AUTH_STRING": auth})
        hint = "start it with `finelt compose up --detach`"
    elif api_url:
        api, hint = prefect_api.api({**os.environ, "PREFECT_API_URL": api_url}), "check --api-url"
    else:
        api, hint = stack.open_kept_api(directory.absolute()), "start one with `finelt demo --keep`"
    try:
        check_server(api, hint)
    except prefect_api.RejectedError as error:
        hint = "; set PREFECT_API_AUTH_STRING or PREFECT_API_KEY" if error.status in (401, 403) else ""
        raise MisconfiguredError(f"{error}{hint}") from None
    return api


@contextmanager
def open_warehouse(directory: Path, *, is_compose: bool) -> Iterator[psycopg.Connection[Any]]:
    """Connect to a warehouse, for reading only; the one of a demo that was stopped is started meanwhile. Raises JobError."""
    if is_compose:
        values = env_file.read_stack(env_file.ENV_FILE)
        where = f"postgresql://postgres@127.0.0.1:{values['FINELT_POSTGRES_PORT']}/{env_file.WAREHOUSE}"
        with _connect(where, values["FINELT_POSTGRES_PASSWORD"]) as connection:
            yield connection
        return
    home = directory.absolute() / "postgres"
    if not postgres.exists(home):
        raise MisconfiguredError(f"there is no warehouse in {home.parent}; run `finelt demo` first, or name its directory with --dir")
    with postgres.run_server(home) as server:
        password = secrets.resolve(server.password_reference_of(LEDGER_READER))
        with _connect(server.url_of(LEDGER_READER), password) as connection:
            yield connection


def _connect(url: str, password: str) -> psycopg.Connection[Any]:
    try:
        return psycopg.connect(url, password=password, options="-c default_transaction_read_only=on", connect_timeout=10)
    except psycopg.OperationalError as error:
        raise TemporaryError(f"the warehouse at {url} cannot be reached: {str(error).strip().splitlines()[-1]}") from None


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool, columns: Mapping[str, Callable[[Any], str]], empty: str) -> None:
    """Print rows as JSON, or the given columns of them as a table, each formatted by its function."""
    if as_json:
        click.echo(json.dumps(rows, indent=2, default=str))
        return
    if not rows:
        click.echo(empty)
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in columns:
        is_number = isinstance(rows[0].get(name), int | float)
        title, can_wrap = name.removesuffix("_s").replace("_", " "), name in WRAPPED
        table.add_column(title, justify="right" if is_number else "left", overflow="fold", no_wrap=not can_wrap)
    for row in rows:
        table.add_row(*(form(row[name]) if row[name] is not None else "" for name, form in columns.items()))
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table, highlight=False, markup=False)
