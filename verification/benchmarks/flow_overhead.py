"""Prefect's overhead: the seconds that a step adds to its job, and the server's load during a backfill of many runs."""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import psutil  # type: ignore[import-untyped]
from jobkit import declaration, prefect_api

from images import docker_cli
from jobs.catalogue import REPOSITORY, JobSpec, catalogue
from orchestration.console import follow
from orchestration.deployments import descriptions, register
from orchestration.local import prefect_server as server
from orchestration.local import processes, worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jobkit.prefect_api import Api

    from orchestration.deployments.model import DeploymentSpec
    from orchestration.local.processes import Program

STEP = "extract-ecb-fx-rates"
STEP_OPTIONS = {"lake": "/tmp/lake", "start": "2012-01-01", "end": "2012-12-31"}  # noqa: S108  looked at, never written
SLEEP = "verification.benchmarks.extract_sleep"
LOOK_EVERY_S = 5.0
MIB = 1024 * 1024


class Running(NamedTuple):
    """A measured stack: its server's API and its programs."""

    api: Api
    server: Program
    worker: Program
    database: Path


class Sample(NamedTuple):
    """The progress of a backfill, and the CPU and memory of its server so far."""

    elapsed_s: float
    done: int
    server_cpu_s: float
    server_mib: float
    worker_mib: float
    database_mib: float


def steps(kinds: Sequence[str], times: int) -> list[str]:
    """Return a row for each kind of pool: seconds from the request of a step to the start of its job, and from its end to the flow."""
    lines = ["Seconds in addition to the job itself: median [minimum to maximum]. Prefect's server uses SQLite.", ""]
    lines += ["| pool | until the job starts | from its end to the flow | total |", "| --- | --- | --- | --- |"]
    return lines + [_step_row(kind, times) for kind in kinds]


def scale(*, runs: int, seconds: float, concurrency: int, minutes: float) -> list[str]:
    """Measure a backfill of many runs of a job that sleeps, on the process pool: throughput, and the server's CPU and memory."""
    with _stack("process", *_scale_deployments()) as running:
        samples = list(_watched(running, {"count": runs, "seconds": seconds, "concurrency": concurrency}, minutes))
    return _scale_page(runs, seconds, concurrency, samples)


@contextmanager
def _stack(kind: str, jobs: Sequence[DeploymentSpec], flow: DeploymentSpec) -> Iterator[Running]:
    """Start a server and workers. The flow always runs on the process pool, because no image contains it."""
    with ExitStack() as ends, TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        directory = Path(folder)
        prefect = server.start_server(directory)
        ends.callback(lambda: server.stop_server(prefect))
        prefect.wait_until_ready()
        for job in jobs:  # the flow looks for the deployments of its own pool
            job.fields["name"] = prefect_api.deployment_name(job.flow, "process")
        register.register_deployments(prefect.api(), jobs, kind=kind, pool=kind)
        register.register_deployments(prefect.api(), [flow], kind="process", pool="process")
        working = [worker.start_worker(directory / pool, prefect, pool, pool) for pool in dict.fromkeys((kind, "process"))]
        for one in working:
            ends.callback(processes.stop_program, one)
            one.resume()
        yield Running(prefect.api(), prefect.program, working[-1], directory / "prefect" / server.DATABASE)


def _flow(name: str, parameters: Sequence[str], *, kind: str) -> DeploymentSpec:
    """Return the deployment of one of the measured flows."""
    variables = register.process_flow_variables()
    schema = {"type": "object", "properties": {parameter: {} for parameter in parameters}}
    wanted = register.build_flow_deployment(name, schema, "Measured.", pool=kind, variables=variables)
    wanted.fields["entrypoint"] = f"verification.benchmarks.flows.{name}"
    return wanted


def _step_row(kind: str, times: int) -> str:
    specs = [spec for spec in catalogue() if spec.name == STEP]
    jobs = register.image_deployments if kind == "docker" else _installed
    flow = _flow("steps", ["job", "options", "times"], kind=kind)
    with _stack(kind, jobs(specs, kind=kind, pool=kind), flow) as running:
        run_id = follow.start_flow(running.api, "steps", kind, {"job": STEP, "options": STEP_OPTIONS, "times": times + 1})
        *_, ending = follow.follow_flow(running.api, run_id, running.worker.raise_if_ended)
        if ending.state != "COMPLETED":
            raise click.ClickException(f"the flow ended as {ending.state}: {ending.message}")
        found = running.api.call("POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run_id]}}})
    if kind == "docker":
        docker_cli.docker("container", "prune", "--force", "--filter", f"label=io.prefect.flow-name={STEP}")
    took = json.loads(next(artifact["data"] for artifact in found if artifact["type"] == "markdown"))[1:]
    columns = [[first for first, _ in took], [last for _, last in took], [first + last for first, last in took]]
    return f"| {kind} | " + " | ".join(_spread(column) for column in columns) + " |"


def _installed(specs: Sequence[JobSpec], *, kind: str, pool: str) -> list[DeploymentSpec]:
    return register.job_deployments(specs, descriptions.installed_commands(specs), kind=kind, pool=pool)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f} to {max(values):.2f}]"


def _scale_deployments() -> tuple[list[DeploymentSpec], DeploymentSpec]:
    """Return the job that sleeps, which is in no catalogue, and the flow."""
    folder = Path(__file__).parent / "extract_sleep"
    declared = declaration.read_file(folder / "pyproject.toml")
    spec = JobSpec(**vars(declared), folder=folder)
    program = [sys.executable, "-m", SLEEP]
    described = json.loads(subprocess.run([*program, "describe"], cwd=REPOSITORY, capture_output=True, check=True).stdout)  # noqa: S603
    job = register.build_job_deployment(spec, described, "", kind="process", pool="process")
    job.fields["job_variables"] = {"command": shlex.join([*program, "run"]), "env": {"PYTHONPATH": str(REPOSITORY)}}
    return [job], _flow("scale", ["count", "seconds", "concurrency"], kind="process")


def _watched(running: Running, parameters: dict[str, Any], minutes: float) -> Iterator[Sample]:
    """Yield a sample every few seconds until the flow ends. Cancel it after `minutes`."""
    run_id, started_s = follow.start_flow(running.api, "scale", "process", parameters), time.monotonic()
    done = {"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}, "state": {"type": {"any_": ["COMPLETED"]}}}}
    while True:
        state = running.api.call("GET", f"/flow_runs/{run_id}")["state"]["type"]
        completed = int(running.api.call("POST", "/flow_runs/count", done))
        sample = _sample(running, time.monotonic() - started_s, max(0, completed - 1))  # the first run was the backfill's plan
        click.echo(
            f"{sample.elapsed_s:7.0f} s  {sample.done:6,} runs  server {sample.server_cpu_s:6.0f} CPU s, {sample.server_mib:5.0f} MiB"
        )
        yield sample
        if state in follow.FINAL_STATES:
            return
        if sample.elapsed_s > minutes * 60 and state != "CANCELLING":
            running.api.call("POST", f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}})
        time.sleep(LOOK_EVERY_S)


def _sample(running: Running, elapsed_s: float, done: int) -> Sample:
    process = psutil.Process(running.server.process.pid)
    times = process.cpu_times()
    worker_mib = psutil.Process(running.worker.process.pid).memory_info().rss / MIB
    size = sum(path.stat().st_size for path in running.database.parent.glob(f"{running.database.name}*")) / MIB
    return Sample(elapsed_s, done, times.user + times.system, process.memory_info().rss / MIB, worker_mib, size)


def _scale_page(runs: int, seconds: float, concurrency: int, samples: Sequence[Sample]) -> list[str]:
    first, last = samples[0], samples[-1]
    done = max(last.done, 1)
    rows = [samples[round(part * (len(samples) - 1) / 10)] for part in range(11)]
    table = [
        f"| {row.elapsed_s:.0f} | {row.done:,} | {row.server_cpu_s:.0f} "
        f"| {row.server_mib:.0f} | {row.worker_mib:.0f} | {row.database_mib:.1f} |"
        for row in dict.fromkeys(rows)
    ]
    what = f"{last.done:,} of {runs:,} runs of a job that sleeps {seconds:g} s, {concurrency} concurrently, on the process pool with SQLite"
    cpu_ms, growth_kib = (last.server_cpu_s - first.server_cpu_s) / done * 1000, (last.database_mib - first.database_mib) / done * 1024
    return [
        f"{what}: {last.elapsed_s:.0f} s, {last.done / last.elapsed_s:.2f} runs per second.",
        "",
        f"One run costs {cpu_ms:.0f} ms of the server's CPU time and {growth_kib:.0f} KiB of its database.",
        "",
        *_extrapolate_day(cpu_ms, growth_kib),
        "",
        "| seconds | runs done | server CPU s | server MiB | worker MiB | database MiB |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
        *table,
    ]


def _extrapolate_day(cpu_ms: float, growth_kib: float, runs: int = 100_000) -> list[str]:
    """Return what this means for `runs` a day, and the recommended settings."""
    busy = runs * cpu_ms / 1000 / 86_400
    text = (
        f"Extrapolated, {runs:,} runs a day are {runs / 86_400:.1f} per second, {busy:.2f} of a core all day and "
        f"{runs * growth_kib / 1024 / 1024:.1f} GiB: within the measured range if they are spread over the day. Recommended settings: "
        "Postgres instead of SQLite, which has one writer at a time, and deletion of runs older than a week; two workers, so that one can "
        "fail; if most runs start within an hour, separate the server's API from its background services, with Redis between them and two "
        "replicas of the API (`server_replicas: 2` in infra/Pulumi.prod.yaml)."
    )
    return [text]
