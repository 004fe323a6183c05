"""Register a work pool and one deployment for each job and flow, from the catalogue and each job's `describe`.

This uses Prefect's REST API directly: Prefect's own deploy commands need flow code behind each deployment, and a job has none.
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
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from jobkit import prefect_api, secrets
from jobkit.errors import JobError, MisconfiguredError, TemporaryError
from jobkit.version import read_version, version_option

from images import docker_cli
from images.plan import SERVICES, PlanError
from jobs.catalogue import DROP, REPOSITORY, CatalogueError, JobSpec, catalogue
from orchestration.deployments.descriptions import describe_from_source, describe_jobs, installed_commands
from orchestration.deployments.model import CLIENT_SETTINGS, NOTIFY_TAG, TAG, DeploymentSpec, RegistrationResult
from orchestration.deployments.notifications import register_notifications
from orchestration.deployments.paging import read_all
from orchestration.deployments.parameters import accept_old_names, find_settings_file, read_settings
from orchestration.deployments.schedules import (
    apply_parameter_file,
    normalise_deployment,
    preserve_parameters,
    preserve_schedules,
)
from orchestration.deployments.versions import describe_version, read_revision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DEFAULT_QUEUE = "default"  # Prefect's own, for jobs that call no vendor
HEARTBEAT_S = 30  # of a flow; a job's own heartbeat has the same interval
FLOWS = ("backfill", "daily")
FLOW_SIZE = {"memory": "512m", "cpu": 256}
FLOW_ENVIRONMENT = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S)}
CONTAINER_ENVIRONMENT = {**FLOW_ENVIRONMENT, **CLIENT_SETTINGS}  # a process inherits its worker's
FLOW_COMMAND = "python -m orchestration.runtime.entrypoint"
DESCRIBE_LABEL = '{{index .Config.Labels "finelt.describe"}}'
LOAD_FLOWS_TIMEOUT_S = 600  # seconds are usual; a machine may be overloaded


def process_job_variables(_spec: JobSpec, command: str) -> dict[str, Any]:
    """Return the job variables of a job on the process pool, from its installed command."""
    return {"command": f"{shlex.quote(command)} run"}


def docker_job_variables(spec: JobSpec, image: str) -> dict[str, Any]:
    """Return the job variables of a job on the Docker pool, from its image."""
    return {"image": image, "memory": f"{spec.memory}m", "cpu": spec.cpu, "tmp_mib": spec.tmp_mib}


def ecs_job_variables(_spec: JobSpec, task_definition: str) -> dict[str, Any]:
    """Return the job variables of a job on ECS; its task definition has everything else."""
    return {"task_definition_arn": task_definition}


def process_flow_variables() -> dict[str, Any]:
    """Return the job variables of a flow on the process pool, from this checkout.

    With a command, the worker starts the engine itself; without one it first resolves a workspace.
    """
    return {
        "command": f"{shlex.quote(sys.executable)} -m orchestration.runtime.entrypoint",
        "env": {"PYTHONPATH": str(REPOSITORY), **FLOW_ENVIRONMENT},
    }


def docker_flow_variables() -> dict[str, Any]:
    """Return the job variables of a flow on the Docker pool, and build its image if missing.

    A flow reads no data, so its container mounts none of the jobs' secrets. Raises EngineError.
    """
    (service,) = (service for service in SERVICES if service.name == "orchestration")
    image = docker_cli.build_image(service, docker_cli.BuildEnvironment.from_environ(os.environ))
    return {"command": FLOW_COMMAND, "image": image, **FLOW_SIZE, "env": CONTAINER_ENVIRONMENT, "volumes": []}


def ecs_flow_variables(task_definition: str) -> dict[str, Any]:
    """Return the job variables of a flow on ECS. It never runs on spare capacity: a job is retried by its flow, a flow by nobody."""
    return {
        "command": FLOW_COMMAND,
        "task_definition_arn": task_definition,
        "env": CONTAINER_ENVIRONMENT,
        "capacity_provider": "FARGATE",
    }


# By kind of pool: the job variables of a job, given its installed command, its image, or its task definition.
JOB_VARIABLES: dict[str, Callable[[JobSpec, str], dict[str, Any]]] = {
    "process": process_job_variables,
    "docker": docker_job_variables,
    "ecs": ecs_job_variables,
}


def read_pool_template(kind: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the base job template of a kind of pool, with these defaults. Raises MisconfiguredError for an unknown variable."""
    path = REPOSITORY / "orchestration" / "deployments" / "pools" / f"{kind}.json"
    template: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    variables = template["variables"]["properties"]
    for name, value in defaults.items():
        if name not in variables:
            raise MisconfiguredError(f"the {kind} pool has no variable {name!r}; its variables are {', '.join(sorted(variables))}")
        variables[name]["default"] = value
    return template


def build_job_deployment(
    spec: JobSpec,
    description: Mapping[str, Any],
    program: str,
    *,
    kind: str,
    pool: str,
    image: str | None = None,
    revision: str | None = None,
) -> DeploymentSpec:
    """Return a job's deployment. It has no entrypoint: the image or process reports to Prefect itself."""
    fields = {
        "name": prefect_api.deployment_name(spec.name, pool),
        "description": spec.description,
        "version": describe_version(description["version"], image, revision),
        "parameter_openapi_schema": {"title": "Parameters", **accept_old_names(description["options"])},
        "job_variables": JOB_VARIABLES[kind](spec, program),
        "work_queue_name": DEFAULT_QUEUE if spec.concurrency is None else spec.vendor,
        "tags": sorted({TAG, *spec.reads, *spec.writes, *([NOTIFY_TAG] if DROP in spec.reads else [])}),
    }
    return DeploymentSpec(spec.name, fields, spec.concurrency)


def build_flow_deployment(
    name: str, parameters: dict[str, Any], description: str, *, pool: str, variables: dict[str, Any], version: str = ""
) -> DeploymentSpec:
    """Return a flow's deployment on a pool; `variables` are the pool's job variables for flows."""
    fields = {
        "name": prefect_api.deployment_name(name, pool),
        "description": description,
        "version": version,
        "entrypoint": f"orchestration.flows.{name}.{name}",
        "parameter_openapi_schema": parameters,
        "job_variables": variables,
        "tags": sorted([TAG, "flow", NOTIFY_TAG]),
    }
    return DeploymentSpec(name, fields)


def flow_deployments(
    *, pool: str, variables: dict[str, Any], image: str | None = None, revision: str | None = None
) -> list[DeploymentSpec]:
    """Return the deployments of all flows, read in another process: importing Prefect takes seconds.

    Raises MisconfiguredError if they cannot be loaded, TemporaryError if this takes too long.
    """
    command = [sys.executable, "-m", "orchestration.flows", *FLOWS]
    try:
        process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=LOAD_FLOWS_TIMEOUT_S)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise TemporaryError(f"the flows were not loaded in {LOAD_FLOWS_TIMEOUT_S} s: the machine is overloaded; run this again") from None
    if process.returncode:
        raise MisconfiguredError(f"the flows cannot be loaded: {process.stderr.strip()[-500:]}")
    version = describe_version(read_version(), image, revision)
    return [build_flow_deployment(pool=pool, variables=variables, version=version, **flow) for flow in json.loads(process.stdout)]


def job_deployments(
    specs: Sequence[JobSpec], commands: Mapping[str, str], *, kind: str, pool: str, revision: str | None = None
) -> list[DeploymentSpec]:
    """Return the deployments of installed jobs; `commands` has the path of each job's command. Raises MisconfiguredError."""
    descriptions = describe_jobs(commands)
    return [
        build_job_deployment(spec, descriptions[spec.name], commands[spec.name], kind=kind, pool=pool, revision=revision) for spec in specs
    ]


def image_deployments(specs: Sequence[JobSpec], *, kind: str, pool: str, revision: str | None = None) -> list[DeploymentSpec]:
    """Return the deployments of jobs from their images, and build missing images. A label of each image holds its `describe` output.

    Raises EngineError.
    """
    environment = docker_cli.BuildEnvironment.from_environ(os.environ)
    deployments = []
    for spec in specs:
        image = docker_cli.build_image(spec, environment)
        description = json.loads(docker_cli.docker("image", "inspect", "--format", DESCRIBE_LABEL, image))
        deployments.append(build_job_deployment(spec, description, image, kind=kind, pool=pool, image=image, revision=revision))
    return deployments


def ecs_deployments(
    specs: Sequence[JobSpec],
    task_definitions: Mapping[str, str],
    *,
    pool: str,
    images: Mapping[str, str] | None = None,
    revision: str | None = None,
) -> list[DeploymentSpec]:
    """Return the deployments of jobs and flows on ECS. `task_definitions` has an ARN by job, and one for `flows`; `images` likewise.

    Each job is described from its source: its dependencies are in its image only, and `describe` needs none of them.
    Raises MisconfiguredError for a job without a task definition.
    """
    if missing := [name for name in (*(spec.name for spec in specs), "flows") if name not in task_definitions]:
        raise MisconfiguredError(f"there is no task definition for {missing[0]}; run pulumi up in infra/, which makes one for each job")
    digests = images or {}
    deployments = [
        build_job_deployment(
            spec,
            describe_from_source(spec),
            task_definitions[spec.name],
            kind="ecs",
            pool=pool,
            image=digests.get(spec.name),
            revision=revision,
        )
        for spec in specs
    ]
    variables = ecs_flow_variables(task_definitions["flows"])
    return deployments + flow_deployments(pool=pool, variables=variables, image=digests.get("flows"), revision=revision)


def all_deployments(*, kind: str, pool: str) -> list[DeploymentSpec]:
    """Return the deployments of every job in the catalogue and every flow, on a process or a Docker pool."""
    specs, revision = catalogue(), read_revision()
    with ThreadPoolExecutor(1) as executor:
        if kind == "docker":
            flows = executor.submit(_docker_flow_deployments, pool, revision)
            return image_deployments(specs, kind=kind, pool=pool, revision=revision) + flows.result()
        flows = executor.submit(flow_deployments, pool=pool, variables=process_flow_variables(), revision=revision)
        return job_deployments(specs, installed_commands(specs), kind=kind, pool=pool, revision=revision) + flows.result()


def _docker_flow_deployments(pool: str, revision: str | None) -> list[DeploymentSpec]:
    variables = docker_flow_variables()
    return flow_deployments(pool=pool, variables=variables, image=variables["image"], revision=revision)


def cached_deployments(path: Path, build: Callable[[], list[DeploymentSpec]]) -> list[DeploymentSpec]:
    """Return the deployments in the cache file `path`, or build and cache them if a file that they depend on has changed.

    Describing every job takes seconds.
    """
    sources = [REPOSITORY / "uv.lock", *REPOSITORY.glob("orchestration/**/*.py"), *REPOSITORY.glob("orchestration/**/*.json")]
    sources += [source for ending in ("py", "toml") for source in REPOSITORY.glob(f"jobs/**/*.{ending}")]
    digest = hashlib.sha256(f"{sys.executable} {REPOSITORY} {read_revision()}".encode())
    for source in sorted(sources):
        digest.update(source.read_bytes())
    try:
        cache = json.loads(path.read_text(encoding="utf-8"))
        if cache["sources"] == digest.hexdigest():
            return [DeploymentSpec(**deployment) for deployment in cache["deployments"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # missing or not readable: build
    deployments = build()
    cache = {"sources": digest.hexdigest(), "deployments": [asdict(deployment) for deployment in deployments]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(cache), encoding="utf-8")
    return deployments


def register_deployments(
    api: prefect_api.Api, deployments: Sequence[DeploymentSpec], *, kind: str, pool: str, defaults: Mapping[str, Any] | None = None
) -> RegistrationResult:
    """Create or update the pool and its deployments. `defaults` are values of the pool's variables for all its runs.

    Raises ApiError, and MisconfiguredError if the server has a pool of this name and another kind.
    """
    outcomes: dict[str, list[str]] = {"created": [], "changed": [], "unchanged": []}
    outcomes[_register_pool(api, kind, pool, defaults or {})].append(pool)
    limits = {spec.fields["work_queue_name"]: spec.concurrency_limit for spec in deployments if spec.concurrency_limit}
    _register_queues(api, pool, limits)
    existing_deployments = {(entry["flow_id"], entry["name"]): entry for entry in read_all(api, "/deployments/filter")}
    flow_ids = {entry["name"]: entry["id"] for entry in read_all(api, "/flows/filter")}
    for deployment in deployments:
        flow_id = flow_ids.get(deployment.flow) or api.call("POST", "/flows/", {"name": deployment.flow})["id"]
        existing = existing_deployments.get((flow_id, deployment.fields["name"]))
        outcome = "created" if existing is None else "unchanged" if _has_fields(existing, deployment.fields) else "changed"
        if outcome != "unchanged":
            body = {"flow_id": flow_id, "work_pool_name": pool, "enforce_parameter_schema": True, **deployment.fields}
            api.call("POST", "/deployments/", body | preserve_schedules(existing, body) | preserve_parameters(existing, body))
        outcomes[outcome].append(f"{deployment.flow}/{deployment.fields['name']}")
    return RegistrationResult(*(tuple(outcomes[name]) for name in ("created", "changed", "unchanged")))


def delete_removed_deployments(api: prefect_api.Api, wanted: Sequence[DeploymentSpec], *, pool: str) -> tuple[str, ...]:
    """Delete the pool's deployments of jobs that the catalogue no longer has, if they have our tag; return their names.

    A deployment of a removed job would start a task definition that no update reaches any more. Its past runs stay.
    """
    flow_names = {entry["id"]: entry["name"] for entry in read_all(api, "/flows/filter")}
    kept = {(deployment.flow, deployment.fields["name"]) for deployment in wanted}
    deleted = []
    for entry in read_all(api, "/deployments/filter"):
        flow = flow_names[entry["flow_id"]]
        if TAG in entry["tags"] and entry["work_pool_name"] == pool and (flow, entry["name"]) not in kept:
            api.call("DELETE", f"/deployments/{entry['id']}")
            deleted.append(f"{flow}/{entry['name']}")
    return tuple(deleted)


def _register_pool(api: prefect_api.Api, kind: str, pool: str, defaults: Mapping[str, Any]) -> str:
    fields = {"base_job_template": read_pool_template(kind, defaults), "description": f"finelt jobs as {kind} runs"}
    existing = next((entry for entry in read_all(api, "/work_pools/filter") if entry["name"] == pool), None)
    if existing is None:
        api.call("POST", "/work_pools/", {"name": pool, "type": kind, **fields})
        return "created"
    if existing["type"] != kind:
        raise MisconfiguredError(f"the pool {pool!r} at {api.url} is of type {existing['type']!r}, not {kind!r}; choose another name")
    if _has_fields(existing, fields):
        return "unchanged"
    api.call("PATCH", f"/work_pools/{pool}", fields)
    return "changed"


def _register_queues(api: prefect_api.Api, pool: str, limits: Mapping[str, int | None]) -> None:
    """Create or update one queue for each vendor. Its limit holds for all runs that call the vendor, of whatever job or flow."""
    existing = {queue["name"]: queue for queue in api.call("POST", f"/work_pools/{pool}/queues/filter", {})}
    for name, limit in limits.items():
        if name not in existing:
            api.call("POST", f"/work_pools/{pool}/queues", {"name": name, "concurrency_limit": limit})
        elif existing[name]["concurrency_limit"] != limit:
            api.call("PATCH", f"/work_pools/{pool}/queues/{name}", {"concurrency_limit": limit})


def _has_fields(existing: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    normalised = normalise_deployment(existing)
    return all(normalised.get(name) == value for name, value in fields.items())


def _parse_defaults(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    try:
        return {name: json.loads(value) for name, _, value in (text.partition("=") for text in texts)}
    except ValueError:
        raise click.BadParameter("expected NAME=JSON, such as networks='[\"finelt\"]'") from None


def _parse_task_definitions(text: str | None) -> dict[str, str]:
    try:
        return dict(json.loads(text or ""))
    except (ValueError, TypeError):
        raise click.UsageError('--pool ecs needs --tasks, such as --tasks "$(pulumi -C infra stack output tasks --json)"') from None


@click.command()
@version_option()
@click.option("--pool", "kind", type=click.Choice(sorted(JOB_VARIABLES)), required=True, help="The kind of work pool to register.")
@click.option(
    "--tasks",
    "task_definitions",
    envvar="FINELT_TASKS",
    metavar="JSON",
    help="With --pool ecs: the task definitions, as `pulumi stack output tasks --json` prints them.",
)
@click.option("--name", help="The pool's name. Deployments are named by flow or job and pool. Default: the kind.")
@click.option(
    "--default",
    "defaults",
    metavar="NAME=JSON",
    multiple=True,
    callback=_parse_defaults,
    help="A default for all runs of the pool, such as networks='[\"finelt\"]'. Repeatable.",
)
@click.option("--api-url", envvar="PREFECT_API_URL", required=True, help="The Prefect server, e.g. http://127.0.0.1:4200/api.")
@click.option(
    "--parameters",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A TOML file with values for options: at its top for every job and flow, in a table [job] for one. It also sets the schedules. "
    "Default: finelt.toml, if there is one.",
)
@click.option(
    "--notify",
    metavar="REF",
    help="The reference to a URL that is notified of runs that fail, crash or are late: a webhook of Slack or Teams, mailtos:// and so on. "
    "Default: the webhook of the file.",
)
def main(
    kind: str,
    name: str | None,
    api_url: str,
    task_definitions: str | None,
    defaults: dict[str, Any],
    file: Path | None,
    notify: str | None,
) -> None:
    """Register a work pool and a deployment for every job and flow. Credentials come from PREFECT_API_AUTH_STRING or _KEY."""
    pool, api = name or kind, prefect_api.api({**os.environ, "PREFECT_API_URL": api_url})
    try:
        api.call("GET", "/admin/version", within_s=5)
        if kind == "ecs":
            deployments = ecs_deployments(catalogue(), _parse_task_definitions(task_definitions), pool=pool)
        else:
            deployments = all_deployments(kind=kind, pool=pool)
        if file := file or find_settings_file():
            notify = notify or read_settings(file).webhook
            deployments, messages = apply_parameter_file(deployments, file, catalogue())
            for message in messages:
                click.echo(message, err=True)
        result = register_deployments(api, deployments, kind=kind, pool=pool, defaults=defaults)
        result = replace(result, deleted=delete_removed_deployments(api, deployments, pool=pool))
        if notify:
            register_notifications(api, secrets.resolve(notify))
    except prefect_api.UnreachableError as error:
        raise click.ClickException(f"no Prefect server answers at {api_url}: {error}; check --api-url and that it runs") from None
    except prefect_api.RejectedError as error:
        hint = "; set PREFECT_API_AUTH_STRING or PREFECT_API_KEY" if error.status in (401, 403) else ""
        raise click.ClickException(f"{error}{hint}") from None
    except (JobError, CatalogueError, docker_cli.EngineError, PlanError) as error:
        raise click.ClickException(str(error)) from None
    for line in result.lines():
        click.echo(line)


if __name__ == "__main__":
    main(prog_name="scripts/deploy")
