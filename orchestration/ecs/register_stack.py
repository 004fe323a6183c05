"""Prepare a stack in AWS after each deployment: create the warehouse's roles, the work pool and the deployments.

It runs as a task inside the network. infra/ describes the stack in a JSON object in S3, whose URL is in FINELT_STACK:

    tasks        task definitions by job, and `flows`
    pool         defaults of the work pool's variables: cluster, subnets, security groups, capacity provider
    parameters   values for options, as in the file of scripts/deploy: at the top for all, below a job's name for one
    warehouse    host of the warehouse, and by job the ARN of the secret with the password of its role

Running it again changes only what differs.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import replace
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
    """Prepare the stack that the environment describes."""
    stack = read_description(environ["FINELT_STACK"])
    if database := stack.get("warehouse"):
        client = boto3.client("secretsmanager")
        passwords = {job: read_or_create_password(client, secret) for job, secret in database["secrets"].items()}
        user, master_password = environ["FINELT_MASTER_USER"], environ["FINELT_MASTER_PASSWORD"]
        create_roles(database["host"], user, master_password, passwords, port=database.get("port", 5432))
    register_stack(prefect_api.api(environ), stack)


def read_description(url: str) -> dict[str, Any]:
    """Return the description of the stack from its object s3://bucket/key."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    description: dict[str, Any] = json.load(boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"])
    return description


def read_or_create_password(client: Any, secret: str) -> str:  # noqa: ANN401  boto3 has no types
    """Return the password of a job's role, generated here if the secret is empty, so that it never exists outside the network."""
    try:
        return str(client.get_secret_value(SecretId=secret)["SecretString"])
    except client.exceptions.ResourceNotFoundException:
        password = secrets.token_urlsafe(32)
        client.put_secret_value(SecretId=secret, SecretString=password)
        return password


def create_roles(host: str, user: str, master_password: str, passwords: Mapping[str, str], *, port: int = 5432) -> None:
    """Create a role for each job, named after it, the group `reader` and its member `analyst`, as warehouse_roles.py says."""
    parameters: dict[str, Any] = {"host": host, "port": port, "user": user, "password": master_password, "dbname": DATABASE}
    with psycopg.connect(**parameters, autocommit=True) as connection:
        warehouse_roles.prepare(connection, warehouse_roles.list_roles(catalogue()), passwords)
        warehouse_roles.create_analyst(connection)


def register_stack(api: prefect_api.Api, stack: Mapping[str, Any]) -> RegistrationResult:
    """Register the work pool and a deployment for each job and flow, from their task definitions; delete those of removed jobs."""
    deployments = deploy.ecs_deployments(catalogue(), stack["tasks"], pool=POOL)
    deployments, messages = schedules.apply_parameters(deployments, stack.get("parameters", {}), "FINELT_STACK", catalogue())
    for message in messages:
        click.echo(message, err=True)
    result = deploy.register_deployments(api, deployments, kind=KIND, pool=POOL, defaults=stack["pool"])
    result = replace(result, deleted=deploy.delete_removed_deployments(api, deployments, pool=POOL))
    for line in result.lines():
        click.echo(line)
    return result


if __name__ == "__main__":
    main(os.environ)
