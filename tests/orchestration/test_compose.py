"""The stack of docker-compose.yml: the promises of its files, and flows on it from end to end."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import socket
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

import psycopg
import pytest
import yaml
from click.testing import CliRunner
from jobkit import prefect_api

from finelt import warehouse
from images import docker_cli
from orchestration.compose import command, env_file, provision, run_flow
from orchestration.compose import settings as stack_settings
from orchestration.console import follow, reporter
from tests.orchestration.daily_jobs import DAILY, drop_commit_times

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestration.local.postgres import Postgres

REPOSITORY = Path(__file__).parents[2]
FILES = [command.FILE, command.FALLBACK]
START_TIMEOUT_S = 600
JOBS = {spec.name for spec in DAILY}


def services(name: str) -> dict[str, dict[str, Any]]:
    document = yaml.safe_load((REPOSITORY / name).read_text())
    return dict(document["services"])


def test_ports_are_bound_to_loopback() -> None:
    ports = [port for name in FILES for service in services(name).values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:${FINELT_") for port in ports)


def test_pulled_images_are_pinned_by_digest() -> None:
    for service in services(command.FILE).values():
        assert re.fullmatch(r"[\w./-]+:[\w.]+@sha256:[0-9a-f]{64}|\$\{FINELT_\w+_IMAGE\}", service["image"])


def test_compose_files_have_no_password() -> None:
    for name in FILES:
        for service in services(name).values():
            for variable, value in service.get("environment", {}).items():
                if re.search("PASSWORD|SECRET|AUTH|KEY", variable):
                    assert value is None or re.fullmatch(r"\$\{FINELT_\w+(:\?[^}]*)?\}", value), (name, variable)


def test_every_service_has_a_health_check_and_keeps_its_data_in_a_named_volume() -> None:
    document = yaml.safe_load((REPOSITORY / command.FILE).read_text())
    for name, service in document["services"].items():
        assert name == "prepare" or service["healthcheck"]["test"], name
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in document["volumes"] or source == command.SOCKET, (name, volume)


def test_only_the_owner_can_read_the_environment_file_and_git_ignores_it(tmp_path: Path) -> None:
    env_file.write_settings(tmp_path / ".env", {"A": "b=c", "D": ""})
    assert env_file.read_settings(tmp_path / ".env") == {"A": "b=c", "D": ""}
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert env_file.read_settings(tmp_path / "nowhere") == {}
    assert subprocess.run(["git", "check-ignore", "-q", ".env"], cwd=REPOSITORY, check=False).returncode == 0


def test_a_run_without_a_stack_exits_with_78_and_says_how_to_start_one(tmp_path: Path) -> None:
    with reporter.FlowReporter() as flow_reporter:
        assert run_flow.run(tmp_path / ".env", "docker", tmp_path / "run", flow_reporter) == 78
    (tmp_path / ".env").write_text("FINELT_PREFECT_PORT=9\nFINELT_PREFECT_AUTH=a:b\nCOMPOSE_PROJECT_NAME=x\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follow, "SERVER_TIMEOUT_S", 0)
        with reporter.FlowReporter() as flow_reporter:
            assert run_flow.run(tmp_path / ".env", "docker", tmp_path / "run", flow_reporter) == 78


def test_only_commands_that_need_images_build_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    removed: list[str] = []

    def build(*_: object, **__: object) -> Never:
        raise AssertionError("an image was built")

    monkeypatch.setattr(docker_cli, "build_image", build)
    monkeypatch.setattr(command, "find_docker_compose", lambda: ["docker-compose"])
    monkeypatch.setattr(command, "remove_run_containers", removed.append)
    monkeypatch.setattr(command.subprocess, "run", lambda words, **_: calls.append(words))
    monkeypatch.setattr(command.os, "execv", lambda _, words: calls.append(words))
    monkeypatch.setattr(env_file, "ENV_FILE", tmp_path / ".env")
    refused = CliRunner().invoke(command.main, ["down"])
    assert (refused.exit_code, "there is no stack yet" in str(refused.exception)) == (1, True)
    env_file.write_settings(tmp_path / ".env", {"COMPOSE_PROJECT_NAME": "mine", "COMPOSE_FILE": command.FILE})
    for words in (["ps"], ["logs", "--tail", "3"], ["down", "--volumes"]):
        assert CliRunner().invoke(command.main, words).exit_code == 0
    assert [call[-2:] for call in calls] == [
        [str(REPOSITORY / command.FILE), "ps"],
        ["--tail", "3"],
        ["stop", "worker"],
        ["down", "--volumes"],
    ]
    assert removed == ["mine"]
    with pytest.raises(AssertionError, match="an image was built"):
        CliRunner().invoke(command.main, ["up"], catch_exceptions=False)


def test_a_later_build_uses_the_base_image_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINELT_PYTHON_IMAGE", "restored by monkeypatch")
    monkeypatch.delenv("FINELT_PYTHON_IMAGE")
    monkeypatch.setenv("FINELT_BUILD_NETWORK", "mine")
    command.remember_build({"FINELT_PYTHON_IMAGE": "a-base", "FINELT_BUILD_NETWORK": "host"})
    assert (os.environ["FINELT_PYTHON_IMAGE"], os.environ["FINELT_BUILD_NETWORK"]) == ("a-base", "mine")


def test_a_server_that_stays_silent_ends_the_report_and_not_the_flow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(prefect_api.Api):
        """Its clock is moved on by each call, as if the call had waited to its end."""

        def call(self, method: str, path: str, body: object = None, *, within_s: float = 30.0) -> Never:
            clock.append(clock[-1] + within_s)
            raise prefect_api.UnreachableError(f"{method} {path}: timed out {body}")

    clock = [0.0]
    monkeypatch.setattr(follow.time, "monotonic", lambda: clock[-1])
    with reporter.FlowReporter() as flow_reporter, pytest.raises(prefect_api.UnreachableError):
        reporter.follow_to_the_end(
            Silent("http://127.0.0.1:9/api"), "0123456789", "http://127.0.0.1:9/runs/1", tmp_path, flow_reporter, "finelt cancel"
        )
    said = capsys.readouterr().out
    assert clock[-1] > prefect_api.SERVER_OUTAGE_BUDGET_S
    assert said.count("still waiting for Prefect's server") == len(clock) - 2 > 5
    assert "the flow goes on: http://127.0.0.1:9/runs/1; cancel it with finelt cancel 01234567" in said


def test_dates_in_the_wrong_order_are_a_usage_error() -> None:
    result = CliRunner().invoke(run_flow.main, ["--flow", "backfill", "--start", "2012-12-02", "--end", "2012-12-01"])
    assert (result.exit_code, "--start is 2012-12-02, after --end, which is 2012-12-01; swap them" in result.output) == (2, True)


def test_an_unknown_pool_is_a_usage_error() -> None:
    result = CliRunner().invoke(run_flow.main, ["--pool", "kubernetes"])
    assert result.exit_code == 2
    assert "docker" in result.output


@dataclass(frozen=True)
class Stack:
    """A stack with names and ports of its own, next to a person's stack."""

    env_file: Path
    settings: dict[str, str]

    def compose(self, *words: str) -> str:
        done = subprocess.run(command.compose_command(self.env_file, words), capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def container(self, service: str) -> str:
        return self.compose("ps", "--quiet", service).strip()

    def run_containers(self) -> list[dict[str, Any]]:
        wanted = ("--filter", f"network={self.settings['COMPOSE_PROJECT_NAME']}", "--filter", "label=io.prefect.flow-run-id")
        return list(json.loads(docker_cli.docker("inspect", *docker_cli.docker("ps", "--all", "--quiet", *wanted).split())))


def read_health(container: str) -> str:
    return docker_cli.docker("inspect", "--format", "{{.State.Health.Status}}", container)


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return str(listening.getsockname()[1])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    path = tmp_path_factory.mktemp("compose") / "env"
    known = {"COMPOSE_PROJECT_NAME": f"finelt-test-{secrets.token_hex(4)}", **{name: free_port() for name in command.PORTS}}
    values = command.build_settings(known, fallback=True)
    assert command.build_settings(values, fallback=True) == values  # the second time: the same passwords and images
    env_file.write_settings(path, values)
    made = Stack(path, values)
    try:
        made.compose("up", "--detach")
        deadline = time.monotonic() + START_TIMEOUT_S
        worker = made.container("worker")  # once: each call of docker-compose takes most of a second
        while read_health(worker) != "healthy":
            assert time.monotonic() < deadline, made.compose("logs", "--tail", "30")
            time.sleep(0.5)
        yield made
    finally:
        command.remove_run_containers(values["COMPOSE_PROJECT_NAME"])
        made.compose("down", "--volumes", "--timeout", "3")


def read_documented_commands() -> list[str]:
    """Return the commands of docs/operations.md for this stack, in their order."""
    page = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh compose\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def run_documented(line: str, stack: Stack, directory: Path) -> str:
    """Run a command of docs/operations.md in a directory, and return what it printed."""
    program, *words = shlex.split(line)
    assert program == "./scripts/run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(env_file, "ENV_FILE", stack.env_file)
        patch.chdir(directory)
        result = CliRunner().invoke(run_flow.main, words)
    assert result.exit_code == 0, f"{line}\n{result.output[-3000:]}\n{stack.compose('logs', '--tail', '50')}"
    return result.output


@pytest.fixture(scope="module")
def first_run(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the first documented command, the daily flow, and return the directory with its receipts and a copy of the site."""
    directory = tmp_path_factory.mktemp("first")
    run_documented(read_documented_commands()[0], stack, directory)
    return directory / run_flow.DIRECTORIES["docker"]


def read_statuses(directory: Path) -> dict[str, str]:
    receipts = [json.loads(line) for line in (directory / "receipts.jsonl").read_text().splitlines()]
    return {receipt["job"]: receipt["status"] for receipt in receipts}


@pytest.mark.docker
def test_the_flow_on_the_stack_builds_the_marts_of_the_demo_byte_for_byte(stack: Stack, first_run: Path, demo_directory: Path) -> None:
    """Each step runs in its own hardened container, with the job's secrets and none of the server's."""
    assert read_statuses(first_run) == dict.fromkeys(JOBS, "done")
    marts, expected = (
        {path.name: path.read_bytes() for path in place.glob("site/v/*/marts/*") if path.suffix != ".html"}
        for place in (first_run, demo_directory)  # pages contain the time of publication
    )
    assert len(marts) > len(JOBS)
    assert drop_commit_times(marts) == drop_commit_times(expected)
    _check_containers(stack)


def _check_containers(stack: Stack) -> None:
    containers = stack.run_containers()
    images = {container["Config"]["Image"].partition(":")[0] for container in containers}
    assert images == {f"finelt/{name}" for name in ("orchestration", *JOBS)}
    for container in containers:
        host, environ = container["HostConfig"], "\n".join(container["Config"]["Env"])
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert host["Memory"] > 0
        assert "PREFECT_SERVER" not in environ
        for name in ("FINELT_POSTGRES_PASSWORD", "FINELT_WAREHOUSE_PASSWORD", "FINELT_S3_SECRET_KEY"):
            assert stack.settings[name] not in json.dumps(container), name
        flow = "finelt/orchestration" in container["Config"]["Image"]
        assert [mount["Destination"] for mount in container["Mounts"]] == ([] if flow else [stack_settings.SECRETS])


@pytest.mark.docker
def test_a_role_of_the_warehouse_cannot_read_prefects_database(stack: Stack) -> None:
    connecting = "asyncpg.connect(host='postgres', user='reader', database='prefect', password=sys.argv[1])"
    ask = f"import asyncio, asyncpg, sys; asyncio.run({connecting})"
    words = ["exec", "-T", "prefect", "python", "-c", ask, stack.settings["FINELT_WAREHOUSE_PASSWORD"]]
    done = subprocess.run(command.compose_command(stack.env_file, words), capture_output=True, text=True, check=False)
    assert "permission denied for database" in done.stderr


@pytest.mark.docker
def test_a_restart_keeps_data_and_passwords(stack: Stack) -> None:
    env_file.write_settings(stack.env_file, command.build_settings(env_file.read_settings(stack.env_file), fallback=True))
    assert env_file.read_settings(stack.env_file) == stack.settings
    stack.compose("up", "--detach")
    assert read_health(stack.container("worker")) == "healthy"


@pytest.mark.docker
@pytest.mark.usefixtures("first_run")
def test_people_query_the_warehouse_of_the_stack(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env_file, "ENV_FILE", stack.env_file)
    with warehouse.open_warehouse(tmp_path, warehouse.COMPOSE) as login, warehouse.connect(login) as connection:
        assert connection.execute("select current_user, count(*) > 1000 from fct_yield").fetchall() == [("reader", True)]


@pytest.mark.docker
@pytest.mark.usefixtures("first_run")
def test_the_other_commands_of_operations_work_on_the_stack(stack: Stack, tmp_path: Path) -> None:
    """The second fetches a loaded day again, which changes nothing."""
    output = {}
    for line in read_documented_commands()[1:]:
        output[line] = run_documented(line, stack, tmp_path)
        if len(output) == 1:
            statuses = read_statuses(tmp_path / run_flow.DIRECTORIES["docker"])
            assert [statuses[job] for job in ("load-warehouse", "transform-warehouse", "publish-marts")] == ["unchanged"] * 3
    (refetched,) = [text for line, text in output.items() if "--refetch" in line]
    assert re.search(r"extract-\S+ .*unchanged", refetched)
    (plan,) = [text for line, text in output.items() if "--plan-only" in line]
    assert "load-warehouse" not in plan
    assert "tab=Artifacts" in plan
    assert re.search(r"To fetch:\n\n- extract-\S+: [\d,]+ of [\d,]+ partitions in [\d,]+ runs", plan)


def test_a_warehouse_of_an_earlier_version_gets_roles_and_its_owner_can_no_longer_log_in(
    postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """There, one role called finelt owned the database, and every job connected as this role."""
    host, port = postgres_server.host, postgres_server.port
    monkeypatch.setattr(stack_settings, "WAREHOUSE_HOST", host)
    monkeypatch.setattr(env_file, "WAREHOUSE", "compose_old")
    monkeypatch.setattr(stack_settings, "ROLES", str(tmp_path / "roles"))
    monkeypatch.setattr(stack_settings, "JOB_USER", os.getuid())
    monkeypatch.setenv("PGPORT", str(port))
    with psycopg.connect(postgres_server.url, password=postgres_server.password, autocommit=True) as admin:
        admin.execute("create role postgres superuser login password 'mighty'")
        admin.execute("create role compose_old login password 'old'")
        admin.execute("create database compose_old owner compose_old")
        admin.execute("create database prefect")
        try:
            with psycopg.connect(host=host, user="compose_old", password="old", dbname="compose_old", autocommit=True) as owner:
                owner.execute("create schema raw; create table raw.t as select 1 as a")
                owner.execute("create schema marts; create view marts.v as select 2 as b")
            for _ in range(2):  # the second time: other passwords, the same grants
                provision.create_warehouse("mighty", "for-people")
                password = (tmp_path / "roles" / "load-warehouse").read_text()
                with psycopg.connect(host=host, user="load-warehouse", password=password, dbname="compose_old", autocommit=True) as load:
                    load.execute("alter table raw.t add column if not exists c int")
            with psycopg.connect(host=host, user="reader", password="for-people", dbname="compose_old") as reader:
                assert reader.execute("select b from marts.v").fetchone() == (2,)
            for user, database in (("compose_old", "compose_old"), ("reader", "prefect")):
                with pytest.raises(psycopg.OperationalError, match="not permitted to log in|permission denied for database"):
                    psycopg.connect(host=host, user=user, password="old" if user == "compose_old" else "for-people", dbname=database)
        finally:
            admin.execute("drop database compose_old with (force)")
            admin.execute("drop database prefect with (force)")
            admin.execute("drop role compose_old")
            postgres_server.prepare_roles()  # its own passwords again
            admin.execute("drop role postgres")
