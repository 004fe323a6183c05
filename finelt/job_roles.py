"""Connect to a warehouse as a job. Each job may have a role of its own: `{job}` in a URL or a reference stands for the job's name."""

from __future__ import annotations

from typing import Any

import click
import psycopg
from jobkit import postgres, secrets

LOADER, TRANSFORMER = "load-warehouse", "transform-warehouse"
CONNECT_TIMEOUT_S = 10
WAREHOUSE_OPTION = click.option(
    "--warehouse",
    metavar="URL",
    envvar="FINELT_WAREHOUSE",
    help="The warehouse: postgresql://user@host:port/database. Write {job} for the user if each job has its own role.",
)
PASSWORD_OPTION = click.option(
    "--password", metavar="REF", default="env://WAREHOUSE_PASSWORD", show_default=True, help="Where the password is, also with {job}."
)


def connect(url: str, password: str, job: str, *, autocommit: bool = False) -> psycopg.Connection[Any]:
    """Connect as a job; `password` is a reference to the password. Raises the errors of `jobkit.postgres`."""
    url, reference = (text.replace("{job}", job) for text in (url, password))
    try:
        return psycopg.connect(url, password=secrets.resolve(reference), autocommit=autocommit, connect_timeout=CONNECT_TIMEOUT_S)
    except psycopg.OperationalError as error:
        raise postgres.translate_error(f"the warehouse {url}", str(error), error.sqlstate) or error from None
