"""Create what the stack of docker-compose.yml needs before its worker starts. Running it again changes nothing.

These are the warehouse's database and roles, the bucket, the secrets that jobs may read, and the work pool.
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
from jobkit import files, prefect_api
from psycopg import sql

from jobs.catalogue import catalogue
from orchestration import warehouse_roles
from orchestration.compose import env_file, settings
from orchestration.deployments import register

if TYPE_CHECKING:
    from collections.abc import Mapping


def main(environ: Mapping[str, str]) -> None:
    """Provision the stack that the environment describes."""
    create_warehouse(environ["FINELT_POSTGRES_PASSWORD"], environ["FINELT_WAREHOUSE_PASSWORD"])
    create_bucket(environ["FINELT_S3_ACCESS_KEY"], environ["FINELT_S3_SECRET_KEY"])
    write_secret(settings.SAMPLE_TOKEN, "sample")
    key, secret_key = environ["FINELT_S3_ACCESS_KEY"], environ["FINELT_S3_SECRET_KEY"]
    write_secret(settings.AWS_CREDENTIALS, f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret_key}\n")
    defaults = settings.pool_defaults(environ["COMPOSE_PROJECT_NAME"])
    register.register_deployments(prefect_api.api(environ), [], kind=settings.KIND, pool=settings.POOL, defaults=defaults)


def create_warehouse(superuser_password: str, reader_password: str) -> None:
    """Create a database next to Prefect's, with a role for each job and one for people. Raises psycopg.Error.

    The passwords of the jobs' roles are generated each time, and only the jobs can read them. In earlier versions a role with the
    database's name owned everything; it may no longer log in.
    """
    roles = warehouse_roles.list_roles(catalogue())
    passwords = {role.name: secrets.token_urlsafe(24) for role in roles if role.name != warehouse_roles.READER}
    access: dict[str, Any] = {"host": settings.WAREHOUSE_HOST, "user": "postgres", "password": superuser_password, "autocommit": True}
    database = sql.Identifier(env_file.WAREHOUSE)
    with psycopg.connect(dbname="prefect", **access) as connection:
        if not connection.execute("select from pg_database where datname = %s", [env_file.WAREHOUSE]).fetchall():
            connection.execute(sql.SQL("create database {}").format(database))
        connection.execute(sql.SQL("alter database {} owner to current_user").format(database))
        connection.execute("revoke connect on database prefect from public")
        if connection.execute("select from pg_roles where rolname = %s", [env_file.WAREHOUSE]).fetchall():
            connection.execute(sql.SQL("alter role {} nologin").format(database))
    with psycopg.connect(dbname=env_file.WAREHOUSE, **access) as connection:
        warehouse_roles.prepare(connection, roles, {**passwords, warehouse_roles.READER: reader_password})
    Path(settings.ROLES).mkdir(mode=0o711, exist_ok=True)
    for role, password in passwords.items():
        write_secret(f"{settings.ROLES}/{role}", password)


def create_bucket(key: str, secret_key: str) -> None:
    """Create the bucket of lake and site unless it exists. Raises ClientError."""
    path_style = Config(s3={"addressing_style": "path"})  # the server has one host name for all buckets
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


def write_secret(path: str, value: str) -> None:
    """Write a file that only the jobs' user can read."""
    files.replace_file(Path(path), value.encode(), mode=0o600, owner=(settings.JOB_USER, settings.JOB_USER))


if __name__ == "__main__":
    main(os.environ)
