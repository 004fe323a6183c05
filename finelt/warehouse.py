"""Where a warehouse is and how people log in to it: that of a demo, of the stack in containers, or of a stack in AWS.

People are the role `reader`, or in AWS its member `analyst`. They read the schemas `marts` and `as_of`, and change nothing.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
from jobkit import secrets
from jobkit.errors import MisconfiguredError, TemporaryError, UsageError

from jobs.catalogue import REPOSITORY
from orchestration.warehouse_roles import ANALYST, OPEN_TO_READER, READER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

COMPOSE = "compose"  # the value of --stack for the stack in containers; every other value is the name of a stack in AWS
HOST, CONNECT_TIMEOUT_S = "127.0.0.1", 10
BASTION_PARAMETER, FORWARDED_PORT, AWS_DATABASE = "/finelt/{}/bastion", 5433, "finelt"  # as scripts/stack connect has them
RDS_CA = REPOSITORY / "images" / "rds-ca.pem"
MARTS, AS_OF = "marts", "as_of"


@dataclass(frozen=True)
class Login:
    """Parameters of libpq without the password, the password, where a person finds it, and whether the server stops with the session."""

    parameters: Mapping[str, str]
    password: str = field(repr=False)
    password_source: str
    is_temporary: bool = False

    @property
    def url(self) -> str:
        """The connection string, without the password."""
        extra = {name: value for name, value in self.parameters.items() if name not in ("host", "port", "user", "dbname")}
        query = "?" + "&".join(f"{name}={value}" for name, value in extra.items()) if extra else ""
        user, host, port, database = (self.parameters[name] for name in ("user", "host", "port", "dbname"))
        return f"postgresql://{user}@{host}:{port}/{database}{query}"


@contextmanager
def open_warehouse(directory: Path, stack: str | None) -> Iterator[Login]:
    """Yield the login to the warehouse of a stack, or without a stack to that of the demo in a directory, whose server it starts.

    Raises MisconfiguredError if there is no such warehouse, TemporaryError if it cannot be reached.
    """
    if stack is None:
        with _run_demo_server(directory) as login:
            yield login
    else:
        yield _find_compose_login() if stack == COMPOSE else _find_aws_login(stack)


def connect(login: Login, as_of: datetime | None = None) -> psycopg.Connection[Any]:
    """Connect to the warehouse for reading, as of a moment.

    Raises psycopg.Error, TemporaryError if no server answers, and UsageError for a moment that by the server's clock is still to come.
    """
    parameters = {**login.parameters, "options": session_options(as_of)}
    try:
        connection = psycopg.connect(password=login.password, connect_timeout=CONNECT_TIMEOUT_S, **parameters)  # type: ignore[arg-type]
    except psycopg.OperationalError as error:
        if error.sqlstate:
            raise
        reason = str(error).strip().splitlines()[-1]
        raise TemporaryError(f"the warehouse {login.url} does not answer: {reason}; check that its stack runs") from None
    is_future = as_of is not None and connection.execute("select %s > clock_timestamp()", [as_of]).fetchone() == (True,)
    connection.rollback()
    if is_future:
        connection.close()
        raise UsageError(f"as-of is '{as_of:%Y-%m-%dT%H:%M:%SZ}'; expected a moment that has passed")
    return connection


def session_options(as_of: datetime | None) -> str:
    """Return the settings of a session, as PGOPTIONS has them: read only, tables found without their schema, and as of a moment."""
    schemas = (AS_OF,) if as_of else OPEN_TO_READER
    settings = {"default_transaction_read_only": "on", "search_path": ",".join(schemas)}
    if as_of:
        settings["finelt.as_of"] = as_of.astimezone(UTC).isoformat()
    return " ".join([os.environ.get("PGOPTIONS", ""), *(f"-c {name}={value}" for name, value in settings.items())]).strip()


def parse_moment(text: str) -> datetime:
    """Return a moment in UTC: a date and a time with Z or an offset, or a date alone, which is its first moment in UTC.

    Raises UsageError. Whether the moment has passed is decided by the warehouse's clock.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
        if len(text.strip()) == len("2013-01-15"):
            moment = moment.replace(tzinfo=UTC)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise UsageError(f"as-of is {text!r}; expected a date such as 2013-01-15, or a moment with its time zone such as 2013-01-15T12:00Z")


@contextmanager
def _run_demo_server(directory: Path) -> Iterator[Login]:
    from orchestration.local import postgres  # noqa: PLC0415  not needed for other warehouses

    if not postgres.exists(directory / "postgres"):
        raise MisconfiguredError(
            f"there is no warehouse in {directory.absolute()} yet; run ./scripts/demo first, or name the directory of another "
            f"demo (--dir) or a stack (--stack); in Python, as the second argument of finelt.read"
        )
    with postgres.run_server(directory / "postgres") as server:
        parameters = {"host": server.host, "port": str(server.port), "user": READER, "dbname": postgres.DATABASE}
        reference = server.password_reference_of(READER)
        source = f"in the file {reference.removeprefix('file://')}"
        yield Login(parameters, secrets.resolve(reference), source, is_temporary=not postgres.has_other_users(server))


def _find_compose_login() -> Login:
    from orchestration.compose import env_file  # noqa: PLC0415  not needed for other warehouses

    values = env_file.read_stack(env_file.ENV_FILE)
    parameters = {"host": HOST, "port": values["FINELT_POSTGRES_PORT"], "user": READER, "dbname": env_file.WAREHOUSE}
    name = "FINELT_WAREHOUSE_PASSWORD"
    return Login(parameters, values[name], f"{name} in {env_file.ENV_FILE}")


def _find_aws_login(stack: str) -> Login:
    """Return the login through the port that `scripts/stack connect` forwards, with a token of IAM as the password."""
    region = _read_region(stack)
    with socket.socket() as probe:
        if probe.connect_ex((HOST, FORWARDED_PORT)):
            raise TemporaryError(
                f"nothing forwards port {FORWARDED_PORT} to the warehouse of {stack}; "
                f"run ./scripts/stack connect {stack} warehouse in another terminal and leave it open"
            )
    import boto3  # noqa: PLC0415  half a second to import
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        parameter = boto3.client("ssm", region_name=region).get_parameter(Name=BASTION_PARAMETER.format(stack))["Parameter"]
        host = json.loads(parameter["Value"])["hosts"]["warehouse"]
        token = boto3.client("rds", region_name=region).generate_db_auth_token(host, 5432, ANALYST)
    except (BotoCoreError, ClientError) as error:
        raise MisconfiguredError(
            f"AWS gives no login to the warehouse of {stack}: {error}; run aws sso login, or set AWS_PROFILE"
        ) from None
    parameters = {
        "host": host,
        "hostaddr": HOST,
        "port": str(FORWARDED_PORT),
        "user": ANALYST,
        "dbname": AWS_DATABASE,
        "sslmode": "verify-full",
        "sslrootcert": str(RDS_CA),
    }
    source = f"aws rds generate-db-auth-token --hostname {host} --port 5432 --username {ANALYST} --region {region}"
    return Login(parameters, token, f"what this prints, for 15 minutes: {source}")


def _read_region(stack: str) -> str:
    import yaml  # noqa: PLC0415

    path = REPOSITORY / "infra" / f"Pulumi.{stack}.yaml"
    if not path.is_file():
        known = [file.name.split(".")[1] for file in sorted(path.parent.glob("Pulumi.*.yaml"))]
        raise MisconfiguredError(f"there is no stack {stack!r}; expected one of {', '.join([COMPOSE, *known])}")
    return str(yaml.safe_load(path.read_text(encoding="utf-8"))["config"]["aws:region"])
