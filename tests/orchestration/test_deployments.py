"""Jobs on a real Prefect server and process worker: how flows see each way to end, and how deployments are registered.

One made-up job can end in each way. Prefect runs in the server, the worker and the flows; these tests do not import it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from jobkit.errors import MisconfiguredError
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
description = "Ends as its option says."
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
    options.retry_timeout(),
]

def run(job, mode, told, marker, retry_timeout):
    """End as `mode` says."""
    job.log.info("at work", extra={"mode": mode})
    job.details["told"] = f"{told}+"
    job.details["retry_timeout"] = retry_timeout
    job.details["environment"] = sorted(os.environ)
    first = bool(marker) and not Path(marker).exists()
    if marker:
        Path(marker).touch()
    if mode == "bad":
        raise errors.BadDataError("the rows break their contract; look at row 7")
    if mode == "temporary-once" and first:
        raise errors.TemporaryError("the vendor is unreachable; try again later")
    if mode == "killed-once" and first:
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "long":
        time.sleep(3600)
    job.record_partition("nothing", "all", "committed", rows=41230)

def check(job, **_):
    """Check nothing."""

def plan(job, **_):
    """Plan nothing."""
    return []

main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)
'''


@dataclass(frozen=True)
class Local:
    """A server and a worker with deployments of the made-up job and of the flow that runs it."""

    api: Api
    directory: Path
    deployments: list[model.DeploymentSpec]

    def flow(self, mode: str, **options: object) -> str:
        """Start a run of the flow and return its id."""
        return follow.start_flow(self.api, FLOW, POOL, {"job": JOB, "options": {"mode": mode, **options}})

    def wait(self, run_id: str, within_s: float = 600) -> tuple[list[follow.FlowStep], follow.FlowResult]:
        """Wait for a flow run and return its finished steps, in order, and its result."""
        deadline = time.monotonic() + within_s

        def check() -> None:
            assert time.monotonic() < deadline, "the flow run did not end"

        *seen, result = list(follow.follow_flow(self.api, run_id, check))
        assert isinstance(result, follow.FlowResult)
        return [step for step in seen if isinstance(step, follow.FlowStep) and step.is_final], result


def build_deployments(folder: Path) -> list[model.DeploymentSpec]:
    """Write the made-up job to a folder; return its deployment and that of the flow."""
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
        deployments = build_deployments(directory)
        prefect.wait_until_ready()
        register.register_deployments(prefect.api(), deployments, kind="process", pool=POOL)
        workers.resume()
        yield Local(prefect.api(), directory, deployments)
    finally:
        processes.stop_program(workers)
        prefect_server.stop_server(prefect)
    assert processes.find_leftover_processes(directory) == []


@pytest.fixture(scope="module")
def runs(local: Local) -> dict[str, tuple[list[follow.FlowStep], follow.FlowResult]]:
    """The steps and result of one flow run of each kind, run concurrently."""
    kinds = ("ok", "bad", "temporary-once", "killed-once")
    started = {kind: local.flow(kind, marker=str(local.directory / f"marker-{kind}")) for kind in kinds}
    with ThreadPoolExecutor(len(started)) as pool:
        return dict(zip(started, pool.map(local.wait, started.values()), strict=True))


Runs = dict[str, tuple[list[follow.FlowStep], follow.FlowResult]]


def test_a_flow_runs_jobs_in_sequence_and_passes_receipts(runs: Runs) -> None:
    steps, result = runs["ok"]
    assert result.state == "COMPLETED"
    assert [(step.name, step.state) for step in steps] == [(JOB, "COMPLETED")] * 2
    first, second = (step.receipt or {} for step in steps)
    assert (first["details"]["told"], second["details"]["told"]) == ("nothing+", "nothing++")
    assert first["partitions"] == [
        {"dataset": "nothing", "partition": "all", "outcome": "committed", "rows": 41230, "bytes": 0, "sha256": None, "quarantined": 0}
    ]


def test_the_message_of_a_run_summarises_its_receipt(runs: Runs) -> None:
    steps, _ = runs["ok"]
    assert steps[0].message == "1 partition: 1 committed; 41,230 rows"


def test_bad_data_is_not_retried_and_the_flow_fails_with_the_jobs_message(runs: Runs) -> None:
    steps, result = runs["bad"]
    assert [(step.state, (step.receipt or {})["exit_code"]) for step in steps] == [("FAILED", 65)]
    assert result.state == "FAILED"
    assert f"{JOB}: the rows break their contract; look at row 7" in result.message


def test_a_temporary_failure_is_retried_as_a_new_run_of_the_same_flow(runs: Runs) -> None:
    steps, result = runs["temporary-once"]
    assert [(step.attempt, step.state) for step in steps] == [(1, "FAILED"), (2, "COMPLETED"), (1, "COMPLETED")]
    assert len({step.run_id for step in steps}) == 3
    assert result.state == "COMPLETED"


def test_a_job_whose_process_was_killed_is_retried(runs: Runs) -> None:
    steps, result = runs["killed-once"]
    assert [(step.state, step.receipt is None) for step in steps[:2]] == [("CRASHED", True), ("COMPLETED", False)]
    assert result.state == "COMPLETED"


def test_prefect_shows_the_receipt_as_a_table_and_the_logs(local: Local, runs: Runs) -> None:
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


@pytest.fixture(scope="module")
def released(local: Local) -> dict[str, Any]:
    """The made-up job's deployment as 0.1.0 registered it, with a schedule that an operator added, then registered again.

    Its option `retry_timeout` was named `patience`.
    """
    job = local.deployments[0]
    schema = job.fields["parameter_openapi_schema"]
    properties = {name: value for name, value in schema["properties"].items() if name not in ("retry_timeout", "patience")}
    properties["patience"] = {"type": "number", "minimum": 0, "description": "", "default": 60.0}
    schedule = {"slug": "own", "active": True, "schedule": {"cron": "0 0 1 1 *", "timezone": "UTC"}, "parameters": {"patience": 7}}
    stored = {"name": "released", "parameters": {"mode": "ok", "patience": 5}}
    fields = {**job.fields, **stored, "parameter_openapi_schema": {**schema, "properties": properties}, "schedules": [schedule]}
    register.register_deployments(local.api, [replace(job, fields=fields)], kind="process", pool=POOL)
    renewed = replace(job, fields={**job.fields, "name": "released"})
    assert register.register_deployments(local.api, [renewed], kind="process", pool=POOL).changed == (f"{JOB}/released",)
    deployment: dict[str, Any] = local.api.call("GET", f"/deployments/name/{JOB}/released")
    return deployment


def test_stored_parameters_and_schedules_keep_their_old_names_when_a_deployment_is_registered_again(released: dict[str, Any]) -> None:
    assert released["parameters"] == {"mode": "ok", "patience": 5}
    assert [schedule["parameters"] for schedule in released["schedules"]] == [{"patience": 7}]
    schema = released["parameter_openapi_schema"]["properties"]
    assert schema["patience"]["deprecated"] is True
    assert "default" not in schema["patience"]
    assert schema["retry_timeout"]["default"] == 60.0


@pytest.mark.parametrize(
    ("parameters", "seconds"), [({}, 5.0), ({"patience": 7}, 7.0), ({"retry_timeout": 9}, 9.0)], ids=["stored", "scheduled", "renamed"]
)
def test_a_run_takes_an_old_parameter_name_with_a_deprecation_warning(
    local: Local, released: dict[str, Any], parameters: dict[str, Any], seconds: float
) -> None:
    run_id = local.api.call("POST", f"/deployments/{released['id']}/create_flow_run", {"parameters": parameters})["id"]
    state = local.wait(run_id)[1].state
    receipts = {"artifacts": {"flow_run_id": {"any_": [run_id]}, "type": {"any_": ["receipt"]}}}
    (artifact,) = local.api.call("POST", "/artifacts/filter", receipts)
    logs = local.api.call("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [run_id]}}})
    assert (state, artifact["data"]["details"]["retry_timeout"]) == ("COMPLETED", seconds)
    assert any("the parameter patience is deprecated" in entry["message"] for entry in logs)


def test_a_flow_passes_an_old_parameter_name_to_its_job(local: Local) -> None:
    steps, result = local.wait(local.flow("ok", patience=3))
    assert result.state == "COMPLETED"
    assert [step.receipt["details"]["retry_timeout"] for step in steps if step.receipt] == [3.0, 60.0]


def test_the_flow_command_of_an_earlier_version_still_starts_a_flow(local: Local) -> None:
    """0.1.0 registered flows with the command `python -m orchestration.engine`."""
    flow = local.deployments[1]
    command = f"{sys.executable} -m orchestration.engine"
    fields = {**flow.fields, "name": f"{FLOW}-earlier", "job_variables": {**flow.fields["job_variables"], "command": command}}
    register.register_deployments(local.api, [replace(flow, fields=fields)], kind="process", pool=POOL)
    run_id = follow.start_flow(local.api, FLOW, "earlier", {"job": JOB, "options": {"mode": "ok"}})
    assert local.wait(run_id)[1].state == "COMPLETED"


def test_registering_again_changes_nothing(local: Local) -> None:
    done = register.register_deployments(local.api, local.deployments, kind="process", pool=POOL)
    assert (done.created, done.changed) == ((), ())
    assert done.unchanged == (POOL, f"{JOB}/{JOB}-{POOL}", f"{FLOW}/{FLOW}-{POOL}")


def test_a_changed_job_changes_its_deployment_only(local: Local) -> None:
    job, flow = local.deployments
    newer = replace(job, fields={**job.fields, "version": "1.2.4"})
    assert register.register_deployments(local.api, [newer, flow], kind="process", pool=POOL).changed == (f"{JOB}/{JOB}-{POOL}",)
    assert register.register_deployments(local.api, local.deployments, kind="process", pool=POOL).changed == (f"{JOB}/{JOB}-{POOL}",)


def test_a_pool_of_another_kind_is_not_changed(local: Local) -> None:
    local.api.call("POST", "/work_pools/", {"name": "other", "type": "docker"})
    with pytest.raises(MisconfiguredError, match="'other' .* is of type 'docker', not 'process'"):
        register.register_deployments(local.api, [], kind="process", pool="other")


@pytest.mark.parametrize("options", [{"mode": "ok", "modus": "x"}, {"told": "x"}, {"mode": 7}, {"mode": "other"}])
def test_the_server_rejects_unknown_missing_and_invalid_parameters(local: Local, options: dict[str, Any]) -> None:
    with pytest.raises(RejectedError) as refused:
        follow.start_flow(local.api, JOB, POOL, options)
    assert refused.value.status == 409


def test_a_flow_with_invalid_options_or_an_unknown_job_fails_with_a_message(local: Local) -> None:
    wrong = follow.start_flow(local.api, FLOW, POOL, {"job": JOB, "options": {"mode": "other"}})
    unknown = follow.start_flow(local.api, FLOW, POOL, {"job": "extract-all", "options": {}})
    assert f"{JOB}: Prefect rejected its options" in local.wait(wrong)[1].message
    assert f"extract-all: no deployment extract-all/extract-all-{POOL}; register it with scripts/deploy" in local.wait(unknown)[1].message


def test_cancelling_a_flow_stops_its_job_and_both_end_cancelled(local: Local) -> None:
    run_id = local.flow("long")
    steps = follow.follow_flow(local.api, run_id, lambda: None)
    started = next(steps)
    assert isinstance(started, follow.FlowStep)
    local.api.call("POST", f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}})
    (step,), result = local.wait(run_id)
    assert (step.state, result.state) == ("CANCELLED", "CANCELLED")
    assert (step.receipt or {})["status"] == "stopped"


def test_unfinished_runs_of_a_killed_stack_become_crashed(local: Local) -> None:
    deployment = local.api.call("GET", f"/deployments/name/{JOB}/{JOB}-{POOL}")
    later = {"parameters": {"mode": "ok"}, "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": "2099-01-01T00:00:00Z"}}}
    run_id = local.api.call("POST", f"/deployments/{deployment['id']}/create_flow_run", later)["id"]
    stack.crash_unfinished_runs(local.api)
    assert local.api.call("GET", f"/flow_runs/{run_id}")["state"]["type"] == "CRASHED"


def deploy_command(url: str, auth_string: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestration.deployments.register", "--pool", "process", "--name", "all", "--api-url", url]
    environment = {**os.environ, "PREFECT_API_AUTH_STRING": auth_string, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd="/")


def test_the_deploy_command_registers_every_job_and_flow_and_prints_each(local: Local) -> None:
    done = deploy_command(local.api.url, (local.directory / "prefect" / "auth").read_text())
    assert done.returncode == 0, done.stderr
    names = [*(spec.name for spec in catalogue()), *register.FLOWS]
    assert done.stdout.splitlines() == ["created   all", *(f"created   {name}/{name}-all" for name in names)]


def test_the_deploy_command_reports_an_unreachable_server_and_refused_credentials(local: Local) -> None:
    refused, absent = deploy_command(local.api.url, "no:body"), deploy_command("http://127.0.0.1:1/api", "")
    assert (refused.returncode, absent.returncode) == (1, 1)
    assert "answered 401" in refused.stderr
    assert "set PREFECT_API_AUTH_STRING" in refused.stderr
    assert "no Prefect server answers at http://127.0.0.1:1/api" in absent.stderr


# From, to, the answer of the server, and the state afterwards. jobkit/launchers/prefect.py follows these rules.
TRANSITIONS = [
    ("PENDING", "RUNNING", "ACCEPT", "RUNNING"),
    ("RUNNING", "RUNNING", "ACCEPT", "RUNNING"),  # hence the reporter starts from PENDING or SCHEDULED only
    ("RUNNING", "PENDING", "ABORT", "RUNNING"),
    ("CANCELLING", "COMPLETED", "REJECT", "CANCELLING"),
    ("CANCELLING", "CRASHED", "REJECT", "CANCELLING"),
    ("CANCELLING", "CANCELLED", "ACCEPT", "CANCELLED"),
    ("CANCELLED", "COMPLETED", "ACCEPT", "COMPLETED"),  # hence it reads the state before it proposes the final one
    ("CANCELLED", "CRASHED", "ABORT", "CANCELLED"),
    ("FAILED", "CRASHED", "ABORT", "FAILED"),  # hence the message of a failure survives the worker, which reports the exit code
]


@pytest.mark.parametrize(("before", "proposed", "answer", "after"), TRANSITIONS)
def test_prefect_keeps_the_rules_that_a_jobs_reporter_follows(local: Local, before: str, proposed: str, answer: str, after: str) -> None:
    flow = local.api.call("POST", "/flows/", {"name": "rules"})["id"]
    path = f"/flow_runs/{local.api.call('POST', '/flow_runs/', {'flow_id': flow})['id']}"
    local.api.call("POST", f"{path}/set_state", {"state": {"type": before}, "force": True})
    proposal = {"type": proposed, "state_details": {"transition_id": "00000000-0000-4000-8000-000000000001"}}
    assert local.api.call("POST", f"{path}/set_state", {"state": proposal, "force": False})["status"] == answer
    assert local.api.call("GET", path)["state"]["type"] == after


def test_a_repeated_proposal_is_rejected_with_the_proposed_state(local: Local) -> None:
    """The reporter takes the state in the answer for the outcome, whatever the status."""
    flow = local.api.call("POST", "/flows/", {"name": "rules"})["id"]
    path = f"/flow_runs/{local.api.call('POST', '/flow_runs/', {'flow_id': flow, 'state': {'type': 'PENDING'}})['id']}/set_state"
    proposal = {"state": {"type": "RUNNING", "state_details": {"transition_id": "00000000-0000-4000-8000-000000000002"}}, "force": False}
    answers = [local.api.call("POST", path, proposal) for _ in range(2)]
    assert [answer["status"] for answer in answers] == ["ACCEPT", "REJECT"]
    assert [answer["state"]["type"] for answer in answers] == ["RUNNING", "RUNNING"]


def test_a_run_that_is_scheduled_for_later_has_to_wait(local: Local) -> None:
    flow = local.api.call("POST", "/flows/", {"name": "rules"})["id"]
    later = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2099-01-01T00:00:00Z"}}
    run = local.api.call("POST", "/flow_runs/", {"flow_id": flow, "state": later})["id"]
    answer = local.api.call("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "RUNNING"}, "force": False})
    assert answer["status"] == "WAIT"
    assert answer["details"]["delay_seconds"] > 0


def test_the_server_requires_its_password(local: Local) -> None:
    with pytest.raises(RejectedError) as refused:
        Api(local.api.url).call("POST", "/flow_runs/filter", {})
    assert refused.value.status == 401


def test_only_the_owner_can_read_the_password_file(local: Local) -> None:
    assert (local.directory / "prefect" / "auth").stat().st_mode & 0o777 == 0o600


def test_every_job_of_the_catalogue_has_a_deployment_on_every_kind_of_pool() -> None:
    specs = catalogue()
    description = {"version": "1", "options": {"type": "object", "properties": {}, "additionalProperties": False}}
    for kind in register.JOB_VARIABLES:
        variables = register.read_pool_template(kind, {})["variables"]["properties"]
        for spec in specs:
            deployment = register.build_job_deployment(spec, description, f"/bin/{spec.name}", kind=kind, pool="p")
            assert deployment.flow == spec.name
            assert set(deployment.fields["job_variables"]) <= set(variables)
            assert deployment.fields["parameter_openapi_schema"]["additionalProperties"] is False


def test_the_schema_of_a_flow_allows_no_unknown_parameter() -> None:
    daily = next(spec for spec in register.flow_deployments(pool="p", variables={}) if spec.flow == "daily")
    schema = daily.fields["parameter_openapi_schema"]
    assert (daily.flow, daily.fields["entrypoint"]) == ("daily", "orchestration.flows.daily.daily")
    assert schema["additionalProperties"] is False
    assert {"lake", "warehouse", "site", "extracts"} <= set(schema["required"])
    assert daily.fields["description"].startswith("Extract in parallel")


def test_every_parameter_of_a_flow_has_a_description_for_the_form_of_a_run() -> None:
    for spec in register.flow_deployments(pool="p", variables={}):
        properties = spec.fields["parameter_openapi_schema"]["properties"]
        assert [name for name, schema in properties.items() if not schema.get("description")] == [], spec.flow


@pytest.mark.parametrize("flow", register.FLOWS)
def test_a_flow_has_at_most_forty_lines(flow: str) -> None:
    assert len((REPOSITORY / "orchestration" / "flows" / f"{flow}.py").read_text().splitlines()) <= 40


def test_a_job_that_cannot_describe_itself_is_reported_with_its_own_message(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match=r"extract-x: .* is not installed; run scripts/setup"):
        descriptions.describe_jobs({"extract-x": str(tmp_path / "extract-x")})
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'no module named x' >&2; exit 1\n")
    broken.chmod(0o755)
    with pytest.raises(MisconfiguredError, match="broken: describe ended with 1: no module named x"):
        descriptions.describe_jobs({"broken": str(broken)})


def test_descriptions_are_cached_until_a_source_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_defaults_of_a_pool_are_checked_against_its_variables() -> None:
    template = register.read_pool_template("docker", {"networks": ["mine"]})
    assert template["variables"]["properties"]["networks"]["default"] == ["mine"]
    with pytest.raises(MisconfiguredError, match="the docker pool has no variable 'netwroks'; its variables are .*networks"):
        register.read_pool_template("docker", {"netwroks": []})
    told = CliRunner().invoke(register.main, ["--pool", "docker", "--api-url", "http://127.0.0.1:9/api", "--default", "networks=mine"])
    assert told.exit_code == 2
    assert "expected NAME=JSON" in told.output
