"""Run dbt for a developer on the demo's warehouse: it reads the demo's tables, and writes to a schema of the developer's own.

The schema is that of dbt's target `dev`. What is not built there is read from the schemas that transform-warehouse built (dbt's `--defer`).
A database role that owns this schema alone keeps dbt from changing any other.
"""

from __future__ import annotations

import getpass
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import psycopg
from jobkit.errors import ExitCode, MisconfiguredError, TemporaryError, UsageError
from jobkit.version import version_option

from jobs.catalogue import REPOSITORY, catalogue
from orchestration import warehouse_roles
from orchestration.local import postgres
from orchestration.local.options import directory_option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestration.local.postgres import Postgres

PROJECT = REPOSITORY / "dbt"
WARN_ERROR = "--warn-error"  # how two options of dbt begin, of which a command takes one
# dbt (1.12) succeeds with a warning if a selection matches nothing, or nothing that the command runs.
REFUSE_EMPTY_SELECTION = (f"{WARN_ERROR}-options", '{"error": ["NoNodesForSelectionCriteria", "NothingToDo"]}')
COMMANDS = ("build", "compile", "run", "show", "test")  # all of them take --defer and --state
PREFIX = "dbt_"
SCHEMA = re.compile(rf"{PREFIX}[a-z0-9_]{{1,59}}")  # a name of Postgres has at most 63 characters
DEV, PUBLISHED = "dev", "warehouse"  # targets of dbt/profiles.yml
EXAMPLES = """\b
Examples:
  finelt dbt show --select fct_yield                  # print some rows
  finelt dbt build --select fct_curve_spread          # build a model in your schema, and test it
  finelt dbt run --select stg_ecb__fx_rates+          # a model and all that read it

dbt's exit codes: 0 all succeeded, 1 a model or a test failed, 2 dbt could not run the command or
--select matches nothing that it runs.
"""


@click.command(epilog=EXAMPLES, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@version_option()
@directory_option("The directory of the demo.")
@click.option("--schema", help=f"Your schema. Default: {PREFIX} and the name of your account.")
@click.argument("command", type=click.Choice(COMMANDS))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def main(directory: Path, schema: str | None, command: str, arguments: tuple[str, ...]) -> None:
    """Run a COMMAND of dbt on the demo's data, with all its ARGUMENTS. The result is in a schema of your own.

    Models that you have not built there are read from the demo, whose own tables stay as they are.
    """
    name, home = choose_schema(schema, getpass.getuser()), directory.absolute() / "postgres"
    if not postgres.exists(home):
        raise MisconfiguredError(f"there is no warehouse in {home.parent}; run `finelt demo` first, or name its directory with --dir")
    try:
        with postgres.run_server(home) as server:
            environment = prepare_schema(server, name)
            click.echo(f"dbt writes to the schema {name}", err=True)
            sys.exit(run_dbt(command, arguments, directory.absolute() / "dbt", {**os.environ, **environment}))
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)


def choose_schema(wanted: str | None, account: str) -> str:
    """Return the developer's schema: the wanted one, or that of the account. Raises UsageError for a name that may be another's."""
    name = wanted or PREFIX + re.sub(r"[^a-z0-9]+", "_", account.lower())
    if not SCHEMA.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a developer's schema; expected {PREFIX} and up to 59 letters, digits or _, such as {PREFIX}anna: set --schema"
        )
    return name


def prepare_schema(server: Postgres, name: str, database: str = postgres.DATABASE) -> dict[str, str]:
    """Create the schema and its role if missing; return the environment variables from which profiles.yml takes both.

    Raises TemporaryError if the warehouse is in use.
    """
    password = warehouse_roles.read_or_create_password(server.password_file.parent / postgres.ROLES, name)
    try:
        with psycopg.connect(server.url_of(server.user, database), password=server.password, autocommit=True, connect_timeout=10) as admin:
            warehouse_roles.create_developer(admin, warehouse_roles.list_roles(catalogue()), name, password)
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise TemporaryError(f"the schema {name} cannot be prepared: {reason}; run it again when the demo's run has ended") from None
    login = {"host": server.host, "port": str(server.port), "user": name, "dbname": database}
    return {**describe_login(login, password), "FINELT_DBT_SCHEMA": name}


def describe_login(parameters: Mapping[str, str], password: str) -> dict[str, str]:
    """Return the environment variables from which profiles.yml takes a login. `parameters` are libpq's, from host to sslmode."""
    return {
        "FINELT_DBT_HOST": parameters["host"],
        "FINELT_DBT_PORT": parameters["port"],
        "FINELT_DBT_USER": parameters["user"],
        "FINELT_DBT_DATABASE": parameters["dbname"],
        "FINELT_DBT_SSLMODE": parameters.get("sslmode", "prefer"),
        "FINELT_DBT_SSLROOTCERT": parameters.get("sslrootcert", ""),
        "DBT_ENV_SECRET_FINELT_PASSWORD": password,
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def build_command(*words: str, target: Path, logs: Path) -> list[str]:
    """Return a command of dbt on this project, which writes to these folders alone."""
    places = {"--project-dir": PROJECT, "--profiles-dir": PROJECT, "--target-path": target, "--log-path": logs}
    return [str(Path(sys.executable).with_name("dbt")), *words, *(str(word) for place in places.items() for word in place)]


def run_dbt(command: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> int:
    """Run dbt with its output on this terminal and return its exit code. Its files, and the parsed project, are in the folder.

    The state that `--defer` reads is the project as it is now, with the relations of the published target.
    """
    state, logs = folder / "published", folder / "logs"
    parse = build_command("--quiet", "parse", "--target", PUBLISHED, target=state, logs=logs)
    if code := subprocess.run(parse, env=environment, check=False).returncode:  # noqa: S603
        return code
    strictness = () if any(word.startswith(WARN_ERROR) for word in arguments) else REFUSE_EMPTY_SELECTION
    mine = build_command(command, *strictness, "--target", DEV, "--defer", "--state", str(state), target=folder / "target", logs=logs)
    return subprocess.run([*mine, *arguments], env=environment, check=False).returncode  # noqa: S603
