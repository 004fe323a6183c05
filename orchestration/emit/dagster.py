"""Emit definitions for Dagster with dagster-docker: an asset per dataset. The job reports to Dagster by Dagster Pipes."""

from __future__ import annotations

from fnmatch import fnmatchcase
from textwrap import indent
from typing import TYPE_CHECKING

from orchestration.emit import docker
from orchestration.emit.pipeline import MAX_RETRIES, RETRY_EXIT_CODE, RETRY_PAUSE_S
from orchestration.emit.python_source import format_arguments, format_literal, to_identifier

if TYPE_CHECKING:
    from orchestration.emit.pipeline import Pipeline, PipelineStep

TEMPLATE = '''\
"""{name}, for Dagster with dagster-docker: `dagster dev -f` this file.

{header}
"""

from uuid import uuid4

import dagster as dg
from dagster_docker import PipesDockerClient
from dagster_pipes import DagsterPipesError
from docker import from_env
{partitions}

def run_container(context, docker, *, container_kwargs, **options):
    """Run a job, which reports by Dagster Pipes, and remove its container. Retry it after exit code {retried} only."""
    name = f"dagster-{{uuid4()}}"
    try:
        yield from docker.run(context=context, container_kwargs={{**container_kwargs, "name": name}}, **options).get_results()
    except DagsterPipesError as error:
        if "'StatusCode': {retried}" in str(error):
            raise dg.RetryRequested(max_retries={retries}, seconds_to_wait={pause_s}) from error
        raise dg.Failure(str(error), allow_retries=False) from error
    finally:
        for container in from_env().containers.list(all=True, filters={{"name": name}}):
            container.remove(force=True)


{assets}


job = dg.define_asset_job({job}, selection="*", tags={{"dagster/max_runtime": "{seconds}"}})
{schedule}
defs = dg.Definitions(
    assets=[{names}],
    jobs=[job],
    schedules=[{scheduled}],
    resources={{"docker": PipesDockerClient()}},
)
'''
PARTITIONS = """
days = dg.DailyPartitionsDefinition(start_date="2000-01-01", timezone={timezone}, end_offset=1)
"""
ASSET = """\
@dg.multi_asset(
    specs=[
{specs}
    ],{partitioned}
)
def {name}(context: dg.AssetExecutionContext, docker: PipesDockerClient):
    yield from run_container(
        context,
        docker,{options}    )"""
SCHEDULE = """

@dg.schedule(job=job, cron_schedule={cron}, execution_timezone={timezone})
def scheduled_run(context):
    return dg.RunRequest({key})

"""
DAY = 'partition_key=f"{context.scheduled_execution_time:%Y-%m-%d}"'  # the job's reporter turns it into --start and --end


def emit(pipeline: Pipeline) -> str:
    """Return a Python module with assets, a job over all of them, and its schedule."""
    has_dates = any(step.dates for step in pipeline.steps)
    timezone = format_literal(pipeline.timezone)
    schedule = SCHEDULE.format(cron=format_literal(pipeline.schedule), timezone=timezone, key=DAY if has_dates else "")
    return TEMPLATE.format(
        name=pipeline.name,
        header=pipeline.header,
        partitions=PARTITIONS.format(timezone=timezone) if has_dates else "",
        retried=RETRY_EXIT_CODE,
        retries=MAX_RETRIES,
        pause_s=RETRY_PAUSE_S,
        assets="\n\n\n".join(_render_asset(pipeline, step, has_dates=has_dates) for step in pipeline.steps),
        job=format_literal(f"{to_identifier(pipeline.name)}_job"),
        seconds=pipeline.limit_s,
        schedule=schedule if pipeline.schedule else "",
        names=", ".join(to_identifier(step.name) for step in pipeline.steps),
        scheduled="scheduled_run" if pipeline.schedule else "",
    )


def _render_asset(pipeline: Pipeline, step: PipelineStep, *, has_dates: bool) -> str:
    written = [dataset for other in pipeline.steps for dataset in other.spec.writes]
    read = sorted({dataset for dataset in written if any(fnmatchcase(dataset, pattern) for pattern in step.spec.reads)})
    deps = f", deps={format_literal([dataset.split('/') for dataset in read])}" if read else ""
    specs = [f"dg.AssetSpec({format_literal(dataset.split('/'))}{deps})," for dataset in step.spec.writes]
    options = {
        "image": step.image,
        "command": step.argv({}),
        "env": step.environment,
        "container_kwargs": _build_container_options(pipeline, step),
    }
    return ASSET.format(
        name=to_identifier(step.name),
        specs=indent("\n".join(specs), " " * 8),
        partitioned="\n    partitions_def=days," if has_dates else "",
        options=indent(format_arguments(options), "    "),
    )


def _build_container_options(pipeline: Pipeline, step: PipelineStep) -> dict[str, object]:
    """Return options of docker-py's containers.create."""
    return {
        "mem_limit": f"{step.spec.memory}m",
        "nano_cpus": int(step.cpus * 1e9),
        "read_only": True,
        "tmpfs": {"/tmp": f"size={step.spec.tmp_mib}m"},  # noqa: S108  the container's own
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "volumes": {source: {"bind": target, "mode": mode} for source, target, mode in docker.list_mounts(pipeline, step)},
        "log_config": {"type": "json-file", "config": docker.LOG_OPTIONS},
    }
