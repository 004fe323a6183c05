"""The Docker pool: a job's image as an ephemeral container of Prefect's own worker."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from images import docker_cli
from jobs.catalogue import REPOSITORY, catalogue
from orchestration.deployments import register
from orchestration.local import prefect_server, processes, worker
from orchestration.workers.containers import POOL_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobkit.prefect_api import Api

POOL = f"docker-{uuid.uuid4().hex[:8]}"  # the containers of other pools on this engine are left alone
CANARY = "Antarctica/Troll"
JOB = "extract-ecb-fx-rates"
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server with the pool, the deployment of one job, and a worker that can use the engine."""
    monkeypatch = pytest.MonkeyPatch()
    directory = tmp_path_factory.mktemp("stack")
    prefect = prefect_server.start_server(directory)
    workers = None
    try:
        wanted = register.image_deployments([spec for spec in catalogue() if spec.name == JOB], kind="docker", pool=POOL)
        prefect.wait_until_ready()
        register.register_deployments(prefect.api(), wanted, kind="docker", pool=POOL)
        assert register.register_deployments(prefect.api(), wanted, kind="docker", pool=POOL).unchanged == (POOL, f"{JOB}/{JOB}-{POOL}")
        monkeypatch.setenv("TZ", CANARY)  # the worker's own environment has it
        workers = worker.start_worker(directory, prefect, POOL, "docker")
        workers.resume()
        yield prefect.api()
    finally:
        monkeypatch.undo()
        if workers:
            processes.stop_program(workers)
        prefect_server.stop_server(prefect)
        for container in docker_cli.docker("ps", "--all", "--quiet", "--filter", f"label={POOL_LABEL}={POOL}").split():
            subprocess.run([docker_cli.find_client(), "rm", "--force", container], capture_output=True, check=False)


@pytest.fixture
def vendors(tmp_path: Path) -> Iterator[str]:
    command = [sys.executable, str(REPOSITORY / "verification" / "sample_vendors"), "--port", "0"]
    program = processes.start_program("sample vendors", command, tmp_path, {})
    program.wait_until(lambda: "\n" in program.log.read_text(encoding="utf-8"), 30)
    yield program.log.read_text(encoding="utf-8").split("\n")[0]
    processes.stop_program(program)


def ended(api: Api, parameters: dict[str, Any], **variables: object) -> dict[str, Any]:
    """Start a run of the job, wait for its end, and return it."""
    deployment = api.call("GET", f"/deployments/name/{JOB}/{JOB}-{POOL}")
    wanted = {"parameters": parameters, "job_variables": variables}
    run = api.call("POST", f"/deployments/{deployment['id']}/create_flow_run", wanted)
    deadline = time.monotonic() + 600
    while run["state"]["type"] not in FINAL:
        assert time.monotonic() < deadline, run["state"]
        time.sleep(0.2)
        run = api.call("GET", f"/flow_runs/{run['id']}")
    return dict(run)


def container(run: dict[str, Any]) -> dict[str, Any]:
    name = docker_cli.docker("ps", "--all", "--quiet", "--filter", f"label=io.prefect.flow-run-id={run['id']}")
    return dict(json.loads(docker_cli.docker("inspect", name))[0])


def test_a_container_runs_the_job_and_reports_to_prefect_itself(api: Api, vendors: str, tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake").chmod(0o777)
    parameters = {"lake": "/lake", "start": "2012-12-03", "end": "2012-12-31", "base_url": f"{vendors}/www.ecb.europa.eu"}
    run = ended(api, parameters, volumes=[f"{tmp_path / 'lake'}:/lake"])
    assert run["state"]["type"] == "COMPLETED", run["state"]
    (receipt,) = api.call("POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}, "type": {"any_": ["receipt"]}}})
    assert receipt["data"]["status"] == "done"
    assert any((tmp_path / "lake").rglob("*.parquet"))


def test_a_container_is_hardened_and_limited_and_gets_no_secret_of_the_worker(api: Api) -> None:
    run = ended(api, {"lake": "/tmp/lake", "start": "2013-01-02", "end": "2012-12-31"})  # noqa: S108
    assert run["state"]["type"] == "FAILED", run["state"]
    seen = container(run)
    host, spec = seen["HostConfig"], next(spec for spec in catalogue() if spec.name == JOB)
    assert (host["ReadonlyRootfs"], host["Init"], host["CapDrop"], host["SecurityOpt"]) == (True, True, ["ALL"], ["no-new-privileges"])
    assert host["Memory"] == host["MemorySwap"] == spec.memory * 1024**2
    assert host["CpuShares"] == spec.cpu
    environment = dict(entry.split("=", 1) for entry in seen["Config"]["Env"])
    assert not [name for name in environment if name.startswith("PREFECT_SERVER")]
    assert CANARY not in environment.values()


def test_a_missing_image_ends_the_run_with_a_reason(api: Api) -> None:
    run = ended(api, {"lake": "/tmp/lake", "start": "2012-12-03", "end": "2012-12-31"}, image="127.0.0.1:9/finelt/none:1")  # noqa: S108
    assert run["state"]["type"] in ("CRASHED", "FAILED")
    assert run["state"]["message"]
