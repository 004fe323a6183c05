"""Emit a DAG for Airflow 3 with the Docker provider.

The last line of the container becomes the task's XCom: the receipt, unless Docker delivers a line of the log after it. Set `xcom_all` to
get all lines, and take the one that begins with `{"job":`.
"""

from __future__ import annotations

from datetime import timedelta
from textwrap import indent
from typing import TYPE_CHECKING

from orchestration.emit import docker
from orchestration.emit.pipeline import MAX_RETRIES, RETRY_EXIT_CODE, RETRY_PAUSE_S
from orchestration.emit.python_source import format_arguments, format_literal, to_identifier

if TYPE_CHECKING:
    from orchestration.emit.pipeline import Pipeline, PipelineStep

# The date on which the run is due; a manual run may set another one.
DAY = "{{{{ params.{name} or dag_run.run_after.astimezone(dag.timezone).date() }}}}"
TEMPLATE = '''\
"""{name}, for the folder dags of Airflow 3 with apache-airflow-providers-docker.

{header}
"""

from datetime import timedelta

import pendulum
from airflow.providers.docker.exceptions import DockerContainerFailedException
from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk import DAG, Param
from airflow.sdk.exceptions import AirflowFailException


class Job(DockerOperator):
    """A container that Airflow retries after exit code {retried} only."""

    def execute(self, context):
        try:
            return super().execute(context)
        except DockerContainerFailedException as error:
            if "'StatusCode': {retried}" in str(error):
                raise
            raise AirflowFailException(str(error)) from error


with DAG(
    dag_id={dag_id},
    schedule={schedule},
    start_date=pendulum.datetime(2026, 1, 1, tz={timezone}),
    catchup=False,
    max_active_runs=1,
    default_args={{"retries": {retries}, "retry_delay": timedelta(seconds={pause_s})}},
    params={params},
):
{tasks}
'''


def emit(pipeline: Pipeline) -> str:
    """Return a Python module with one DAG."""
    names = sorted({name for step in pipeline.steps for name in step.dates}, reverse=True)
    params = ", ".join(f'"{name}": Param(None, type=["null", "string"], format="date")' for name in names)
    tasks = [f"{to_identifier(step.name)} = Job({format_arguments(_task(pipeline, step))})" for step in pipeline.steps]
    arrows = [
        f"[{', '.join(to_identifier(name) for name in step.after)}] >> {to_identifier(step.name)}" for step in pipeline.steps if step.after
    ]
    return TEMPLATE.format(
        name=pipeline.name,
        header=pipeline.header,
        retried=RETRY_EXIT_CODE,
        dag_id=format_literal(pipeline.name),
        schedule=format_literal(pipeline.schedule),
        timezone=format_literal(pipeline.timezone),
        retries=MAX_RETRIES,
        pause_s=RETRY_PAUSE_S,
        params=f"{{{params}}}",
        tasks=indent("\n".join([*tasks, *arrows]), "    "),
    )


def _task(pipeline: Pipeline, step: PipelineStep) -> dict[str, object]:
    mounts = [
        {"Type": "bind", "Source": source, "Target": target, "ReadOnly": mode == "ro"}
        for source, target, mode in docker.list_mounts(pipeline, step)
    ]
    return {
        "task_id": step.name,
        "image": step.image,
        "command": step.argv({name: DAY.format(name=name) for name in step.dates}),
        "environment": step.environment,
        "cpus": step.cpus,
        "mem_limit": f"{step.spec.memory}m",
        "execution_timeout": timedelta(seconds=step.limit_s),
        "mounts": mounts,
        "mount_tmp_dir": False,
        "auto_remove": "force",
        "log_opts_max_size": docker.LOG_OPTIONS["max-size"],
        "log_opts_max_file": docker.LOG_OPTIONS["max-file"],
    }
