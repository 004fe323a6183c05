"""Makes what the stack of docker-compose.yml needs before its worker starts, in a container of its own. Again, it changes nothing.

The warehouse's database and its roles, the bucket, the secrets that jobs may read, and the work pool.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import psycopg
from botocore.config import Config
from botocore.exceptions import ClientError
from jobkit import prefect_api
from psycopg import sql

from jobs.catalogue import catalogue
from orchestration import warehouse_roles
from orchestration.compose import settings
from orchestration.deployments import register

if TYPE_CHECKING:
    from collections.abc import Mapping


def main(environ: Mapping[str, str]) -> None:
    """Everything, from what the environment says."""
    warehouse(environ["FINELT_POSTGRES_PASSWORD"], environ["FINELT_WAREHOUSE_PASSWORD"])
    bucket(environ["FINELT_S3_ACCESS_KEY"], environ["FINELT_S3_SECRET_KEY"])
    secret(settings.SAMPLE_TOKEN, "sample")
    key, hidden = environ["FINELT_S3_ACCESS_KEY"], environ["FINELT_S3_SECRET_KEY"]
    secret(settings.AWS_CREDENTIALS, f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {hidden}\n")
    defaults = settings.pool_defaults(environ["COMPOSE_PROJECT_NAME"])
    register.register_deployments(prefect_api.api(environ), [], kind=settings.KIND, pool=settings.POOL, defaults=defaults)


def warehouse(superuser_password: str, reader_password: str) -> None:
    """A database of its own beside Prefect's, and in it a role for each job and one for people.

    The passwords of the jobs' roles are made each time and are known to nobody but the jobs. The role that owned all of it in earlier
    versions, called as the database, may no longer log in.
    """
    wanted = warehouse_roles.roles(catalogue())
    passwords = {role.name: secrets.token_urlsafe(24) for role in wanted if role.name != warehouse_roles.READER}
    access: dict[str, Any] = {"host": settings.WAREHOUSE_HOST, "user": "postgres", "password": superuser_password, "autocommit": True}
    database = sql.Identifier(settings.WAREHOUSE)
    with psycopg.connect(dbname="prefect", **access) as connection:
        if not connection.execute("select from pg_database where datname = %s", [settings.WAREHOUSE]).fetchall():
            connection.execute(sql.SQL("create database {}").format(database))
        connection.execute(sql.SQL("alter database {} owner to current_user").format(database))
        connection.execute("revoke connect on database prefect from public")
        if connection.execute("select from pg_roles where rolname = %s", [settings.WAREHOUSE]).fetchall():
            connection.execute(sql.SQL("alter role {} nologin").format(database))
    with psycopg.connect(dbname=settings.WAREHOUSE, **access) as connection:
        warehouse_roles.prepare(connection, wanted, {**passwords, warehouse_roles.READER: reader_password})
    Path(settings.ROLES).mkdir(mode=0o711, exist_ok=True)
    for role, password in passwords.items():
        secret(f"{settings.ROLES}/{role}", password)


def bucket(key: str, secret_key: str) -> None:
    """The bucket of lake and site."""
    path_style = Config(s3={"addressing_style": "path"})  # the server has one host name, not one per bucket
    client = boto3.client(
        "s3",
        endpoint_url=settings.S3_URL,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret_key,
        config=path_style,
    )
    try:
        client.head_bucket(Bucket=settings.BUCKET)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise
        client.create_bucket(Bucket=settings.BUCKET)


def secret(path: str, value: str) -> None:
    """A file that only the jobs' user can read; whole or not there."""
    made = Path(f"{path}.new")
    made.unlink(missing_ok=True)
    made.touch(mode=0o600)
    made.write_text(value, encoding="utf-8")
    os.chown(made, settings.JOB_USER, settings.JOB_USER)
    made.rename(path)


if __name__ == "__main__":
    main(os.environ)
