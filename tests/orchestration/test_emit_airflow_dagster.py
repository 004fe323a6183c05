"""The definitions for Airflow and Dagster, loaded by the schedulers' own libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit.interruption import MARGIN_S

from tests import environments
from tests.orchestration.emitted_definitions import IMAGES, LIMITS, ORDER, after, checked
from tests.orchestration.test_launchers import AIRFLOW, DAGSTER

if TYPE_CHECKING:
    from pathlib import Path


IN_AIRFLOW = """
import json, sys
from datetime import datetime, timezone
from types import SimpleNamespace
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.docker.exceptions import DockerContainerFailedException
from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk.exceptions import AirflowFailException

bag = DagBag(sys.argv[1])
assert not bag.import_errors, bag.import_errors
(dag,) = bag.dags.values()
told = {}
for task in dag.tasks:
    task.render_template_fields({
        "dag": dag, "params": {"start": None, "end": "2024-01-05"},
        "dag_run": SimpleNamespace(run_after=datetime(2024, 1, 3, 3, tzinfo=timezone.utc)),
    })
    ended = {}
    for code in (75, 65):
        def fail(self, context):
            raise DockerContainerFailedException(f"Docker container failed: {{'StatusCode': {code}}}")
        DockerOperator.execute = fail
        try:
            task.execute({})
        except AirflowFailException:
            ended[code] = "fail"
        except DockerContainerFailedException:
            ended[code] = "retry"
    told[task.task_id] = {
        "command": task.command, "image": task.image, "after": sorted(task.upstream_task_ids), "ended": ended, "retries": task.retries,
        "seconds": task.execution_timeout.total_seconds(), "memory": task.mem_limit, "cpus": task.cpus,
    }
print(json.dumps({"schedule": str(dag.schedule), "timezone": str(dag.timezone), "tasks": told}))
"""


def test_airflow_loads_the_dag_and_retries_exit_code_75_only(emitted: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "finelt.py").write_text(emitted["airflow"])
    found = checked(environments.python("airflow", *AIRFLOW), IN_AIRFLOW, str(tmp_path / "dags"), cwd=tmp_path)
    tasks = found["tasks"]
    assert (found["schedule"], found["timezone"]) == ("30 20 * * 1-5", "America/New_York")
    assert {name: task["after"] for name, task in tasks.items()} == after()
    assert all(task["ended"] == {"75": "retry", "65": "fail"} and task["retries"] == 3 for task in tasks.values())
    fx = tasks["extract-ecb-fx-rates"]
    assert fx["command"][-4:] == ["--start", "2024-01-02", "--end", "2024-01-05"]  # 3:00 UTC is the previous day there
    assert (fx["image"], fx["seconds"], fx["memory"], fx["cpus"]) == (IMAGES["extract-ecb-fx-rates"], 900 + MARGIN_S, "512m", 0.25)


IN_DAGSTER = """
import json, runpy, sys
from datetime import datetime
from zoneinfo import ZoneInfo
import dagster as dg
from dagster_pipes import DagsterPipesError

module = runpy.run_path(sys.argv[1])
defs = module["defs"]
dg.Definitions.validate_loadable(defs)
graph = defs.resolve_asset_graph()
after = {key.to_user_string(): sorted(up.to_user_string() for up in graph.get(key).parent_keys) for key in graph.get_all_asset_keys()}
(schedule,) = [defs.resolve_schedule_def(entry.name) for entry in defs.schedules]
moment = datetime(2024, 1, 2, 20, 30, tzinfo=ZoneInfo("America/New_York"))
context = dg.build_schedule_context(scheduled_execution_time=moment, repository_def=defs.get_repository_def())
ticked = schedule.evaluate_tick(context)
ended, removed = {}, []
class Engine:
    def list(self, all, filters):
        self.name = filters["name"]
        return [self]
    def remove(self, force):
        removed.append(self.name)
engine = Engine()
engine.containers = engine
module["run_container"].__globals__["from_env"] = lambda: engine
for code in (75, 65):
    class Docker:
        def run(self, container_kwargs, **how):
            assert set(container_kwargs) == {"name"}
            raise DagsterPipesError(f"Container exited with non-zero status code: {{'StatusCode': {code}}}")
    try:
        list(module["run_container"](None, Docker(), container_kwargs={}))
    except dg.RetryRequested as error:
        ended[code] = error.max_retries
    except dg.Failure as error:
        ended[code] = error.allow_retries
print(json.dumps({
    "after": after, "key": ticked.run_requests[0].partition_key, "zone": schedule.execution_timezone, "ended": ended,
    "removed": removed,
    "most": defs.resolve_job_def("finelt_job").tags["dagster/max_runtime"],
}))
"""


def test_dagster_loads_the_definitions_retries_exit_code_75_only_and_removes_containers(emitted: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "definitions.py").write_text(emitted["dagster"])
    found = checked(environments.python("dagster", *DAGSTER), IN_DAGSTER, str(tmp_path / "definitions.py"), cwd=tmp_path)
    assert found["after"] == {
        "raw/ecb_fx_rates": [],
        "raw/ecb_fx_rates_daily": [],
        "raw/tiingo_prices": [],
        "warehouse/raw": ["raw/ecb_fx_rates", "raw/ecb_fx_rates_daily", "raw/tiingo_prices"],
        "warehouse/marts": ["warehouse/raw"],
        "site": ["warehouse/marts", "warehouse/raw"],
    }
    longest = [max(LIMITS[job] for job in ORDER[:2]), *(LIMITS[job] for job in ORDER[2:])]  # of the jobs that run concurrently
    assert (found["key"], found["zone"]) == ("2024-01-02", "America/New_York")
    assert int(found["most"]) == sum(4 * limit_s + 300 + 600 + 1200 for limit_s in longest)  # each with three pauses and retries
    assert found["ended"] == {"75": 3, "65": False}
    assert len(set(found["removed"])) == 2
