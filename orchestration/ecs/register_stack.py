"""Makes a stack in AWS ready after each deployment, as a task of its own inside the network: the warehouse's roles, pool and deployments.

What the stack is comes from infra/ as JSON in FINELT_STACK:

    tasks        task definitions by job, and `flows`
    pool         defaults of the work pool's variables: cluster, subnets, security groups, capacity provider
    parameters   values for options, as scripts/deploy takes them from a file: at the top for all, below a job's name for one
    warehouse    host of the warehouse, and by job the ARN of the secret that the password of its role is kept in

Run again, it changes what has changed and nothing else.
"""

from __future__ import annotations

import json
import os
import secrets
from typing import TYPE_CHECKING, Any

import boto3
import click
import psycopg
from jobkit import prefect_api

from jobs.catalogue import catalogue
from orchestration import warehouse_roles
from orchestration.deployments import register as deploy
from orchestration.deployments import schedules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestration.deployments.model import RegistrationResult

KIND = POOL = "ecs"
DATABASE = "finelt"


def main(environ: Mapping[str, str]) -> None:
    """Everything, from what the environment says."""
    stack = json.loads(environ["FINELT_STACK"])
    if place := stack.get("warehouse"):
        client = boto3.client("secretsmanager")
        passwords = {job: kept_password(client, secret) for job, secret in place["secrets"].items()}
        user, master_password = environ["FINELT_MASTER_USER"], environ["FINELT_MASTER_PASSWORD"]
        warehouse(place["host"], user, master_password, passwords, port=place.get("port", 5432))
    register(prefect_api.api(environ), stack)


def kept_password(client: Any, secret: str) -> str:  # noqa: ANN401  boto3 has no types
    """The password of a job's role: made when the secret is still empty, so that nobody outside ever held it."""
    try:
        return str(client.get_secret_value(SecretId=secret)["SecretString"])
    except client.exceptions.ResourceNotFoundException:
        password = secrets.token_urlsafe(32)
        client.put_secret_value(SecretId=secret, SecretString=password)
        return password


def warehouse(host: str, user: str, master_password: str, passwords: Mapping[str, str], *, port: int = 5432) -> None:
    """A role for each job, called as the job, and the group `reader` for people: orchestration/warehouse_roles.py says what each may do."""
    parameters: dict[str, Any] = {"host": host, "port": port, "user": user, "password": master_password, "dbname": DATABASE}
    with psycopg.connect(**parameters, autocommit=True) as connection:
        warehouse_roles.prepare(connection, warehouse_roles.roles(catalogue()), passwords)


def register(api: prefect_api.Api, stack: Mapping[str, Any]) -> RegistrationResult:
    """The work pool and a deployment per job and flow, from their task definitions."""
    wanted = deploy.ecs_deployments(catalogue(), stack["tasks"], pool=POOL)
    wanted, unscheduled = schedules.apply_parameters(wanted, stack.get("parameters", {}), "FINELT_STACK", catalogue())
    for sentence in unscheduled:
        click.echo(sentence, err=True)
    done = deploy.register_deployments(api, wanted, kind=KIND, pool=POOL, defaults=stack["pool"])
    for line in done.lines():
        click.echo(line)
    return done


if __name__ == "__main__":
    main(os.environ)
