"""Registers a work pool and one deployment per job and flow, from the catalogue and each job's `describe`.

Speaks Prefect's REST API directly: Prefect's own deploy commands want flow code behind every deployment, and a job holds none.
Registering again changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from jobkit.errors import JobError, MisconfiguredError
from jobkit.launchers import prefect

from images import docker_cli
from images.plan import SERVICES, PlanError
from jobs.catalogue import REPOSITORY, CatalogueError, JobSpec, catalogue
from orchestration.deployments import schedules
from orchestration.runtime.retry import CLIENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TAG = "finelt"  # of every deployment of ours, by which reconcile knows the runs it may judge
QUEUE = "default"  # Prefect's own, of what asks no vendor
HEARTBEAT_S = 30  # of a flow; its jobs have the same
FLOWS = ("backfill", "daily", "reconcile")
FLOW_SIZE = {"memory": "512m", "cpu": 256}
FLOW_ENVIRONMENT = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S)}
CONTAINER_ENVIRONMENT = {**FLOW_ENVIRONMENT, **CLIENT}  # a process has its worker's
DESCRIBERS = 2  # at a time; a describe is a tenth of a second of one core
DESCRIBE = '{{index .Config.Labels "finelt.describe"}}'
PAGE = 200  # the most that a filter route of Prefect gives at once


@dataclass(frozen=True)
class Wanted:
    """A deployment as it should be: the fields of Prefect's API, and the name of its flow.

    `at_once` is how many runs its work queue lets go at a time, None for any number.
    """

    flow: str
    fields: dict[str, Any]
    at_once: int | None = None


@dataclass(frozen=True)
class Registered:
    """What registering did: names of the pool and deployments (flow/deployment) that were made, changed or left as they were."""

    created: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]


def process_variables(_spec: JobSpec, program: str) -> dict[str, Any]:
    """A job on the process pool, from its installed command."""
    return {"command": f"{shlex.quote(program)} run"}


def docker_variables(spec: JobSpec, program: str) -> dict[str, Any]:
    """A job on the Docker pool, from its image."""
    return {"image": program, "memory": f"{spec.memory}m", "cpu": spec.cpu}


def process_flow_variables() -> dict[str, Any]:
    """A flow on the process pool, from this checkout.

    The command is named so that the worker starts the engine itself; without one it first resolves a workspace.
    """
    return {
        "command": f"{shlex.quote(sys.executable)} -m orchestration.runtime.entrypoint",
        "env": {"PYTHONPATH": str(REPOSITORY), **FLOW_ENVIRONMENT},
    }


def docker_flow_variables() -> dict[str, Any]:
    """A flow on the Docker pool: it reads no data and so gets none of the jobs' secrets. Builds the image where it is missing."""
    (service,) = (service for service in SERVICES if service.name == "orchestration")
    image = docker_cli.build(service, docker_cli.Surroundings.of(os.environ))
    return {
        "command": "python -m orchestration.runtime.entrypoint",
        "image": image,
        **FLOW_SIZE,
        "env": CONTAINER_ENVIRONMENT,
        "volumes": [],
    }


def ecs_variables(_spec: JobSpec, program: str) -> dict[str, Any]:
    """A job on ECS, from its task definition, which has everything else in it."""
    return {"task_definition_arn": program}


def ecs_flow_variables(task_definition: str) -> dict[str, Any]:
    """A flow on ECS."""
    return {"command": "python -m orchestration.runtime.entrypoint", "task_definition_arn": task_definition, "env": CONTAINER_ENVIRONMENT}


# What a kind of pool needs to know of a job, given its program: an installed command, an image by content hash, or a task definition.
KINDS: dict[str, Callable[[JobSpec, str], dict[str, Any]]] = {
    "process": process_variables,
    "docker": docker_variables,
    "ecs": ecs_variables,
}


def template(kind: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The base job template of a kind of pool, with defaults of its variables. Raises MisconfiguredError for one that it has not."""
    document: dict[str, Any] = json.loads(
        (REPOSITORY / "orchestration" / "deployments" / "pools" / f"{kind}.json").read_text(encoding="utf-8")
    )
    variables = document["variables"]["properties"]
    for name, value in defaults.items():
        if name not in variables:
            raise MisconfiguredError(f"the {kind} pool has no variable {name!r}; there are {', '.join(sorted(variables))}")
        variables[name]["default"] = value
    return document


def installed(specs: Sequence[JobSpec]) -> dict[str, str]:
    """The console command of each job in the environment we run in, by name."""
    return {spec.name: str(Path(sys.executable).with_name(spec.name)) for spec in specs}


def described(commands: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What each job says of itself, by name. Raises MisconfiguredError with the job's own words."""
    with ThreadPoolExecutor(DESCRIBERS) as pool:
        return dict(zip(commands, pool.map(_describe, commands, ([command] for command in commands.values())), strict=True))


def _describe(name: str, command: Sequence[str], environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    try:
        done = subprocess.run([*command, "describe"], env=environ, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603  our own
        description: dict[str, Any] = json.loads(done.stdout)
    except FileNotFoundError:
        raise MisconfiguredError(f"{name}: {command[0]} is not installed; run scripts/setup") from None
    except subprocess.CalledProcessError as error:
        raise MisconfiguredError(f"{name}: describe ended with {error.returncode}: {error.stderr.strip()[-500:]}") from None
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise MisconfiguredError(f"{name}: describe gave no JSON: {error}") from None
    return description


def job_deployment(spec: JobSpec, description: Mapping[str, Any], program: str, *, kind: str, pool: str) -> Wanted:
    """A job's deployment. It has no code of Prefect's: the image or process reports by itself."""
    fields = {
        "name": pool,
        "description": spec.description,
        "version": description["version"],
        "parameter_openapi_schema": {"title": "Parameters", **description["options"]},
        "job_variables": KINDS[kind](spec, program),
        "work_queue_name": QUEUE if spec.concurrency is None else spec.vendor,
        "tags": sorted({TAG, *spec.reads, *spec.writes}),
    }
    return Wanted(spec.name, fields, spec.concurrency)


def flow_deployment(name: str, parameters: dict[str, Any], description: str, *, pool: str, variables: dict[str, Any]) -> Wanted:
    """A flow's deployment, on a pool whose workers start flows as `variables` say."""
    fields = {
        "name": pool,
        "description": description,
        "entrypoint": f"orchestration.flows.{name}.{name}",
        "parameter_openapi_schema": parameters,
        "job_variables": variables,
        "tags": [TAG, "flow"],
        **schedules.OF_FLOWS.get(name, {}),
    }
    return Wanted(name, fields)


def flows(*, pool: str, variables: dict[str, Any]) -> list[Wanted]:
    """The deployments of the flows, read in another process: importing Prefect takes seconds."""
    command = [sys.executable, "-m", "orchestration.flows", *FLOWS]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
    if done.returncode:
        raise MisconfiguredError(f"the flows cannot be loaded: {done.stderr.strip()[-500:]}")
    return [flow_deployment(pool=pool, variables=variables, **flow) for flow in json.loads(done.stdout)]


def jobs(specs: Sequence[JobSpec], commands: Mapping[str, str], *, kind: str, pool: str) -> list[Wanted]:
    """The deployments of jobs that are installed as `commands`."""
    descriptions = described(commands)
    return [job_deployment(spec, descriptions[spec.name], commands[spec.name], kind=kind, pool=pool) for spec in specs]


def images(specs: Sequence[JobSpec], *, kind: str, pool: str) -> list[Wanted]:
    """The deployments of jobs from their images, which are built where they are missing. An image's label says what `describe` would.

    Raises EngineError.
    """
    here = docker_cli.Surroundings.of(os.environ)
    deployments = []
    for spec in specs:
        image = docker_cli.build(spec, here)
        description = json.loads(docker_cli.docker("image", "inspect", "--format", DESCRIBE, image))
        deployments.append(job_deployment(spec, description, image, kind=kind, pool=pool))
    return deployments


def tasks(specs: Sequence[JobSpec], definitions: Mapping[str, str], *, pool: str) -> list[Wanted]:
    """The deployments of jobs and flows on ECS, from the ARNs of their task definitions: by job, and `flows`.

    A job describes itself from its source: what it needs to work is in its image only, and to describe itself it needs none of it.
    Raises MisconfiguredError for a job without a task definition.
    """
    if missing := [name for name in (*(spec.name for spec in specs), "flows") if name not in definitions]:
        raise MisconfiguredError(f"there is no task definition for {missing[0]}; run pulumi up in infra/, which makes one for each job")
    deployments = []
    for spec in specs:
        folders = os.pathsep.join([str(spec.folder), str(spec.folder.parent / "jobkit")])
        description = _describe(spec.name, [sys.executable, "-m", spec.package], {**os.environ, "PYTHONPATH": folders})
        deployments.append(job_deployment(spec, description, definitions[spec.name], kind="ecs", pool=pool))
    return deployments + flows(pool=pool, variables=ecs_flow_variables(definitions["flows"]))


def everything(*, kind: str, pool: str) -> list[Wanted]:
    """The deployments of every job in the catalogue and of every flow."""
    specs = catalogue()
    with ThreadPoolExecutor(1) as aside:
        if kind == "docker":
            of_flows = aside.submit(lambda: flows(pool=pool, variables=docker_flow_variables()))
            return images(specs, kind=kind, pool=pool) + of_flows.result()
        of_flows = aside.submit(flows, pool=pool, variables=process_flow_variables())
        return jobs(specs, installed(specs), kind=kind, pool=pool) + of_flows.result()


def remembered(path: Path, make: Callable[[], list[Wanted]]) -> list[Wanted]:
    """What `make` gave the last time, while no file it may depend on has changed since. Asking every job takes seconds."""
    sources = [REPOSITORY / "uv.lock", *REPOSITORY.glob("orchestration/**/*.py"), *REPOSITORY.glob("orchestration/**/*.json")]
    sources += [source for ending in ("py", "toml") for source in REPOSITORY.glob(f"jobs/**/*.{ending}")]
    digest = hashlib.sha256(f"{sys.executable} {REPOSITORY}".encode())
    for source in sorted(sources):
        digest.update(source.read_bytes())
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["sources"] == digest.hexdigest():
            return [Wanted(**deployment) for deployment in document["deployments"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or not ours: made anew
    deployments = make()
    document = {"sources": digest.hexdigest(), "deployments": [asdict(deployment) for deployment in deployments]}
    path.write_text(json.dumps(document), encoding="utf-8")
    return deployments


def register(
    api: prefect.Api, deployments: Sequence[Wanted], *, kind: str, pool: str, defaults: Mapping[str, Any] | None = None
) -> Registered:
    """Make the pool and its deployments what they should be. `defaults` are those of the pool's variables: what all its runs get."""
    done: dict[str, list[str]] = {"created": [], "changed": [], "unchanged": []}
    done[_register_pool(api, kind, pool, defaults or {})].append(pool)
    _register_queues(api, pool, {wanted.fields["work_queue_name"]: wanted.at_once for wanted in deployments if wanted.at_once})
    there = {(entry["flow_id"], entry["name"]): entry for entry in _all(api, "/deployments/filter")}
    flow_ids = {entry["name"]: entry["id"] for entry in _all(api, "/flows/filter")}
    for deployment in deployments:
        flow_id = flow_ids.get(deployment.flow) or api.call("POST", "/flows/", {"name": deployment.flow})["id"]
        found = there.get((flow_id, deployment.fields["name"]))
        outcome = "unchanged" if found and _has(found, deployment.fields) else "changed" if found else "created"
        if outcome != "unchanged":
            body = {"flow_id": flow_id, "work_pool_name": pool, "enforce_parameter_schema": True, **deployment.fields}
            api.call("POST", "/deployments/", body | schedules.kept(found, body))
        done[outcome].append(f"{deployment.flow}/{deployment.fields['name']}")
    return Registered(*(tuple(done[name]) for name in ("created", "changed", "unchanged")))


def _register_pool(api: prefect.Api, kind: str, pool: str, defaults: Mapping[str, Any]) -> str:
    fields = {"base_job_template": template(kind, defaults), "description": f"finelt jobs as {kind} runs"}
    found = next((entry for entry in _all(api, "/work_pools/filter") if entry["name"] == pool), None)
    if found is None:
        api.call("POST", "/work_pools/", {"name": pool, "type": kind, **fields})
        return "created"
    if found["type"] != kind:
        raise MisconfiguredError(f"the pool {pool!r} at {api.url} is of type {found['type']!r}, not {kind!r}; choose another name")
    if _has(found, fields):
        return "unchanged"
    api.call("PATCH", f"/work_pools/{pool}", fields)
    return "changed"


def _register_queues(api: prefect.Api, pool: str, limits: Mapping[str, int | None]) -> None:
    """One queue a vendor, which lets so many runs go at a time whatever job or flow they are of."""
    there = {queue["name"]: queue for queue in api.call("POST", f"/work_pools/{pool}/queues/filter", {})}
    for name, limit in limits.items():
        if name not in there:
            api.call("POST", f"/work_pools/{pool}/queues", {"name": name, "concurrency_limit": limit})
        elif there[name]["concurrency_limit"] != limit:
            api.call("PATCH", f"/work_pools/{pool}/queues/{name}", {"concurrency_limit": limit})


def _all(api: prefect.Api, path: str) -> list[dict[str, Any]]:
    """Every entry behind a filter route, page by page."""
    entries: list[dict[str, Any]] = []
    while page := api.call("POST", path, {"offset": len(entries)}):
        entries += page
        if len(page) < PAGE:
            break
    return entries


def _has(found: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    shown = schedules.shown(found)
    return all(shown.get(name) == value for name, value in fields.items())


def _as_defaults(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    try:
        return {name: json.loads(value) for name, _, value in (text.partition("=") for text in given)}
    except ValueError:
        raise click.BadParameter("expected NAME=JSON, such as networks='[\"finelt\"]'") from None


def _as_definitions(text: str | None) -> dict[str, str]:
    try:
        return dict(json.loads(text or ""))
    except (ValueError, TypeError):
        raise click.UsageError('--pool ecs needs --tasks, such as --tasks "$(pulumi -C infra stack output tasks --json)"') from None


@click.command()
@click.option("--pool", "kind", type=click.Choice(sorted(KINDS)), required=True, help="The kind of work pool to register.")
@click.option(
    "--tasks",
    "definitions",
    envvar="FINELT_TASKS",
    metavar="JSON",
    help="With --pool ecs: the task definitions, as `pulumi stack output tasks --json` prints them.",
)
@click.option("--name", help="The pool's name, which is also the name of each deployment. Default: the kind.")
@click.option(
    "--default",
    "defaults",
    metavar="NAME=JSON",
    multiple=True,
    callback=_as_defaults,
    help="A default for all runs of the pool, such as networks='[\"finelt\"]'. Repeatable.",
)
@click.option("--api-url", envvar="PREFECT_API_URL", required=True, help="The Prefect server, e.g. http://127.0.0.1:4200/api.")
@click.option(
    "--parameters",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A TOML file with values for options: at its top for every job and flow, in a table [job] for one. With it come the schedules.",
)
def main(kind: str, name: str | None, api_url: str, definitions: str | None, defaults: dict[str, Any], file: Path | None) -> None:
    """Register a work pool and a deployment for every job and flow. Credentials come from PREFECT_API_AUTH_STRING or _KEY."""
    pool, api = name or kind, prefect.api({**os.environ, "PREFECT_API_URL": api_url})
    try:
        api.call("GET", "/admin/version", within_s=5)
        wanted = tasks(catalogue(), _as_definitions(definitions), pool=pool) if kind == "ecs" else everything(kind=kind, pool=pool)
        if file:
            wanted, unscheduled = schedules.given(wanted, file, catalogue())
            for sentence in unscheduled:
                click.echo(sentence, err=True)
        done = register(api, wanted, kind=kind, pool=pool, defaults=defaults)
    except prefect.UnreachableError as error:
        raise click.ClickException(f"no Prefect server answers at {api_url}: {error}; check --api-url and that it runs") from None
    except prefect.RefusedError as error:
        hint = "; set PREFECT_API_AUTH_STRING or PREFECT_API_KEY" if error.status in (401, 403) else ""
        raise click.ClickException(f"{error}{hint}") from None
    except (JobError, CatalogueError, docker_cli.EngineError, PlanError) as error:
        raise click.ClickException(str(error)) from None
    for outcome in ("created", "changed", "unchanged"):
        for what in getattr(done, outcome):
            click.echo(f"{outcome:10}{what}")


if __name__ == "__main__":
    main(prog_name="scripts/deploy")
