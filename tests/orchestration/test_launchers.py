"""Images of jobs under real schedulers: Dagster's PipesDockerClient and Airflow's DockerOperator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from images import docker_cli
from jobs.catalogue import REPOSITORY, catalogue
from orchestration.local import processes
from tests import environments
from tests.orchestration.emitted_definitions import emit_one

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAGSTER = ("dagster==1.13.27", "dagster-docker==0.29.27")
AIRFLOW = ("apache-airflow==3.3.2", "apache-airflow-providers-docker==4.6.1")
JOB = "extract-ecb-fx-rates"

pytestmark = pytest.mark.docker

IN_DAGSTER = """
import json, runpy, sys
import dagster as dg
from dagster_docker import PipesDockerClient

definitions, image, lake, vendors = sys.argv[1:]
run_container = runpy.run_path(definitions)["run_container"]

class Client(PipesDockerClient):
    def run(self, **options):
        done = super().run(**options)
        print(json.dumps({"receipt": done.get_custom_messages()[0]}))
        return done

@dg.asset(name="ecb_fx_rates", partitions_def=dg.DailyPartitionsDefinition("2012-12-03"))
def asset(context: dg.AssetExecutionContext, docker: PipesDockerClient):
    given = {"lake": "/lake", "base_url": vendors}
    kwargs = {"network_mode": "host", "volumes": [f"{lake}:/lake"], "read_only": True, "tmpfs": {"/tmp": ""}}
    yield from run_container(context, docker, image=image, command="run", extras=given, container_kwargs=kwargs)

def told(result):
    (event,) = result.get_asset_materialization_events()
    found = event.step_materialization_data.materialization
    return {"rows": found.metadata["rows"].value, "version": found.tags["dagster/data_version"]}

with dg.DagsterInstance.ephemeral() as instance:
    runs = [
        dg.materialize([asset], resources={"docker": Client()}, partition_key="2012-12-31", instance=instance) for _ in range(2)
    ]
    print(json.dumps([told(run) for run in runs]))
"""

IN_AIRFLOW = """
import json, sys
from airflow.providers.docker.operators.docker import DockerOperator

image, lake, vendors, *words = sys.argv[1:]
operator = DockerOperator(
    task_id="fx", image=image, command=["run", "--lake", "/lake", "--base-url", vendors, *words], network_mode="host",
    mounts=[{"Target": "/lake", "Source": lake, "Type": "bind"}], mount_tmp_dir=False, auto_remove="force", do_xcom_push=True,
    xcom_all=True,  # Docker may deliver a line of the log, which is stderr, after the receipt, which is stdout
)
print(json.dumps({"xcom": operator.execute({})}))
"""


@pytest.fixture(scope="module")
def image() -> str:
    return docker_cli.build_image(
        next(spec for spec in catalogue() if spec.name == JOB), docker_cli.BuildEnvironment.from_environ(os.environ)
    )


@pytest.fixture
def vendors(tmp_path: Path) -> Iterator[str]:
    command = [sys.executable, str(REPOSITORY / "verification" / "sample_vendors"), "--port", "0"]
    program = processes.start_program("sample vendors", command, tmp_path, {})
    program.wait_until(lambda: "\n" in program.log.read_text(encoding="utf-8"), 30)
    yield program.log.read_text(encoding="utf-8").split("\n")[0] + "/www.ecb.europa.eu"
    processes.stop_program(program)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    folder = tmp_path / "lake"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def ask(python: str, code: str, home: Path, *words: str) -> tuple[list[Any], str]:
    """Run a program; return the JSON lines that it prints, and all its output."""
    environ = {**os.environ, "AIRFLOW_HOME": str(home), "DAGSTER_HOME": "", "DAGSTER_DISABLE_TELEMETRY": "1", "PYTHONPATH": ""}
    done = subprocess.run([python, "-c", code, *words], cwd=home, env=environ, capture_output=True, text=True, check=False, timeout=300)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("{", "["))]
    return lines, done.stdout + done.stderr


def test_dagster_gets_the_receipt_and_a_data_version_that_depends_on_the_bytes_only(
    image: str, lake: Path, vendors: str, tmp_path: Path
) -> None:
    python = environments.python("dagster", *DAGSTER)
    definitions = tmp_path / "definitions.py"
    definitions.write_text(emit_one("dagster"))
    lines, said = ask(python, IN_DAGSTER, tmp_path, str(definitions), image, str(lake), vendors)
    receipts = [line["receipt"] for line in lines if "receipt" in line]
    assert [receipt["status"] for receipt in receipts] == ["done", "unchanged"], said[-3000:]
    assert receipts[0]["arguments"]["start"] == "2012-12-31"  # the partition's day
    first, second = lines[-1]
    assert first == second
    assert first["rows"] == receipts[0]["rows"] > 0
    assert docker_cli.docker("ps", "--all", "--quiet", "--filter", f"volume={lake}") == ""


def test_airflow_stores_the_receipt_as_xcom(image: str, lake: Path, vendors: str, tmp_path: Path) -> None:
    python = environments.python("airflow", *AIRFLOW)
    lines, said = ask(python, IN_AIRFLOW, tmp_path, image, str(lake), vendors, "--start", "2012-12-31", "--end", "2012-12-31")
    assert lines, said[-3000:]
    (receipt,) = [json.loads(line) for line in lines[-1]["xcom"] if line.startswith('{"job":')]
    assert receipt["status"] == "done"


def test_airflow_sees_a_failure_and_its_exit_code(image: str, lake: Path, tmp_path: Path) -> None:
    python = environments.python("airflow", *AIRFLOW)
    words = ["--start", "2012-12-31", "--end", "2012-12-31", "--retry-timeout", "0"]
    _, said = ask(python, IN_AIRFLOW, tmp_path, image, str(lake), "http://127.0.0.1:9/", *words)
    assert "'StatusCode': 75" in said
