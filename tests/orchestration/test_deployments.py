"""Jobs on a real Prefect server and process worker: what the flow sees of each ending, and what Prefect holds of it.

One made-up job ends in every way. Nothing of Prefect is imported here; it lives in the server, the worker and the flows.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from jobkit.errors import MisconfiguredError, TemporaryError
from jobkit.prefect_api import Api, RejectedError

from jobs.catalogue import REPOSITORY, catalogue
from orchestration.console import follow
from orchestration.deployments import descriptions, model, register
from orchestration.local import prefect_server, processes, stack, worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB, FLOW, POOL = "extract-nothing", "flow_of_one", "process"
PYPROJECT = """
[project]
name = "extract-nothing"
version = "1.2.3"
description = "Ends as it is told to."
[project.scripts]
extract-nothing = "extract_nothing.__main__:main"
[tool.finelt]
cpu = 256
memory = 512
deadline_s = 600
writes = ["raw/nothing"]
"""
COMMAND = """#!{python}
import sys
sys.path.insert(0, {folder!r})
from extract_nothing.__main__ import main
main()
"""
MAIN = '''
import os, signal, time
from pathlib import Path
import click
from jobkit import command, errors, options

OPTIONS = [
    options.option("--mode", required=True, type=click.Choice(["ok", "bad", "temporary-once", "killed-once", "long"])),
    options.option("--told", default="nothing"),
    options.option("--marker"),
]

def run(job, mode, told, marker):
    """End as told."""
    job.log.info("at work", extra={"mode": mode})
    job.details["told"] = f"{told}+"
    job.details["environment"] = sorted(os.environ)
    first = bool(marker) and not Path(marker).exists()
    if marker:
        Path(marker).touch()
    if mode == "bad":
        raise errors.BadDataError("the rows break their contract; look at row 7")
    if mode == "temporary-once" and first:
        raise errors.TemporaryError("the vendor is away; try again later")
    if mode == "killed-once" and first:
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "long":
        time.sleep(60)
    job.outcome("nothing", "all", "committed", rows=41230)

def check(job, **_):
    """Nothing to check."""

def plan(job, **_):
    """Nothing to plan."""
    return []

main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)
'''


@dataclass(frozen=True)
class Local:
    """A server and a worker with the made-up job and the flow of one, and the runs that all tests look at."""

    api: Api
    directory: Path
    wanted: list[model.DeploymentSpec]

    def flow(self, mode: str, **options: object) -> str:
        """The id of a new run of the flow of one."""
        return follow.start_flow(self.api, FLOW, POOL, {"job": JOB, "options": {"mode": mode, **options}})

    def ended(self, run_id: str, within_s: float = 600) -> tuple[list[follow.FlowStep], follow.FlowResult]:
        """The ended steps of a flow run, in order, and its ending."""
        deadline = time.monotonic() + within_s

        def check() -> None:
            assert time.monotonic() < deadline, "the flow run does not end"

        *seen, ending = list(follow.follow_flow(self.api, run_id, check))
        assert isinstance(ending, follow.FlowResult)
        return [step for step in seen if isinstance(step, follow.FlowStep) and step.is_final], ending


def wanted_deployments(folder: Path) -> list[model.DeploymentSpec]:
    """The made-up job, written out and described by itself, and the flow of one."""
    package = folder / "jobs" / JOB / "extract_nothing"
    package.mkdir(parents=True)
    (package.parent / "pyproject.toml").write_text(PYPROJECT)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(MAIN)
    command = folder / JOB
    command.write_text(COMMAND.format(python=sys.executable, folder=str(package.parent)))
    command.chmod(0o755)
    parameters = {"type": "object", "properties": {"job": {"type": "string"}, "options": {"type": "object"}}}
    flow = register.build_flow_deployment(FLOW, parameters, "One job.", pool=POOL, variables=register.process_flow_variables())
    flow.fields["entrypoint"] = "tests.orchestration.single_job_flow.flow_of_one"
    return [*register.job_deployments(catalogue(folder / "jobs"), {JOB: str(command)}, kind="process", pool=POOL), flow]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    directory = tmp_path_factory.mktemp("stack")
    prefect = prefect_server.start_server(directory)
    workers = worker.start_worker(directory, prefect, POOL)
    try:
        wanted = wanted_deployments(directory)
        prefect.wait_until_ready()
        register.register_deployments(prefect.api(), wanted, kind="process", pool=POOL)
        workers.resume()
        yield Local(prefect.api(), directory, wanted)
    finally:
        processes.stop_program(workers)
        prefect_server.stop_server(prefect)
    assert processes.find_leftover_processes(directory) == []


@pytest.fixture(scope="module")
def runs(local: Local) -> dict[str, tuple[list[follow.FlowStep], follow.FlowResult]]:
    """One flow run of each kind, side by side."""
    kinds = ("ok", "bad", "temporary-once", "killed-once")
    started = {kind: local.flow(kind, marker=str(local.directory / f"marker-{kind}")) for kind in kinds}
    with ThreadPoolExecutor(len(started)) as pool:
        return dict(zip(started, pool.map(local.ended, started.values()), strict=True))


Runs = dict[str, tuple[list[follow.FlowStep], follow.FlowResult]]


def test_a_flow_runs_jobs_one_after_the_other_and_passes_receipts(runs: Runs) -> None:
    steps, ending = runs["ok"]
    assert ending.state == "COMPLETED"
    assert [(step.name, step.state) for step in steps] == [(JOB, "COMPLETED")] * 2
    first, second = (step.receipt or {} for step in steps)
    assert (first["details"]["told"], second["details"]["told"]) == ("nothing+", "nothing++")
    assert first["partitions"] == [
        {"dataset": "nothing", "partition": "all", "outcome": "committed", "rows": 41230, "bytes": 0, "sha256": None, "quarantined": 0}
    ]


def test_a_run_ends_with_one_sentence_about_what_was_done(runs: Runs) -> None:
    steps, _ = runs["ok"]
    assert steps[0].message == "1 partition: 1 committed; 41,230 rows"


def test_bad_data_is_not_tried_again_and_the_flow_fails_with_the_jobs_sentence(runs: Runs) -> None:
    steps, ending = runs["bad"]
    assert [(step.state, (step.receipt or {})["exit_code"]) for step in steps] == [("FAILED", 65)]
    assert ending.state == "FAILED"
    assert f"{JOB}: the rows break their contract; look at row 7" in ending.message


def test_a_temporary_failure_is_tried_again_as_a_new_run_of_the_same_flow(runs: Runs) -> None:
    steps, ending = runs["temporary-once"]
    assert [(step.attempt, step.state) for step in steps] == [(1, "FAILED"), (2, "COMPLETED"), (1, "COMPLETED")]
    assert len({step.run_id for step in steps}) == 3
    assert ending.state == "COMPLETED"


def test_a_job_whose_process_is_gone_is_tried_again(runs: Runs) -> None:
    steps, ending = runs["killed-once"]
    assert [(step.state, step.receipt is None) for step in steps[:2]] == [("CRASHED", True), ("COMPLETED", False)]
    assert ending.state == "COMPLETED"


def test_the_receipt_is_a_table_in_prefect_and_the_logs_are_there(local: Local, runs: Runs) -> None:
    run_id = runs["ok"][0][0].run_id
    tables = local.api.call("POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run_id]}, "type": {"any_": ["table"]}}})
    assert [table["key"] for table in tables] == [f"receipt-{JOB}"]
    logs = local.api.call("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [run_id]}}})
    assert "at work mode=ok" in [entry["message"] for entry in logs]


def test_no_server_setting_and_no_secret_reaches_a_job(runs: Runs) -> None:
    seen = (runs["ok"][0][0].receipt or {})["details"]["environment"]
    assert [name for name in seen if name.startswith("PREFECT_SERVER_")] == []
    assert [name for name in seen if "TOKEN" in name and not name.startswith("PREFECT__")] == []
    assert set(seen) & {"PREFECT_API_URL", "PREFECT__FLOW_RUN_ID"} == {"PREFECT_API_URL", "PREFECT__FLOW_RUN_ID"}


def test_registering_again_changes_nothing(local: Local) -> None:
    done = register.register_deployments(local.api, local.wanted, kind="process", pool=POOL)
    assert (done.created, done.changed) == ((), ())
    assert done.unchanged == (POOL, f"{JOB}/{POOL}", f"{FLOW}/{POOL}")


def test_a_changed_job_changes_its_deployment_only(local: Local) -> None:
    job, flow = local.wanted
    newer = replace(job, fields={**job.fields, "version": "1.2.4"})
    assert register.register_deployments(local.api, [newer, flow], kind="process", pool=POOL).changed == (f"{JOB}/{POOL}",)
    assert register.register_deployments(local.api, local.wanted, kind="process", pool=POOL).changed == (f"{JOB}/{POOL}",)


def test_a_pool_of_another_kind_is_left_alone(local: Local) -> None:
    local.api.call("POST", "/work_pools/", {"name": "other", "type": "docker"})
    with pytest.raises(MisconfiguredError, match="'other' .* is of type 'docker', not 'process'"):
        register.register_deployments(local.api, [], kind="process", pool="other")


@pytest.mark.parametrize("options", [{"mode": "ok", "modus": "x"}, {"told": "x"}, {"mode": 7}, {"mode": "other"}])
def test_unknown_missing_and_wrong_parameters_are_refused_by_the_server(local: Local, options: dict[str, Any]) -> None:
    with pytest.raises(RejectedError) as refused:
        follow.start_flow(local.api, JOB, POOL, options)
    assert refused.value.status == 409


def test_a_flow_that_gives_wrong_options_or_names_no_job_fails_with_a_sentence(local: Local) -> None:
    wrong = follow.start_flow(local.api, FLOW, POOL, {"job": JOB, "options": {"mode": "other"}})
    unknown = follow.start_flow(local.api, FLOW, POOL, {"job": "extract-all", "options": {}})
    assert f"{JOB}: Prefect rejected its options" in local.ended(wrong)[1].message
    assert f"extract-all: no deployment extract-all/{POOL}; register it with scripts/deploy" in local.ended(unknown)[1].message


def test_cancelling_a_flow_stops_its_job_and_both_end_cancelled(local: Local) -> None:
    run_id = local.flow("long")
    steps = follow.follow_flow(local.api, run_id, lambda: None)
    started = next(steps)
    assert isinstance(started, follow.FlowStep)
    before = time.monotonic()
    local.api.call("POST", f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}})
    while local.api.call("GET", f"/flow_runs/{started.run_id}")["state"]["type"] not in follow.FINAL_STATES:
        assert time.monotonic() - before < 10
        time.sleep(0.1)
    (step,), ending = local.ended(run_id)
    assert (step.state, ending.state) == ("CANCELLED", "CANCELLED")
    assert (step.receipt or {})["status"] == "stopped"


def test_runs_that_a_killed_stack_left_are_put_away(local: Local) -> None:
    deployment = local.api.call("GET", f"/deployments/name/{JOB}/{POOL}")
    later = {"parameters": {"mode": "ok"}, "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": "2099-01-01T00:00:00Z"}}}
    run_id = local.api.call("POST", f"/deployments/{deployment['id']}/create_flow_run", later)["id"]
    stack.crash_unfinished_runs(local.api)
    assert local.api.call("GET", f"/flow_runs/{run_id}")["state"]["type"] == "CRASHED"


def deploy_command(url: str, auth_string: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestration.deployments.register", "--pool", "process", "--name", "all", "--api-url", url]
    environment = {**os.environ, "PREFECT_API_AUTH_STRING": auth_string, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd="/")


def test_the_deploy_command_registers_every_job_and_flow_and_says_so(local: Local) -> None:
    done = deploy_command(local.api.url, (local.directory / "prefect" / "auth").read_text())
    assert done.returncode == 0, done.stderr
    names = [*(spec.name for spec in catalogue()), *register.FLOWS]
    assert done.stdout.splitlines() == ["created   all", *(f"created   {name}/all" for name in names)]


def test_the_deploy_command_says_what_is_wrong_with_a_server(local: Local) -> None:
    refused, absent = deploy_command(local.api.url, "no:body"), deploy_command("http://127.0.0.1:1/api", "")
    assert (refused.returncode, absent.returncode) == (1, 1)
    assert "answered 401" in refused.stderr
    assert "set PREFECT_API_AUTH_STRING" in refused.stderr
    assert "no Prefect server answers at http://127.0.0.1:1/api" in absent.stderr


def test_the_server_answers_nobody_without_its_password(local: Local) -> None:
    with pytest.raises(RejectedError) as refused:
        Api(local.api.url).call("POST", "/flow_runs/filter", {})
    assert refused.value.status == 401


def test_the_password_is_for_us_alone(local: Local) -> None:
    assert (local.directory / "prefect" / "auth").stat().st_mode & 0o777 == 0o600


def test_every_job_of_the_catalogue_has_a_deployment_on_every_kind_of_pool() -> None:
    specs = catalogue()
    description = {"version": "1", "options": {"type": "object", "properties": {}, "additionalProperties": False}}
    for kind in register.JOB_VARIABLES:
        variables = register.read_pool_template(kind, {})["variables"]["properties"]
        for spec in specs:
            wanted = register.build_job_deployment(spec, description, f"/bin/{spec.name}", kind=kind, pool="p")
            assert wanted.flow == spec.name
            assert set(wanted.fields["job_variables"]) <= set(variables)
            assert wanted.fields["parameter_openapi_schema"]["additionalProperties"] is False


def test_the_flows_describe_themselves_and_take_nothing_unknown() -> None:
    daily = next(wanted for wanted in register.flow_deployments(pool="p", variables={}) if wanted.flow == "daily")
    schema = daily.fields["parameter_openapi_schema"]
    assert (daily.flow, daily.fields["entrypoint"]) == ("daily", "orchestration.flows.daily.daily")
    assert schema["additionalProperties"] is False
    assert {"lake", "warehouse", "site", "extracts"} <= set(schema["required"])
    assert daily.fields["description"].startswith("Extract in parallel")


@pytest.mark.parametrize("flow", register.FLOWS)
def test_a_flow_is_forty_lines_at_most(flow: str) -> None:
    assert len((REPOSITORY / "orchestration" / "flows" / f"{flow}.py").read_text().splitlines()) <= 40


def test_a_job_that_cannot_describe_itself_is_named_with_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match=r"extract-x: .* is not installed; run scripts/setup"):
        descriptions.describe_jobs({"extract-x": str(tmp_path / "extract-x")})
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'no module named x' >&2; exit 1\n")
    broken.chmod(0o755)
    with pytest.raises(MisconfiguredError, match="broken: describe ended with 1: no module named x"):
        descriptions.describe_jobs({"broken": str(broken)})


def test_what_jobs_said_is_remembered_until_a_source_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def make() -> list[model.DeploymentSpec]:
        asked.append(1)
        return [model.DeploymentSpec("f", {"name": "p", "tags": ["a"]})]

    monkeypatch.setattr(register, "REPOSITORY", tmp_path)
    (tmp_path / "uv.lock").touch()
    memory = tmp_path / "memory.json"
    assert register.cached_deployments(memory, make) == register.cached_deployments(memory, make) == make()
    assert len(asked) == 2
    (tmp_path / "jobs" / "x").mkdir(parents=True)
    (tmp_path / "jobs" / "x" / "new.py").write_text("1")
    register.cached_deployments(memory, make)
    memory.write_text("half a file {")
    register.cached_deployments(memory, make)
    assert len(asked) == 4


def test_a_busy_server_says_when_to_come_back_and_changes_take_turns() -> None:
    at_once, most = 0, 0

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        await send({"type": "http.response.start", "status": 503, "headers": []})

    async def ask(method: str, path: str) -> list[Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await answer({"type": "http", "method": method, "path": path}, None, send)
        return sent

    async def several(method: str, path: str) -> list[list[Any]]:
        return await asyncio.gather(*(ask(method, path) for _ in range(3)))

    answer = prefect_server.serialise_writes(app)
    (first, *_), changes = asyncio.run(several("POST", "/api/flow_runs/")), most
    asyncio.run(several("POST", "/api/flow_runs/filter"))
    assert first[0]["headers"] == [(b"retry-after", b"0.1")]
    assert (changes, most) == (1, 3)


def test_a_program_that_ends_or_takes_too_long_is_told_with_its_log(tmp_path: Path) -> None:
    broken = processes.start_program("broken thing", [sys.executable, "-c", "raise SystemExit('no such port')"], tmp_path, {})
    with pytest.raises(MisconfiguredError, match=r"the broken thing ended with 1: no such port; its log is .*/logs/broken-thing\.log"):
        broken.wait_until(lambda: False, 10)
    slow = processes.start_program("slow thing", ["sleep", "60"], tmp_path, {})
    with pytest.raises(TemporaryError, match=r"the slow thing was not ready within 0 s; its log is .*slow-thing\.log"):
        slow.wait_until(lambda: False, 0)
    processes.stop_program(slow)
    assert slow.process.returncode is not None


def test_what_a_killed_stack_left_is_found_with_its_children_and_ended_and_nothing_else_is(tmp_path: Path) -> None:
    ours, others = tmp_path / "ours", tmp_path / "others"
    script = (
        "import subprocess, time; subprocess.Popen(['sleep', '60'], start_new_session=True); print('ready', flush=True); time.sleep(60)"
    )
    left = processes.start_program("left", [sys.executable, "-c", script], ours, {})
    other = processes.start_program("other", ["sleep", "60"], others, {})
    left.wait_until(lambda: "ready" in left.log.read_text(), 10)
    assert len(processes.find_leftover_processes(ours)) == 2
    processes.stop_processes(processes.find_leftover_processes(ours))
    left.process.wait(5)
    assert processes.find_leftover_processes(ours) == []
    assert other.process.poll() is None
    processes.stop_program(other)


def begin(directory: Path) -> None:
    """Start a stack that must not start."""
    with stack.run_stack(directory, vendors=False, deployments=list):
        raise AssertionError


def test_a_stack_that_another_one_uses_is_left_alone(tmp_path: Path) -> None:
    with stack.lock_directory(tmp_path), pytest.raises(TemporaryError, match=rf"another demo works in .* \(process {os.getpid()}\); wait"):
        begin(tmp_path)
    assert processes.find_leftover_processes(tmp_path) == []


def test_a_place_that_cannot_be_used_is_told_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MisconfiguredError, match="cannot work in .*file.*; choose another place with --dir"):
        begin(tmp_path / "file" / "inside")
    monkeypatch.setattr(stack, "REQUIRED_BYTES", 10**18)
    with pytest.raises(TemporaryError, match="MB are free at .* are needed; free some or choose another --dir"):
        begin(tmp_path / "new")


def test_a_pools_defaults_are_checked_against_its_variables() -> None:
    template = register.read_pool_template("docker", {"networks": ["mine"]})
    assert template["variables"]["properties"]["networks"]["default"] == ["mine"]
    with pytest.raises(MisconfiguredError, match="the docker pool has no variable 'netwroks'; its variables are .*networks"):
        register.read_pool_template("docker", {"netwroks": []})
    told = CliRunner().invoke(register.main, ["--pool", "docker", "--api-url", "http://127.0.0.1:9/api", "--default", "networks=mine"])
    assert told.exit_code == 2
    assert "expected NAME=JSON" in told.output
