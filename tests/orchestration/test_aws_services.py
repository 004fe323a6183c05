"""The services of the AWS stack as they are configured: each container's own command, environment and health check, as processes.

Postgres and Redis take TLS connections only, with certificates of a CA of the test. Only addresses, ports and paths differ from AWS.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
import psycopg
import pytest
from jobkit.prefect_api import Api, UnreachableError, api
from moto.server import ThreadedMotoServer

from infra.database import CA_FILE
from infra.testing.mock_engine import ACCOUNT, REGION, Graph, graph
from jobs.catalogue import REPOSITORY, catalogue
from orchestration.deployments import notifications
from orchestration.ecs import prepare_prefect
from orchestration.local import processes
from orchestration.polling import wait_until
from orchestration.runtime.freshness import build_late_event
from tests.infra.graph_reader import REPLICAS, TASK, containers_of, stack_description
from tests.orchestration import fargate, system_servers
from verification import http_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestration.local.processes import Program
    from tests.orchestration.system_servers import Certificates, Server

AUTH = "finelt:secret-of-the-api"
EARLIER_VERSION = Path(__file__).with_name("prefect_3_8_8.sql")
TIMEOUT_S = 600  # only ends a test that hangs
CHECK_EVERY_S = 1.0  # each health check is a process, which takes time from the service that it waits for
ADDRESS = ".example.internal"
PATHS = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "jobs" / "jobkit")])


@dataclass
class Stack:
    """One stack of infra/, and what stands for the network and the services of AWS around its containers."""

    graph: Graph
    directory: Path
    postgres: Server
    database: str
    ca: Path
    aws: Mapping[str, str]
    redis_port: int = 0
    port: int = field(default_factory=system_servers.free_port)

    def container(self, task: str, name: str = "job") -> dict[str, Any]:
        """Return the definition of a container."""
        (found,) = (made for made in containers_of(self.graph.the(TASK, f"-{task}")) if made["name"] == name)
        return found

    def environment(self, container: Mapping[str, Any], **changes: str) -> dict[str, str]:
        """Return the container's environment with the addresses of this machine."""
        given = {entry["name"]: entry["value"] for entry in container["environment"]}
        given |= {entry["name"]: self.secret(entry["valueFrom"]) for entry in container["secrets"]}
        local = {"PREFECT_SERVER_DATABASE_HOST": system_servers.HOST, "PREFECT_SERVER_DATABASE_PORT": str(self.postgres.port)}
        local |= {"PREFECT_SERVER_DATABASE_NAME": self.database, "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(self.directory / "ui")}
        local |= {"PREFECT_API_URL": f"http://{system_servers.HOST}:{self.port}/api"}
        given |= {name: value for name, value in local.items() if name in given}
        for name, value in given.items():
            if value.startswith("rediss://"):
                given[name] = f"rediss://{system_servers.HOST}:{self.redis_port}/0"
            else:
                given[name] = str(self.ca) if value == CA_FILE else value.replace("/app/source", str(REPOSITORY))
        assert not [value for value in given.values() if ADDRESS in value], "an address of AWS is left"
        return {"HOME": str(self.directory), "PYTHONPATH": PATHS, **given, **self.aws, **changes}

    def secret(self, reference: str) -> str:
        """Return the secret that a task definition refers to."""
        if ":secret:rds!" in reference:
            return "keeper" if reference.endswith(":username::") else self.postgres.password
        assert ":secret:finelt-dev/prefect/auth" in reference
        return AUTH

    def local(self, words: list[str], port: int) -> list[str]:
        """Return a command of a container for this machine."""
        python = [sys.executable if word == "python" else word for word in words if word != "CMD"]
        ports = {"4200": str(port), ":1538": f":{self.postgres.port:04X}"}
        for old, new in ports.items():
            python = [word.replace(old, new) for word in python]
        return python

    def run(self, task: str, name: str = "job", **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a container that ends, and return how it ended."""
        container = self.container(task, name)
        environ = {"PATH": os.environ["PATH"], **self.environment(container, **changes)}
        command = self.local(container["command"], self.port)
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, cwd=self.directory)

    @contextmanager
    def start(self, task: str, port: int | None = None, label: str = "", **changes: str) -> Iterator[Program]:
        """Run the container of a service."""
        container = self.container(task)
        command = self.local(container["command"], port or self.port)
        program = processes.start_program(f"{task}{label}", command, self.directory, self.environment(container, **changes))
        try:
            yield program
        finally:
            processes.stop_program(program)

    def is_healthy(self, task: str, port: int | None = None) -> bool:
        """Run the health check of a service."""
        command = self.local(self.container(task)["healthCheck"]["command"], port or self.port)
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def wait(self, program: Program, task: str, port: int | None = None, *, healthy: bool = True) -> None:
        """Wait until the health check passes or fails."""

        def reached() -> bool:
            program.raise_if_ended()
            return self.is_healthy(task, port) is healthy

        assert wait_until(reached, timeout_s=TIMEOUT_S, poll_every_s=CHECK_EVERY_S), program.log_tail()

    def api(self, port: int | None = None) -> Api:
        """Return a client of a server."""
        return api({"PREFECT_API_URL": f"http://{system_servers.HOST}:{port or self.port}/api", "PREFECT_API_AUTH_STRING": AUTH})

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query on Prefect's database."""
        with self.postgres.connect(self.database) as admin:
            return admin.execute(query.encode()).fetchall()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return system_servers.make_certificates(tmp_path_factory.mktemp("certificates") / "own")


@pytest.fixture(scope="module")
def strange_ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA that signed no certificate of a server."""
    return system_servers.make_certificates(tmp_path_factory.mktemp("certificates") / "strange").ca


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[Server]:
    with system_servers.run_postgres(certificates) as running:
        yield running


@pytest.fixture(scope="module")
def aws() -> Iterator[dict[str, str]]:
    """An account with the stack's description and empty secrets, as Pulumi creates them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTO_ACCOUNT_ID", ACCOUNT)
        moto = ThreadedMotoServer(system_servers.HOST, 0, verbose=False)
        moto.start()
        host, port = moto.get_host_and_port()
        fargate.forget(f"http://{host}:{port}")
        yield {
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }
        moto.stop()


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory, server: Server, aws: dict[str, str], certificates: Certificates) -> Iterator[Stack]:
    """The stack `dev` after an upgrade: the master user created its database, with Prefect 3.8.8."""
    stack = Stack(graph(), tmp_path_factory.mktemp("dev"), server, "dev", certificates.ca, aws)
    server.create_database("dev")
    server.run("psql", "--set=ON_ERROR_STOP=1", "--quiet", f"--file={EARLIER_VERSION}", "user=keeper dbname=dev")
    done = stack.run("prefect", "prepare")
    assert done.returncode == 0, done.stdout + done.stderr
    with stack.start("prefect") as program:
        stack.wait(program, "prefect")
        yield stack


def test_an_upgrade_migrates_the_database_of_the_earlier_version_and_keeps_its_rows(dev: Stack) -> None:
    assert [run["name"] for run in dev.api().call("POST", "/flow_runs/filter", {"sort": "NAME_ASC"})] == ["done", "kept"]
    before = EARLIER_VERSION.read_text().partition("COPY public.alembic_version")[2].splitlines()[1]
    assert dev.rows("select version_num from alembic_version") != [(before,)]


def test_the_server_logs_in_as_a_role_without_a_password_that_owns_its_tables_and_nothing_else(dev: Stack) -> None:
    assert {user for (user,) in dev.rows("select distinct usename from pg_stat_activity where datname = 'dev'")} == {"prefect", "admin"}
    flags = "rolsuper or rolcreaterole or rolcreatedb or rolbypassrls, rolpassword is null"
    assert dev.rows(f"select {flags} from pg_authid where rolname = 'prefect'") == [(False, True)]
    assert dev.rows("select distinct relowner::regrole::text from pg_class where relnamespace = 'public'::regnamespace") == [("prefect",)]
    granted = "select roleid::regrole::text from pg_auth_members where member = 'prefect'::regrole"
    assert dev.rows(granted) == [("rds_iam",)]


def test_the_server_outlives_a_rotation_of_the_master_password(dev: Stack) -> None:
    """Its own login needs no password. The next start reads the new one."""
    before = dev.postgres.password
    try:
        with dev.postgres.connect("postgres") as admin:
            admin.execute("alter role keeper password 'rotated'")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            dev.postgres.connect("dev", "keeper")
        dev.postgres.end_sessions()
        assert wait_until(lambda: dev.is_healthy("prefect"), timeout_s=TIMEOUT_S, poll_every_s=CHECK_EVERY_S)
        assert dev.api().call("POST", "/flows/filter", {})
    finally:
        with dev.postgres.connect("postgres") as admin:
            admin.execute(f"alter role keeper password '{before}'")


def test_the_health_check_fails_as_long_as_the_database_refuses_the_server(dev: Stack) -> None:
    dev.postgres.allow_tokens(allow=False)
    try:
        assert wait_until(lambda: not dev.is_healthy("prefect"), timeout_s=TIMEOUT_S, poll_every_s=CHECK_EVERY_S)
    finally:
        dev.postgres.allow_tokens(allow=True)
    assert wait_until(lambda: dev.is_healthy("prefect"), timeout_s=TIMEOUT_S, poll_every_s=CHECK_EVERY_S)


def test_preparing_again_changes_nothing_and_a_database_of_a_newer_version_stays_as_it_is(dev: Stack) -> None:
    """After a rollback the previous version finds a revision that it does not know."""
    (revision,) = dev.rows("select version_num from alembic_version")
    assert dev.run("prefect", "prepare").returncode == 0
    with dev.postgres.connect("dev") as admin:
        admin.execute("update alembic_version set version_num = 'ffffffffffff'")
    done = dev.run("prefect", "prepare")
    with dev.postgres.connect("dev") as admin:
        admin.execute("update alembic_version set version_num = %s", revision)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a newer version of Prefect has migrated this database" in done.stdout


def test_a_failed_migration_stops_the_start(dev: Stack, strange_ca: Path) -> None:
    """Here because the database has a certificate of another CA, which neither the preparation nor Prefect accepts."""
    done = dev.run("prefect", "prepare", SSL_CERT_FILE=str(strange_ca))
    assert done.returncode != 0
    assert "certificate verify failed" in done.stderr
    server = {"PATH": os.environ["PATH"], **dev.environment(dev.container("prefect"), SSL_CERT_FILE=str(strange_ca))}
    migrated = subprocess.run(prepare_prefect.MIGRATE, env=server, capture_output=True, text=True, check=False)
    assert migrated.returncode != 0
    assert "CERTIFICATE_VERIFY_FAILED" in migrated.stdout + migrated.stderr


def test_the_token_is_for_the_role_and_the_database_of_the_server(dev: Stack) -> None:
    """Read from Prefect's own plugin with the environment of the server; Postgres here accepts any token."""
    code = (
        "from prefect_aws.plugins import set_database_connection_params as plugin;"
        "print(plugin('postgresql+asyncpg://prefect@db.example:5432/prefect', None)['password']())"
    )
    environ = dev.environment(dev.container("prefect"))
    token = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True).stdout
    assert token.startswith("db.example:5432/?Action=connect&DBUser=prefect&")
    assert f"%2F{REGION}%2Frds-db%2Faws4_request" in token


@pytest.fixture(scope="module")
def notified() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook: its URL in the form of Apprise, and what it was sent."""
    sent: list[dict[str, Any]] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    with http_server.serve(Webhook) as url:
        yield f"{url.replace('http:', 'json:')}/", sent


@pytest.fixture(scope="module")
def registered(dev: Stack, notified: tuple[str, list[dict[str, Any]]]) -> Stack:
    """The stack after its registration task."""
    client = _client(dev, "s3")
    description = stack_description(dev.graph)
    description["warehouse"] |= {"host": system_servers.HOST, "port": dev.postgres.port}
    url = dev.environment(dev.container("register"))["FINELT_STACK"]
    bucket, _, key = url.removeprefix("s3://").partition("/")
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    for job, arn in description["warehouse"]["secrets"].items():
        name = arn.partition(":secret:")[2].rpartition("-")[0]
        made = _client(dev, "secretsmanager").create_secret(Name=name)
        description["warehouse"]["secrets"][job] = made["ARN"]
    client.put_object(Bucket=bucket, Key=key, Body=json.dumps(description).encode())
    _client(dev, "secretsmanager").create_secret(Name="finelt-dev/prefect/notifications", SecretString=notified[0])
    for task in dev.graph.of(TASK):
        containers = [{"name": "job", "image": containers_of(task)[-1]["image"], "memory": 512}]
        _client(dev, "ecs").register_task_definition(family=task.inputs["family"], containerDefinitions=containers)
    dev.postgres.create_database("finelt")
    done = dev.run("register")
    assert done.returncode == 0, done.stdout + done.stderr
    return dev


def _client(stack: Stack, service: str) -> Any:
    return boto3.client(
        service, endpoint_url=stack.aws["AWS_ENDPOINT_URL"], region_name=REGION, aws_access_key_id=ACCOUNT, aws_secret_access_key="x"
    )


def test_the_registration_creates_the_pool_and_a_deployment_for_every_job(registered: Stack) -> None:
    flows = {entry["id"]: entry["name"] for entry in registered.api().call("POST", "/flows/filter", {})}
    names = {flows[entry["flow_id"]] for entry in registered.api().call("POST", "/deployments/filter", {})}
    assert names >= {spec.name for spec in catalogue()} | {"daily", "backfill"}


def test_a_deployment_has_the_digest_of_its_image_and_the_revision_as_its_version(registered: Stack) -> None:
    """Each run keeps the version that it ran."""
    deployment = registered.api().call("GET", "/deployments/name/extract-ecb-fx-rates/extract-ecb-fx-rates-ecs")
    assert re.fullmatch(r"\d+\.\d+\.\d+ sha256:[0-9a-f]{12} git:[0-9a-f]{12}", deployment["version"])
    run = registered.api().call(
        "POST", f"/deployments/{deployment['id']}/create_flow_run", {"parameters": {"start": "2012-01-02", "end": "2012-01-02"}}
    )
    assert run["deployment_version"] == deployment["version"]


def test_a_flow_that_fails_crashes_or_is_late_is_notified_and_a_job_that_it_started_is_not(
    registered: Stack, notified: tuple[str, list[dict[str, Any]]]
) -> None:
    """No worker takes the runs, so the one that is due stays late."""
    client = registered.api()

    def start(deployment: str, name: str, *states: str) -> None:
        found = client.call("GET", f"/deployments/name/{deployment}")["id"]
        body = {"name": name, "enforce_parameter_schema": False, "state": {"type": "PENDING" if states else "SCHEDULED"}}
        run = client.call("POST", f"/deployments/{found}/create_flow_run", body)["id"]
        for state in states:
            client.call("POST", f"/flow_runs/{run}/set_state", {"state": {"type": state, "message": f"{name} ended"}, "force": True})

    start("extract-ecb-fx-rates/extract-ecb-fx-rates-ecs", "child", "RUNNING", "FAILED")
    start("daily/daily-ecs", "flow-1", "RUNNING", "FAILED")
    start("daily/daily-ecs", "flow-2", "RUNNING", "CRASHED")
    start("backfill/backfill-ecs", "flow-3")
    expected = {"flow-1 failed", "flow-2 crashed", "flow-3 has not started in time"}
    assert wait_until(lambda: {message["title"] for message in notified[1]} >= expected, timeout_s=TIMEOUT_S), notified[1]
    assert {message["title"] for message in notified[1]} == expected
    assert any("daily: flow-1 ended" in message["message"] for message in notified[1])


def test_data_that_are_late_are_notified(registered: Stack, notified: tuple[str, list[dict[str, Any]]]) -> None:
    late = [{"dataset": "ecb_fx_rates", "last_date": "2013-02-28", "latency_days": 5, "days_late": 3}]
    registered.api().call("POST", "/events", [build_late_event(late, str(uuid4()))])
    title = "1 dataset is late"
    assert wait_until(lambda: title in {message["title"] for message in notified[1]}, timeout_s=TIMEOUT_S), notified[1]
    (message,) = [message["message"] for message in notified[1] if message["title"] == title]
    assert message == "ecb_fx_rates by 3 days (last day 2013-02-28)"


def test_an_automation_that_somebody_switched_off_stays_off(registered: Stack, notified: tuple[str, list[dict[str, Any]]]) -> None:
    client = registered.api()
    first, *_ = client.call("POST", "/automations/filter", {})
    client.call("PATCH", f"/automations/{first['id']}", {"enabled": False})
    notifications.register_notifications(client, notified[0])
    after = {entry["id"]: entry["enabled"] for entry in client.call("POST", "/automations/filter", {})}
    assert after == {**after, first["id"]: False}
    assert len(after) == len(notifications.STATES) + 1  # and late data
    client.call("PATCH", f"/automations/{first['id']}", {"enabled": True})


def test_the_registration_accepts_the_certificate_of_the_warehouse_by_its_ca_only(registered: Stack, strange_ca: Path) -> None:
    done = registered.run("register", SSL_CERT_FILE=str(strange_ca))
    assert done.returncode != 0
    assert "certificate verify failed" in done.stderr


@pytest.mark.parametrize("job", [spec.name for spec in catalogue() if "warehouse_password" in spec.secrets])
def test_a_job_accepts_the_certificate_of_the_warehouse_by_its_ca_only(registered: Stack, strange_ca: Path, job: str) -> None:
    """With the URL that every job gets, and the password that the registration generated."""
    url = str(stack_description(registered.graph)["parameters"]["warehouse"]).replace("{job}", job)
    assert "sslmode=verify-full" in url
    host, _, _ = url.partition("@")[2].partition(":")
    local = url.replace(f"{host}:5432", f"{system_servers.HOST}:{registered.postgres.port}")
    secret = _client(registered, "secretsmanager").get_secret_value(SecretId=f"finelt-dev/{job}/warehouse_password")["SecretString"]
    results = {}
    for ca in (registered.ca, strange_ca):
        options = ["--warehouse", local.replace(CA_FILE, str(ca)), "--warehouse-password", "env://WAREHOUSE_PASSWORD"]
        options += [word for name in ("lake", "docs", "site") if name in _options(job) for word in (f"--{name}", str(registered.directory))]
        environ = {"PATH": os.environ["PATH"], "HOME": str(registered.directory), "WAREHOUSE_PASSWORD": secret}
        done = subprocess.run(
            [sys.executable, "-m", job.replace("-", "_"), "check", *options], env=environ, capture_output=True, text=True, check=False
        )
        results[ca] = done.stdout + done.stderr
    assert "certificate verify failed" not in results[registered.ca]
    assert "certificate verify failed" in results[strange_ca]


def _options(job: str) -> set[str]:
    described = subprocess.run([sys.executable, "-m", job.replace("-", "_"), "describe"], capture_output=True, text=True, check=True)
    return set(json.loads(described.stdout)["options"]["properties"])


def test_the_worker_becomes_healthy_and_takes_runs(registered: Stack) -> None:
    """test_ecs_worker.py has what becomes of them."""
    _client(registered, "sqs").create_queue(QueueName="finelt-dev-task-events")
    health = system_servers.free_port()
    deployment = registered.api().call("GET", "/deployments/name/extract-ecb-fx-rates/extract-ecb-fx-rates-ecs")
    options = {"parameters": {"start": "2012-01-02", "end": "2012-01-02"}}
    run = registered.api().call("POST", f"/deployments/{deployment['id']}/create_flow_run", options)["id"]
    with registered.start("worker", PREFECT_WORKER_WEBSERVER_PORT=str(health)) as worker:
        check = registered.container("worker")["healthCheck"]["command"][-1].replace("8080", str(health))

        def is_ready() -> bool:
            worker.raise_if_ended()
            healthy = subprocess.run([sys.executable, "-c", check], check=False, capture_output=True).returncode == 0
            with suppress(UnreachableError):  # an overloaded server answers 500
                return healthy and registered.api().call("GET", f"/flow_runs/{run}")["state"]["type"] != "SCHEDULED"
            return False

        assert wait_until(is_ready, timeout_s=TIMEOUT_S, poll_every_s=CHECK_EVERY_S), worker.log_tail()


@pytest.fixture(scope="module")
def replicas(
    tmp_path_factory: pytest.TempPathFactory, server: Server, aws: dict[str, str], certificates: Certificates
) -> Iterator[tuple[Stack, list[int]]]:
    """A stack with two replicas and separate background services, whose three tasks start at the same time on an empty database."""
    directory = tmp_path_factory.mktemp("replicas")
    with ExitStack() as ends:
        redis_port = ends.enter_context(system_servers.run_redis(directory, certificates))
        stack = Stack(graph(choices=REPLICAS), directory, server, "replicas", certificates.ca, aws, redis_port)
        server.create_database("replicas")
        tasks = ["prefect", "prefect", "prefect-services"]
        with ThreadPoolExecutor(len(tasks)) as pool:
            prepared = list(pool.map(lambda task: stack.run(task, "prepare"), tasks))
        assert [done.returncode for done in prepared] == [0, 0, 0], [done.stdout + done.stderr for done in prepared]
        ports = [stack.port, system_servers.free_port()]
        soon = {"PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_CANCELLING_TIMEOUT_SECONDS": "1"}
        webs = [ends.enter_context(stack.start("prefect", port, f"-{number}", **soon)) for number, port in enumerate(ports)]
        services = ends.enter_context(stack.start("prefect-services", **soon))
        for web, port in zip(webs, ports, strict=True):
            stack.wait(web, "prefect", port)
        stack.wait(services, "prefect-services")
        yield stack, ports


def test_background_services_schedule_the_runs_of_a_deployment(replicas: tuple[Stack, list[int]]) -> None:
    stack, (first, second) = replicas
    flow = stack.api(first).call("POST", "/flows/", {"name": "scheduled"})["id"]
    schedule = {"slug": "s", "active": True, "schedule": {"cron": "0 0 1 1 *", "timezone": "UTC"}}
    stack.api(first).call("POST", "/deployments/", {"name": "d", "flow_id": flow, "schedules": [schedule]})
    scheduled = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    assert wait_until(
        lambda: bool(stack.api(second).call("POST", "/flow_runs/filter", scheduled)), timeout_s=TIMEOUT_S, poll_every_s=CHECK_EVERY_S
    )


def test_an_event_that_one_replica_takes_is_stored_by_the_services_and_shown_by_the_other(replicas: tuple[Stack, list[int]]) -> None:
    """It goes through Redis: no web replica runs the service that stores events."""
    stack, (first, second) = replicas
    event = {
        "id": "00000000-0000-4000-8000-00000000000a",
        "event": "finelt.test",
        "occurred": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    stack.api(first).call("POST", "/events", [{**event, "resource": {"prefect.resource.id": "test"}, "related": [], "payload": {}}])
    wanted = {"filter": {"event": {"name": ["finelt.test"]}}}
    assert wait_until(
        lambda: stack.api(second).call("POST", "/events/filter", wanted)["total"] == 1, timeout_s=TIMEOUT_S, poll_every_s=CHECK_EVERY_S
    )


def test_background_services_end_a_run_that_does_not_react_to_its_cancellation(replicas: tuple[Stack, list[int]]) -> None:
    stack, (first, _) = replicas
    client = stack.api(first)
    client.call("POST", "/work_pools/", {"name": "p", "type": "ecs"})
    flow = client.call("POST", "/flows/", {"name": "deaf"})["id"]
    deployment = client.call("POST", "/deployments/", {"name": "deaf", "flow_id": flow, "work_pool_name": "p"})["id"]
    run = client.call("POST", f"/deployments/{deployment}/create_flow_run", {})["id"]
    for state in ("RUNNING", "CANCELLING"):
        client.call("POST", f"/flow_runs/{run}/set_state", {"state": {"type": state}, "force": True})
    assert wait_until(lambda: client.call("GET", f"/flow_runs/{run}")["state"]["type"] == "CANCELLED", timeout_s=TIMEOUT_S)


def test_the_server_accepts_the_certificate_of_redis_by_its_ca_only(replicas: tuple[Stack, list[int]], strange_ca: Path) -> None:
    """For messages (prefect_redis) and for background tasks (docket)."""
    stack, _ = replicas
    code = (
        "import asyncio, json, os, traceback; from docket import Docket; from prefect_redis.client import get_async_redis_client\n"
        "async def messages():\n"
        "    await get_async_redis_client().ping()\n"
        "async def tasks():\n"
        "    async with Docket(name='test', url=os.environ['PREFECT_SERVER_DOCKET_URL']) as docket:\n"
        "        await docket.snapshot()\n"
        "errors = {}\n"
        "for use in (messages, tasks):\n"
        "    try:\n"
        "        asyncio.run(use())\n"
        "    except BaseException:\n"
        "        errors[use.__name__] = traceback.format_exc()\n"
        "print(json.dumps(errors))"
    )
    errors = {}
    for ca in (stack.ca, strange_ca):
        environ = stack.environment(stack.container("prefect"), SSL_CERT_FILE=str(ca))
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
        errors[ca] = json.loads(done.stdout.splitlines()[-1])
    assert errors[stack.ca] == {}
    assert set(errors[strange_ca]) == {"messages", "tasks"}
    assert all("CERTIFICATE_VERIFY_FAILED" in text for text in errors[strange_ca].values())
