"""A DAG for Airflow 3 with the Docker provider: the receipt becomes the task's XCom."""

from __future__ import annotations

from datetime import timedelta
from textwrap import indent
from typing import TYPE_CHECKING

from orchestration.emit import docker
from orchestration.emit.pipeline import PAUSE_S, RETRIED, RETRIES
from orchestration.emit.python_source import arguments, identifier, literal

if TYPE_CHECKING:
    from orchestration.emit.pipeline import Chain, Step

# The day that the run is due, which a run started by hand may replace.
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
    """A container that is tried again where its exit code says that this may help ({retried}), and otherwise not."""

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


def emit(chain: Chain) -> str:
    """A Python module with one DAG."""
    names = sorted({name for step in chain.steps for name in step.dates}, reverse=True)
    params = ", ".join(f'"{name}": Param(None, type=["null", "string"], format="date")' for name in names)
    tasks = [f"{identifier(step.name)} = Job({arguments(_task(chain, step))})" for step in chain.steps]
    arrows = [f"[{', '.join(identifier(name) for name in step.after)}] >> {identifier(step.name)}" for step in chain.steps if step.after]
    return TEMPLATE.format(
        name=chain.name,
        header=chain.header,
        retried=RETRIED,
        dag_id=literal(chain.name),
        schedule=literal(chain.schedule),
        timezone=literal(chain.timezone),
        retries=RETRIES,
        pause_s=PAUSE_S,
        params=f"{{{params}}}",
        tasks=indent("\n".join([*tasks, *arrows]), "    "),
    )


def _task(chain: Chain, step: Step) -> dict[str, object]:
    mounts = [
        {"Type": "bind", "Source": source, "Target": target, "ReadOnly": mode == "ro"}
        for source, target, mode in docker.mounts(chain, step)
    ]
    return {
        "task_id": step.name,
        "image": step.image,
        "command": step.words({name: DAY.format(name=name) for name in step.dates}),
        "environment": step.environment,
        "cpus": step.cpus,
        "mem_limit": f"{step.spec.memory}m",
        "execution_timeout": timedelta(seconds=step.limit_s),
        "mounts": mounts,
        "mount_tmp_dir": False,
        "auto_remove": "force",
        "log_opts_max_size": docker.LOG["max-size"],
        "log_opts_max_file": docker.LOG["max-file"],
    }
