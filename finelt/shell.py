"""Open psql on a warehouse as the role `reader`, or print how another client connects."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import click
from jobkit.errors import ExitCode, JobError, MisconfiguredError
from jobkit.version import version_option

from finelt import warehouse
from finelt.sql import warehouse_options

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from finelt.warehouse import Login


@click.command(name="shell", context_settings={"max_content_width": 100})
@version_option()
@warehouse_options
@click.option("--print", "print_only", is_flag=True, help="Print the connection string, and keep the demo's server running until Ctrl-C.")
def main(directory: Path, stack: str | None, as_of: str | None, *, print_only: bool) -> None:
    """Open psql on the warehouse of the last demo, or of a stack. Tables need no schema."""
    try:
        moment = warehouse.parse_moment(as_of) if as_of else None
        with warehouse.open_warehouse(directory, stack) as login:
            sys.exit(print_login(login) if print_only else run_psql(login, moment))
    except JobError as error:
        click.echo(f"shell: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(ExitCode.DONE if print_only else ExitCode.INTERRUPTED)


def run_psql(login: Login, as_of: datetime | None) -> int:
    """Run psql until it ends and return its exit code. The password is in its environment, which no other user can read."""
    psql = shutil.which("psql")
    if psql is None:
        raise MisconfiguredError("there is no psql command; install it (Debian: apt-get install postgresql-client), or use --print")
    environment = {**os.environ, "PGPASSWORD": login.password, "PGOPTIONS": warehouse.session_options(as_of), "PGCONNECT_TIMEOUT": "10"}
    conninfo = " ".join(f"{name}='{value}'" for name, value in login.parameters.items())
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for psql, which cancels the query
    return subprocess.run([psql, conninfo], env=environment, check=False).returncode  # noqa: S603


def print_login(login: Login) -> int:
    """Print the connection string, and where its password is; wait for Ctrl-C if the server stops with this command."""
    click.echo(login.url)
    click.echo(f"password: {login.password_source}", err=True)
    if login.is_temporary:
        click.echo("the server runs until Ctrl-C", err=True)
        threading.Event().wait()
    return ExitCode.DONE
