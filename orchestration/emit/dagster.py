"""Definitions for Dagster with dagster-docker: an asset per dataset, and Dagster Pipes between the job and Dagster."""

from __future__ import annotations

from fnmatch import fnmatchcase
from textwrap import indent
from typing import TYPE_CHECKING

from orchestration.emit import docker
from orchestration.emit.pipeline import PAUSE_S, RETRIED, RETRIES
from orchestration.emit.python_source import arguments, identifier, literal

if TYPE_CHECKING:
    from orchestration.emit.pipeline import Chain, Step

TEMPLATE = '''\
"""{name}, for Dagster with dagster-docker: `dagster dev -f` this file.

{header}
"""

import dagster as dg
from dagster_docker import PipesDockerClient
from dagster_pipes import DagsterPipesError
{partitions}

def container(context, docker, **how):
    """Run a job; it reports by Dagster Pipes, and is tried again where its exit code says that this may help."""
    try:
        yield from docker.run(context=context, **how).get_results()
    except DagsterPipesError as error:
        if "'StatusCode': {retried}" in str(error):
            raise dg.RetryRequested(max_retries={retries}, seconds_to_wait={pause_s}) from error
        raise dg.Failure(str(error), allow_retries=False) from error


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
    yield from container(
        context,
        docker,{how}    )"""
SCHEDULE = """

@dg.schedule(job=job, cron_schedule={cron}, execution_timezone={timezone})
def on_time(context):
    return dg.RunRequest({key})

"""
DAY = 'partition_key=f"{context.scheduled_execution_time:%Y-%m-%d}"'  # the reporter makes it --start and --end


def emit(chain: Chain) -> str:
    """A Python module with definitions: assets, a job over all of them, and its schedule."""
    dated = any(step.dates for step in chain.steps)
    timezone = literal(chain.timezone)
    schedule = SCHEDULE.format(cron=literal(chain.schedule), timezone=timezone, key=DAY if dated else "")
    return TEMPLATE.format(
        name=chain.name,
        header=chain.header,
        partitions=PARTITIONS.format(timezone=timezone) if dated else "",
        retried=RETRIED,
        retries=RETRIES,
        pause_s=PAUSE_S,
        assets="\n\n\n".join(_asset(chain, step, dated=dated) for step in chain.steps),
        job=literal(f"{identifier(chain.name)}_job"),
        seconds=chain.limit_s,
        schedule=schedule if chain.schedule else "",
        names=", ".join(identifier(step.name) for step in chain.steps),
        scheduled="on_time" if chain.schedule else "",
    )


def _asset(chain: Chain, step: Step, *, dated: bool) -> str:
    written = [dataset for other in chain.steps for dataset in other.spec.writes]
    read = sorted({dataset for dataset in written if any(fnmatchcase(dataset, wanted) for wanted in step.spec.reads)})
    deps = f", deps={literal([dataset.split('/') for dataset in read])}" if read else ""
    specs = [f"dg.AssetSpec({literal(dataset.split('/'))}{deps})," for dataset in step.spec.writes]
    how = {
        "image": step.image,
        "command": step.words({}),
        "env": step.environment,
        "container_kwargs": _limits(chain, step),
    }
    return ASSET.format(
        name=identifier(step.name),
        specs=indent("\n".join(specs), " " * 8),
        partitioned="\n    partitions_def=days," if dated else "",
        how=indent(arguments(how), "    "),
    )


def _limits(chain: Chain, step: Step) -> dict[str, object]:
    """What docker-py's containers.create takes."""
    return {
        "mem_limit": f"{step.spec.memory}m",
        "nano_cpus": int(step.cpus * 1e9),
        "read_only": True,
        "tmpfs": {"/tmp": ""},  # noqa: S108  the container's own
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "volumes": {source: {"bind": target, "mode": mode} for source, target, mode in docker.mounts(chain, step)},
        "log_config": {"type": "json-file", "config": docker.LOG},
    }
