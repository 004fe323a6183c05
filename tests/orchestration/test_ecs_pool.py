"""The ECS pool: the registered deployments, and the tasks that Prefect's own worker starts for them."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import boto3
import psycopg
import pytest
from click.testing import CliRunner
from jobkit.errors import MisconfiguredError
from moto import mock_aws
from prefect.client.schemas.objects import FlowRun
from prefect.context import use_profile
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, Profile
from prefect.utilities.templating import apply_values
from prefect_aws.workers.ecs_worker import ECSJobConfiguration
from psycopg import sql

from jobs.catalogue import REPOSITORY, catalogue
from orchestration import warehouse_roles
from orchestration.deployments import register
from orchestration.ecs import register_stack
from orchestration.local import postgres
from orchestration.local import prefect_server as server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobkit.prefect_api import Api

    from orchestration.local.postgres import Postgres

SPECS = catalogue()
CANARY = "canary-7f3a"
SERVER = "http://prefect.dev.finelt.internal:4200/api"
ARN = "arn:aws:ecs:eu-central-1:123456789012:task-definition/finelt-dev-{}:7"
DEFINITIONS = {name: ARN.format(name) for name in (*(spec.name for spec in SPECS), "flows")}
PLACE = {"cluster": "finelt-dev", "subnets": ["subnet-1"], "security_groups": ["sg-1"], "capacity_provider": "FARGATE_SPOT"}
PARAMETERS: dict[str, Any] = {
    "lake": "s3://lake/lake",
    "docs": "s3://lake/docs",
    "site": "s3://site/site",
    "warehouse": "postgresql://{job}@warehouse/finelt",
    "warehouse_password": "secretsmanager://finelt-dev/{job}/warehouse_password",
    "extract-tiingo-prices": {"token": "secretsmanager://finelt-dev/extract-tiingo-prices/token"},
    "extract-massive-daily-prices": {"token": "secretsmanager://finelt-dev/extract-massive-daily-prices/token"},
}
STACK = {"tasks": DEFINITIONS, "pool": PLACE, "parameters": PARAMETERS}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    prefect = server.start_server(tmp_path_factory.mktemp("stack"))
    prefect.wait_until_ready()
    yield prefect.api()
    server.stop_server(prefect)


def test_each_job_and_flow_gets_a_deployment_with_its_task_definition(api: Api) -> None:
    first, second = register_stack.register_stack(api, STACK), register_stack.register_stack(api, STACK)
    names = {f"{spec.name}/{spec.name}-ecs" for spec in SPECS} | {f"{flow}/{flow}-ecs" for flow in register.FLOWS} | {"ecs"}
    assert set(first.created) == names
    assert set(second.unchanged) == names
    job = api.call("GET", "/deployments/name/extract-tiingo-prices/extract-tiingo-prices-ecs")
    assert job["job_variables"] == {"task_definition_arn": ARN.format("extract-tiingo-prices")}
    assert job["parameters"]["token"] == "secretsmanager://finelt-dev/extract-tiingo-prices/token"
    assert job["parameter_openapi_schema"]["additionalProperties"] is False
    loads = api.call("GET", "/deployments/name/load-warehouse/load-warehouse-ecs")
    assert loads["parameters"]["warehouse"] == "postgresql://load-warehouse@warehouse/finelt"
    assert loads["parameters"]["warehouse_password"] == "secretsmanager://finelt-dev/load-warehouse/warehouse_password"
    flow = api.call("GET", "/deployments/name/daily/daily-ecs")
    assert flow["parameters"]["warehouse"] == "postgresql://{job}@warehouse/finelt"  # which it says to each job in the job's own name
    assert flow["job_variables"]["task_definition_arn"] == ARN.format("flows")
    assert {schedule["slug"] for schedule in flow["schedules"]} >= {"extract-ecb-fx-rates", "extract-treasury-yields"}


def test_a_job_without_a_task_definition_is_an_error() -> None:
    with pytest.raises(MisconfiguredError, match="no task definition for flows; run pulumi up"):
        register.ecs_deployments(SPECS, {name: arn for name, arn in DEFINITIONS.items() if name != "flows"}, pool="ecs")
    told = CliRunner().invoke(register.main, ["--pool", "ecs", "--api-url", "http://127.0.0.1:9/api"])
    assert told.exit_code != 0
    assert "--tasks" in told.output or "no Prefect server answers" in told.output


def request(variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the request that the worker would send to ECS, with the profile of infra/ and a password in its settings."""
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(REPOSITORY / "orchestration" / "workers" / "profiles.toml"))
    template = register.read_pool_template("ecs", PLACE)
    defaults = {name: told["default"] for name, told in template["variables"]["properties"].items() if "default" in told}
    configuration = ECSJobConfiguration(**apply_values(template["job_configuration"], {**defaults, **variables}))
    profile = Profile(name="worker", settings={PREFECT_API_URL: SERVER, PREFECT_API_AUTH_STRING: f"finelt:{CANARY}"})
    with use_profile(profile, include_current_context=False):
        configuration.prepare_for_flow_run(FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4(), name="extract"))
    return {"request": configuration.task_run_request, "env": configuration.env, "command": configuration.command}


def test_a_task_runs_in_the_stacks_network_and_no_password_is_in_its_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request({"task_definition_arn": ARN.format("load-warehouse")}, monkeypatch)
    run = asked["request"]
    assert run["taskDefinition"] == ARN.format("load-warehouse")
    assert run["cluster"] == "finelt-dev"
    assert run["capacityProviderStrategy"] == [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    placed = {"subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"}
    assert run["networkConfiguration"] == {"awsvpcConfiguration": placed}
    assert asked["command"] == "run"
    assert asked["env"]["PREFECT_API_URL"] == SERVER
    assert asked["env"]["PREFECT__FLOW_RUN_ID"]
    assert CANARY not in json.dumps({**run, "env": asked["env"]}, default=str)
    assert not [name for name in asked["env"] if name.startswith("PREFECT_SERVER_")]


@mock_aws
def test_a_password_is_generated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "x")
    client = boto3.client("secretsmanager", region_name="eu-central-1")
    secret = client.create_secret(Name="finelt-dev/load-warehouse/warehouse_password")["ARN"]
    password = register_stack.read_or_create_password(client, secret)
    assert len(password) > 30
    assert register_stack.read_or_create_password(client, secret) == password


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Postgres]:
    """A server of its own, because roles belong to a server, not to a database."""
    with postgres.run_server(tmp_path / "postgres") as server:
        yield server
    postgres.remove(tmp_path / "postgres")


def test_each_job_gets_a_role_with_its_own_grants_only(own_server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """The master user is not a superuser: on RDS it can create roles and owns the database."""
    monkeypatch.setattr(register_stack, "DATABASE", "cloud")
    with psycopg.connect(own_server.url, password=own_server.password, autocommit=True) as admin:
        for role in warehouse_roles.list_roles(catalogue()):  # the embedded server has them; RDS has not
            admin.execute(sql.SQL("drop owned by {}").format(sql.Identifier(role.name)))
            admin.execute(sql.SQL("drop role {}").format(sql.Identifier(role.name)))
        admin.execute("create role master login createrole password 'm4ster'")
        admin.execute("create database cloud owner master")
        host, port = admin.info.host, admin.info.port

    def job(name: str, statements: str, password: str) -> None:
        with psycopg.connect(host=host, port=port, user=name, dbname="cloud", password=password) as connection:
            connection.execute(statements.encode())

    jobs = ("load-warehouse", "transform-warehouse", "publish-marts")
    for word in ("first", "second"):  # again: the new password is the one that counts
        register_stack.create_roles(
            {"host": host, "port": port, "user": "master", "password": "m4ster"}, {name: f"{name} {word}" for name in jobs}
        )
        load, transform, publish = (f"{name} {word}" for name in jobs)
        job("load-warehouse", f"create table raw.{word} as select 1 as a", load)
        job("transform-warehouse", f"create table marts.{word} as select a from raw.{word}", transform)
        job("publish-marts", f"create temporary table mine as select a from marts.{word} join raw.{word} using (a)", publish)
        for name, password, statement in (
            ("transform-warehouse", transform, f"delete from raw.{word}"),
            ("transform-warehouse", transform, "create schema other"),
            ("publish-marts", publish, f"delete from marts.{word}"),
            ("publish-marts", publish, "create schema other"),
            ("load-warehouse", load, f"select from marts.{word}"),
            ("load-warehouse", load, "create role other"),
            ("load-warehouse", load, "copy (select 1) to program 'true'"),
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                job(name, statement, password)
    job("publish-marts", "select from raw.first", publish)
    with pytest.raises(psycopg.OperationalError):
        job("publish-marts", "select 1", "publish-marts first")
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in|password authentication failed"):
        job("reader", "select 1", "reader")
