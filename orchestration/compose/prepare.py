"""Makes what the stack of docker-compose.yml needs before its worker starts, in a container of its own. Again, it changes nothing.

The warehouse's database and the role that owns it, the bucket, the secrets that jobs may read, and the work pool.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from jobkit.report import prefect

from orchestration import deploy
from orchestration.compose import facts

if TYPE_CHECKING:
    from collections.abc import Mapping


def main(environ: Mapping[str, str]) -> None:
    """Everything, from what the environment says."""
    asyncio.run(warehouse(environ["FINELT_POSTGRES_PASSWORD"], environ["FINELT_WAREHOUSE_PASSWORD"]))
    bucket(environ["FINELT_S3_ACCESS_KEY"], environ["FINELT_S3_SECRET_KEY"])
    secret(facts.WAREHOUSE_PASSWORD, environ["FINELT_WAREHOUSE_PASSWORD"])
    secret(facts.SAMPLE_TOKEN, "sample")
    key, hidden = environ["FINELT_S3_ACCESS_KEY"], environ["FINELT_S3_SECRET_KEY"]
    secret(facts.AWS_CREDENTIALS, f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {hidden}\n")
    defaults = facts.pool_defaults(environ["COMPOSE_PROJECT_NAME"])
    deploy.register(prefect.api(environ), [], kind=facts.KIND, pool=facts.POOL, defaults=defaults)


async def warehouse(superuser_password: str, password: str) -> None:
    """A database of its own beside Prefect's, and a role that owns it and nothing else."""
    connection = await asyncpg.connect(host=facts.WAREHOUSE_HOST, user="postgres", database="prefect", password=superuser_password)
    try:
        if not await connection.fetchval("select true from pg_roles where rolname = $1", facts.WAREHOUSE):
            await connection.execute(f"create role {facts.WAREHOUSE} login")
        literal = await connection.fetchval("select quote_literal($1::text)", password)  # a role's password takes no parameter
        await connection.execute(f"alter role {facts.WAREHOUSE} password {literal}")
        if not await connection.fetchval("select true from pg_database where datname = $1", facts.WAREHOUSE):
            await connection.execute(f"create database {facts.WAREHOUSE} owner {facts.WAREHOUSE}")
        await connection.execute(
            f"revoke connect on database prefect from public; revoke connect on database {facts.WAREHOUSE} from public"
        )
    finally:
        await connection.close()


def bucket(key: str, secret_key: str) -> None:
    """The bucket of lake and site."""
    path_style = Config(s3={"addressing_style": "path"})  # the server has one host name, not one per bucket
    client = boto3.client(
        "s3", endpoint_url=facts.S3_URL, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret_key, config=path_style
    )
    try:
        client.head_bucket(Bucket=facts.BUCKET)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise
        client.create_bucket(Bucket=facts.BUCKET)


def secret(path: str, value: str) -> None:
    """A file that only the jobs' user can read; whole or not there."""
    made = Path(f"{path}.new")
    made.unlink(missing_ok=True)
    made.touch(mode=0o600)
    made.write_text(value, encoding="utf-8")
    os.chown(made, facts.JOB_USER, facts.JOB_USER)
    made.rename(path)


if __name__ == "__main__":
    main(os.environ)
