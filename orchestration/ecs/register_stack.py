"""Prepare a stack in AWS after each deployment: create the warehouse's roles, the work pool and the deployments.

It runs as a task inside the network. infra/ describes the stack in a JSON object in S3, whose URL is in FINELT_STACK:

    tasks        task definitions by job, and `flows`
    pool         defaults of the work pool's variables: cluster, subnets, security groups, capacity provider
    parameters   values for options, as in the file of scripts/deploy: at the top for all, below a job's name for one
    warehouse    host of the warehouse, and by job the ARN of the secret with the password of its role

FINELT_REVISION is the deployed commit. FINELT_NOTIFICATIONS is the secret with the URL that is notified of failed runs; it may be empty.
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
from orchestration.deployments.notifications import register_notifications
from orchestration.ecs.master_user import read_access

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
        create_roles(read_access(environ, host=database["host"], port=database.get("port", 5432)), passwords)
    api = prefect_api.api(environ)
    images = read_images(boto3.client("ecs"), stack["tasks"])
    register_stack(api, stack, images=images, revision=environ["FINELT_REVISION"])
    if url := read_secret(boto3.client("secretsmanager"), environ["FINELT_NOTIFICATIONS"]):
        for name in register_notifications(api, url):
            click.echo(f"{'notifies':10}{name}")
    else:
        click.echo(f"nobody is notified of failed runs: {environ['FINELT_NOTIFICATIONS']} has no value", err=True)


def read_images(client: Any, task_definitions: Mapping[str, str]) -> dict[str, str]:  # noqa: ANN401  boto3 has no types
    """Return the images of the tasks, by digest."""
    definitions = {name: client.describe_task_definition(taskDefinition=arn)["taskDefinition"] for name, arn in task_definitions.items()}
    return {name: str(definition["containerDefinitions"][-1]["image"]) for name, definition in definitions.items()}


def read_description(url: str) -> dict[str, Any]:
    """Return the description of the stack from its object s3://bucket/key."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    description: dict[str, Any] = json.load(boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"])
    return description


def read_secret(client: Any, secret: str) -> str | None:  # noqa: ANN401  boto3 has no types
    """Return the value of a secret, None if it has none yet."""
    try:
        return str(client.get_secret_value(SecretId=secret)["SecretString"])
    except client.exceptions.ResourceNotFoundException:
        return None


def read_or_create_password(client: Any, secret: str) -> str:  # noqa: ANN401  boto3 has no types
    """Return the password of a job's role, generated here if the secret is empty, so that it never exists outside the network."""
    if (password := read_secret(client, secret)) is None:
        password = secrets.token_urlsafe(32)
        client.put_secret_value(SecretId=secret, SecretString=password)
    return password


def create_roles(access: Mapping[str, Any], passwords: Mapping[str, str]) -> None:
    """Create a role for each job, named after it, the group `reader` and its member `analyst`, with the grants of warehouse_roles.py.

    `access` are libpq's parameters for a connection as the master user.
    """
    with psycopg.connect(**access, dbname=DATABASE, autocommit=True) as connection:
        warehouse_roles.prepare(connection, warehouse_roles.list_roles(catalogue()), passwords)
        warehouse_roles.create_analyst(connection)


def register_stack(
    api: prefect_api.Api, stack: Mapping[str, Any], *, images: Mapping[str, str] | None = None, revision: str | None = None
) -> RegistrationResult:
    """Register the work pool and a deployment for each job and flow, from their task definitions; delete those of removed jobs.

    `images`, by job, and the revision of the repository become part of each deployment's version.
    """
    deployments = deploy.ecs_deployments(catalogue(), stack["tasks"], pool=POOL, images=images, revision=revision)
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
