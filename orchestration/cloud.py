"""Makes a stack in AWS ready after each deployment, as a task of its own inside the network: the warehouse's roles, pool and deployments.

What the stack is comes from infra/ as JSON in FINELT_STACK:

    tasks        task definitions by job, and `flows`
    pool         defaults of the work pool's variables: cluster, subnets, security groups, capacity provider
    parameters   values for options, as scripts/deploy takes them from a file: at the top for all, below a job's name for one
    warehouse    host of the warehouse, and by job the ARN of the secret that the password of its role is kept in

Run again, it changes what has changed and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from itertools import product
from typing import TYPE_CHECKING, Any

import asyncpg
import boto3
import click
from jobkit.report import prefect

from jobs.catalogue import catalogue
from orchestration import deploy, schedules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobs.catalogue import JobSpec

KIND = POOL = "ecs"
DATABASE, PART = "finelt", "warehouse/"  # what jobs read and write of it is called warehouse/...


def main(environ: Mapping[str, str]) -> None:
    """Everything, from what the environment says."""
    stack = json.loads(environ["FINELT_STACK"])
    if place := stack.get("warehouse"):
        client = boto3.client("secretsmanager")
        passwords = {job: kept_password(client, secret) for job, secret in place["secrets"].items()}
        user, master_password = environ["FINELT_MASTER_USER"], environ["FINELT_MASTER_PASSWORD"]
        asyncio.run(warehouse(place["host"], user, master_password, passwords, port=place.get("port", 5432)))
    register(prefect.api(environ), stack)


def kept_password(client: Any, secret: str) -> str:  # noqa: ANN401  boto3 has no types
    """The password of a job's role: made when the secret is still empty, so that nobody outside ever held it."""
    try:
        return str(client.get_secret_value(SecretId=secret)["SecretString"])
    except client.exceptions.ResourceNotFoundException:
        password = secrets.token_urlsafe(32)
        client.put_secret_value(SecretId=secret, SecretString=password)
        return password


async def warehouse(host: str, user: str, master_password: str, passwords: Mapping[str, str], *, port: int = 5432) -> None:
    """A role for each job, called as the job: it makes what the job writes, reads what the job reads, and may do nothing else."""
    specs = [spec for spec in catalogue() if spec.name in passwords]
    connection = await asyncpg.connect(host=host, port=port, user=user, password=master_password, database=DATABASE)
    try:
        await connection.execute(f"revoke all on database {DATABASE} from public")
        for spec in specs:
            await _role(connection, spec, passwords[spec.name])
        for writer, reader in product(specs, specs):
            if writer is not reader and any(part in reader.reads for part in writer.writes if part.startswith(PART)):
                await _readable(connection, writer.name, reader.name)
    finally:
        await connection.close()


async def _role(connection: asyncpg.Connection, spec: JobSpec, password: str) -> None:
    """The role is there, with this password."""
    if not await connection.fetchval("select true from pg_roles where rolname = $1", spec.name):
        await connection.execute(f'create role "{spec.name}" login')
    literal = await connection.fetchval("select quote_literal($1::text)", password)  # a role's password takes no parameter
    await connection.execute(f'alter role "{spec.name}" password {literal}')
    makes = ", create" if any(part.startswith(PART) for part in spec.writes) else ""
    await connection.execute(f'grant connect, temporary{makes} on database {DATABASE} to "{spec.name}"')
    await connection.execute(f'grant "{spec.name}" to current_user')  # only who is in it may say who reads what it makes


async def _readable(connection: asyncpg.Connection, writer: str, reader: str) -> None:
    """What one role makes, the other may read: what is there, and what will be."""
    schemas = await connection.fetch(
        "select quote_ident(nspname) as name from pg_namespace where nspowner::regrole = $1::regrole", f'"{writer}"'
    )
    for schema in schemas:
        await connection.execute(f'grant usage on schema {schema["name"]} to "{reader}"')
        await connection.execute(f'grant select on all tables in schema {schema["name"]} to "{reader}"')
    for right in ("usage on schemas", "select on tables"):
        await connection.execute(f'alter default privileges for role "{writer}" grant {right} to "{reader}"')


def register(api: prefect.Api, stack: Mapping[str, Any]) -> deploy.Registered:
    """The work pool and a deployment per job and flow, from their task definitions."""
    wanted = deploy.tasks(catalogue(), stack["tasks"], pool=POOL)
    wanted, unscheduled = schedules.valued(wanted, stack.get("parameters", {}), "FINELT_STACK", catalogue())
    for sentence in unscheduled:
        click.echo(sentence, err=True)
    done = deploy.register(api, wanted, kind=KIND, pool=POOL, defaults=stack["pool"])
    for outcome in ("created", "changed", "unchanged"):
        for what in getattr(done, outcome):
            click.echo(f"{outcome:10}{what}")
    return done


if __name__ == "__main__":
    main(os.environ)
