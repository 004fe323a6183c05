"""A real Prefect server and process worker with jobs that flows can run in seconds.

The extractors of Treasury and Massive are the real ones, against the sample vendors. What comes after them only says that it ran, and
`extract-nothing` ends, waits or fails as its options say, and fails where it works on the same days twice at once.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from jobkit.errors import TemporaryError

from jobs.catalogue import REPOSITORY, JobSpec, catalogue
from orchestration.console import follow
from orchestration.deployments import descriptions, register
from orchestration.local import prefect_server, processes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from jobkit.prefect_api import Api
    from jobkit.receipt import Receipt

    from orchestration.deployments.model import DeploymentSpec

POOL = "process"
SECRETS = ("AWS_SECRET_ACCESS_KEY", "WAREHOUSE_PASSWORD", "PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_SERVER_API_AUTH_STRING")
REAL = ("extract-massive-daily-prices", "extract-treasury-yields")
AFTER = ("load-warehouse", "transform-warehouse", "publish-marts")
PYPROJECT = """
[project]
name = "{name}"
version = "1.2.3"
description = "Ends as its options say."
[project.scripts]
{name} = "{package}.__main__:main"
[tool.finelt]
cpu = 256
memory = 512
deadline_s = 600
{declared}
"""
COMMAND = """#!{python}
import sys
sys.path.insert(0, {folder!r})
from {package}.__main__ import main
main()
"""
AFTER_MAIN = """
from jobkit import command, options

TEXT = ("--lake", "--docs", "--site", "--audience", "--warehouse", "--warehouse-password")
OPTIONS = [options.option("--dataset", multiple=True), *(options.option(name) for name in TEXT)]

def run(job, dataset, site, **_):
    if site:
        job.details["site"] = f"{site}/index.html"
        job.record_partition("site/fct_yield", "version=abc", "committed", rows=7, added=3, removed=0, changed=1)
    for name in dataset:
        job.record_partition(name, "year=2012", "committed", rows=5)

def check(job, **_): ...

def plan(job, **_):
    return []

main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)
"""
NOTHING_MAIN = '''
import fcntl
import os
import time
from datetime import timedelta
from pathlib import Path
import click
from jobkit import command, errors, options

OPTIONS = [
    options.start(),
    options.end(),
    options.option("--seconds", type=float, default=0.0),
    options.option("--bad", type=options.BusinessDate()),
    options.option("--refused", is_flag=True),
    options.lake(),
]

def days(start, end):
    return [str(start + timedelta(days=n)) for n in range((end - start).days + 1)]

def run(job, start, end, seconds, bad, refused, lake):
    """Wait, then say that the days are there."""
    job.log.info("at work")
    Path(lake).mkdir(exist_ok=True)
    turn = Path(lake, f"nothing-{start}").open("w")
    fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    job.details["environment"] = sorted(os.environ)
    time.sleep(seconds)
    if refused:
        raise errors.AuthError("the vendor does not know us; renew the key")
    if bad and start <= bad <= end:
        raise errors.BadDataError(f"the rows of {bad} break their contract")
    for day in days(start, end):
        job.record_partition("nothing", f"date={day}", "committed", rows=1)

def check(job, **_): ...

def plan(job, start, end, **_):
    return [{"dataset": "nothing", "partition": f"date={day}", "asks": day, "commit": None} for day in days(start, end)]

main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)
'''


@dataclass(frozen=True)
class FlowStack:
    """A server, a worker, and the directories and vendors that flows on them use."""

    api: Api
    directory: Path
    vendors: str
    wanted: list[DeploymentSpec]
    prefect: list[prefect_server.PrefectServer]  # the one that runs

    def without_server(self, away_s: float) -> None:
        """Kill Prefect's server and start it again on the same port after a pause; wait until it responds."""
        old = self.prefect.pop()
        old.program.process.kill()
        old.program.process.wait()
        time.sleep(away_s)
        self.prefect.append(prefect_server.start_server(self.directory))
        self.prefect[-1].wait_until_ready()

    def start(self, flow: str, **parameters: object) -> str:
        """Start a run of a flow with the directories of this stack, and return its id."""
        places: dict[str, object] = {name: f"{self.directory}/{name}" for name in ("lake", "docs", "site")}
        places |= {"warehouse": "postgresql://u@127.0.0.1/w", "warehouse_password": "env://NONE"}
        return follow.start_flow(self.api, flow, POOL, places | parameters)

    def steps(self, run_id: str, within_s: float = 600) -> tuple[list[follow.FlowStep], follow.FlowResult]:
        """Wait for a flow run and return its finished steps, in order, and its result."""
        deadline = time.monotonic() + within_s

        def check() -> None:
            if time.monotonic() > deadline:
                raise TemporaryError(f"the flow run {run_id} has not ended within {within_s:.0f} s")

        *seen, result = list(follow.follow_flow(self.api, run_id, check))
        return [step for step in seen if isinstance(step, follow.FlowStep) and step.is_final], cast("follow.FlowResult", result)

    def receipt(self, run_id: str) -> Receipt:
        """Return the receipt of a job's run."""
        wanted = {"artifacts": {"flow_run_id": {"any_": [run_id]}, "type": {"any_": ["receipt"]}}}
        (found,) = self.api.call("POST", "/artifacts/filter", wanted)
        return cast("Receipt", found["data"])

    def artifact(self, run_id: str, key: str) -> dict[str, Any]:
        """Return the artifact of a run with this key; the data of a table is parsed."""
        wanted = {"artifacts": {"flow_run_id": {"any_": [run_id]}, "key": {"any_": [key]}}}
        (found,) = self.api.call("POST", "/artifacts/filter", wanted)
        return {**found, "data": json.loads(found["data"]) if found["type"] == "table" else found["data"]}


def write_job(folder: Path, name: str, main: str, declared: str = "") -> str:
    """Write a job to a folder and return its command."""
    package = name.replace("-", "_")
    code = folder / "jobs" / name / package
    code.mkdir(parents=True)
    (code.parent / "pyproject.toml").write_text(PYPROJECT.format(name=name, package=package, declared=declared))
    (code / "__init__.py").touch()
    (code / "__main__.py").write_text(main)
    command = folder / name
    command.write_text(COMMAND.format(python=sys.executable, folder=str(code.parent), package=package))
    command.chmod(0o755)
    return str(command)


def specs_and_commands(folder: Path) -> tuple[list[JobSpec], dict[str, str]]:
    """Return the jobs of this stack and their commands."""
    commands = {name: write_job(folder, name, AFTER_MAIN) for name in AFTER}
    commands["extract-nothing"] = write_job(folder, "extract-nothing", NOTHING_MAIN)
    for name in ("extract-one-things", "extract-one-others"):
        commands[name] = write_job(folder, name, NOTHING_MAIN, "concurrency = 1")
    real = [spec for spec in catalogue() if spec.name in REAL]
    return [*real, *catalogue(folder / "jobs")], {**descriptions.installed_commands(real), **commands}


def start_worker(directory: Path, prefect: prefect_server.PrefectServer) -> processes.Program:
    """Start a worker as a person does, on a machine with secrets of which jobs may see one."""
    command = [sys.executable, "-m", "orchestration.workers.command", "--pool", POOL, "--env", "TIINGO_TOKEN", "--env", processes.STACK_ENV]
    secrets = dict.fromkeys([*SECRETS, "TIINGO_TOKEN"], "secret")
    environment = {"PYTHONPATH": str(REPOSITORY), **secrets, **prefect.client_settings()}
    return processes.start_program("Prefect worker", command, directory, environment)


@contextmanager
def running(directory: Path, settings: Mapping[str, str] | None = None) -> Iterator[FlowStack]:
    """Run the stack with all deployments registered."""
    prefect = prefect_server.start_server(directory, settings=settings)
    servers, workers = [prefect], None
    vendors = processes.start_program(
        "sample vendors", [sys.executable, str(REPOSITORY / "verification" / "sample_vendors"), "--port", "0"], directory, {}
    )
    try:
        specs, commands = specs_and_commands(directory)
        wanted = register.job_deployments(specs, commands, kind="process", pool=POOL) + register.flow_deployments(
            pool=POOL, variables=register.process_flow_variables()
        )
        prefect.wait_until_ready()
        register.register_deployments(prefect.api(), wanted, kind="process", pool=POOL)
        workers = start_worker(directory, prefect)
        vendors.wait_until(lambda: "\n" in vendors.log.read_text(encoding="utf-8"), 30)
        yield FlowStack(prefect.api(), directory, vendors.log.read_text(encoding="utf-8").split("\n")[0], wanted, servers)
    finally:
        if workers:
            processes.stop_program(workers)
        processes.stop_program(vendors)
        for one in servers:
            prefect_server.stop_server(one)
    if left := processes.find_leftover_processes(directory):
        raise RuntimeError(f"left running: {left}")
