"""scripts/emit: each definition is one that its scheduler takes, by the scheduler's own reader or schema, and keeps our promises."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.validate import ParamValidator
from cronsim import CronSim
from jobkit.interruption import MARGIN_S

from jobs.catalogue import catalogue
from orchestration.compose import command as compose_command
from orchestration.emit.pipeline import order_jobs
from tests import environments
from tests.orchestration.test_launchers import AIRFLOW, DAGSTER

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "5" * 64
JOBS = ("publish-marts", "extract-ecb-fx-rates", "transform-warehouse", "extract-tiingo-prices", "load-warehouse")
ORDER = ("extract-ecb-fx-rates", "extract-tiingo-prices", "load-warehouse", "transform-warehouse", "publish-marts")
IMAGES = {job: f"registry.example/finelt/{job}@{DIGEST}" for job in JOBS}
WAREHOUSE = "postgresql://finelt@warehouse.example:5432/finelt"
VALUES = ("--set", "tickers=AAPL", "--set", "tickers=IBM", "--set", f"warehouse={WAREHOUSE}", "--set", "lake=s3://example/lake")
MORE = ("--set", "site=s3://example/site", "--schedule", "30 20 * * 1-5", "--timezone", "America/New_York")
LIMITS = {spec.name: spec.deadline_s + MARGIN_S for spec in catalogue()}
CONTAINERS = ("airflow", "dagster", "argo", "k8s-cronjob", "compose", "cron")
ARN = "arn:aws:ecs:eu-central-1:123456789012:task-definition/finelt-dev-{}:7"
STACK = {
    "tasks": {job: ARN.format(job) for job in JOBS},
    "pool": {"cluster": "finelt-dev", "subnets": ["subnet-1"], "security_groups": ["sg-1"], "capacity_provider": "FARGATE_SPOT"},
    "parameters": {
        "lake": "s3://finelt-dev-lake/lake",
        "warehouse_password": "secretsmanager://finelt-dev/warehouse/password",
        "extract-tiingo-prices": {"token": "secretsmanager://finelt-dev/extract-tiingo-prices/token"},
    },
    "warehouse": {"host": "warehouse.example", "secret": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:x"},
}


def run(*words: str, told: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestration.emit", *words]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environ, input=told, capture_output=True, text=True, check=False)


def emit(target: str, *words: str, jobs: tuple[str, ...] = JOBS) -> str:
    """The definition of a chain, or the test fails with what was said."""
    aws = target in ("batch", "stepfunctions")
    images = [word for job in jobs for word in ("--image", f"{job}={IMAGES[job]}")] if target != "stepfunctions" else []
    done = run("--target", target, *(("--stack", "-") if aws else ()), *images, *words, *jobs, told=json.dumps(STACK) if aws else "")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def emitted() -> dict[str, str]:
    """The whole chain for every target."""
    return {target: emit(target, *VALUES, *MORE) for target in (*CONTAINERS, "batch", "stepfunctions")}


def one(target: str, *words: str) -> str:
    """One job, with its own schedule."""
    return emit(target, "--set", "lake=s3://example/lake", *words, jobs=("extract-ecb-fx-rates",))


def checked(python: str, code: str, *words: str, cwd: Path) -> Any:
    """The JSON on the last line that a program in another environment prints."""
    environ = {
        **os.environ,
        "PYTHONPATH": "",
        "AIRFLOW_HOME": str(cwd),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
        "DAGSTER_HOME": "",
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    done = subprocess.run([python, "-c", code, *words], cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


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


def test_airflow_loads_the_dag_and_retries_75_alone(emitted: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "finelt.py").write_text(emitted["airflow"])
    found = checked(environments.python("airflow", *AIRFLOW), IN_AIRFLOW, str(tmp_path / "dags"), cwd=tmp_path)
    tasks = found["tasks"]
    assert (found["schedule"], found["timezone"]) == ("30 20 * * 1-5", "America/New_York")
    assert {name: task["after"] for name, task in tasks.items()} == after()
    assert all(task["ended"] == {"75": "retry", "65": "fail"} and task["retries"] == 3 for task in tasks.values())
    fx = tasks["extract-ecb-fx-rates"]
    assert fx["command"][-4:] == ["--start", "2024-01-02", "--end", "2024-01-05"]  # three in the morning in UTC is the day before there
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
ended = {}
for code in (75, 65):
    class Docker:
        def run(self, **how):
            raise DagsterPipesError(f"Container exited with non-zero status code: {{'StatusCode': {code}}}")
    try:
        list(module["container"](None, Docker()))
    except dg.RetryRequested as error:
        ended[code] = error.max_retries
    except dg.Failure as error:
        ended[code] = error.allow_retries
print(json.dumps({
    "after": after, "key": ticked.run_requests[0].partition_key, "zone": schedule.execution_timezone, "ended": ended,
    "most": defs.resolve_job_def("finelt_job").tags["dagster/max_runtime"],
}))
"""


def test_dagster_loads_the_definitions_and_retries_75_alone(emitted: dict[str, str], tmp_path: Path) -> None:
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
    longest = [max(LIMITS[job] for job in ORDER[:2]), *(LIMITS[job] for job in ORDER[2:])]  # of the jobs that run side by side
    assert (found["key"], found["zone"]) == ("2024-01-02", "America/New_York")
    assert int(found["most"]) == sum(4 * limit_s + 300 + 600 + 1200 for limit_s in longest)  # each with three pauses and retries
    assert found["ended"] == {"75": 3, "65": False}


def test_kubernetes_takes_the_cronjob_and_tries_75_alone_again(emitted: dict[str, str], tmp_path: Path) -> None:
    python = environments.python("kubernetes", "kubernetes-validate==1.37.0")
    for name, text in (("chain", emitted["k8s-cronjob"]), ("one", one("k8s-cronjob"))):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        done = subprocess.run(
            [Path(python).with_name("kubernetes-validate"), "--strict", path], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    job = yaml.safe_load(emitted["k8s-cronjob"])["spec"]["jobTemplate"]["spec"]
    (rule,) = (rule["onExitCodes"] for rule in job["podFailurePolicy"]["rules"] if rule["action"] == "FailJob")
    assert rule == {"operator": "NotIn", "values": [75]}
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert tuple(container["name"] for container in (*pod["initContainers"], *pod["containers"])) == ORDER
    fx = yaml.safe_load(one("k8s-cronjob"))["spec"]
    assert (fx["schedule"], fx["timeZone"]) == ("30 16 * * 1-5", "Europe/Berlin")


IN_ARGO = """
import json, sys, yaml
from hera.workflows import models

document = yaml.safe_load(open(sys.argv[1]))
again = getattr(models, document["kind"]).model_validate(document).model_dump(by_alias=True, exclude_none=True, mode="json")

def same(ours, theirs, where="") :
    if isinstance(ours, dict):
        for key, value in ours.items():
            assert key in theirs, f"Argo does not know {where}.{key}"
            same(value, theirs[key], f"{where}.{key}")
    elif isinstance(ours, list):
        for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            same(a, b, f"{where}[{number}]")
    else:
        assert str(ours) == str(theirs), f"{where}: {ours!r} became {theirs!r}"

same(document, again)
print(json.dumps(document["kind"]))
"""


def test_argo_takes_the_workflow_and_tries_75_alone_again(emitted: dict[str, str], tmp_path: Path) -> None:
    python = environments.python("argo", "hera==7.1.0", "pyyaml==6.0.3")
    unscheduled = emit("argo", "--set", "lake=s3://example/lake", "--set", f"warehouse={WAREHOUSE}", jobs=("load-warehouse",))
    for text, kind in ((emitted["argo"], "CronWorkflow"), (unscheduled, "WorkflowTemplate")):
        path = tmp_path / "workflow.yaml"
        path.write_text(text)
        assert checked(python, IN_ARGO, str(path), cwd=tmp_path) == kind
    templates = {template["name"]: template for template in yaml.safe_load(emitted["argo"])["spec"]["workflowSpec"]["templates"]}
    graph = {task["name"]: sorted(task.get("dependencies", [])) for task in templates.pop("all")["dag"]["tasks"]}
    assert graph == after()
    assert {template["retryStrategy"]["expression"] for template in templates.values()} == {"asInt(lastRetry.exitCode) == 75"}


def test_step_functions_takes_the_state_machine_and_retries_75_alone(emitted: dict[str, str], tmp_path: Path) -> None:
    python = environments.python("statelint", "statelint[jsonata]==3.1.0")
    path = tmp_path / "machine.json"
    path.write_text(emitted["stepfunctions"])
    done = subprocess.run([Path(python).with_name("statelint"), path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    machine = json.loads(emitted["stepfunctions"])
    states, names, name = machine["States"], [], machine["StartAt"]
    while name:
        names.append(name)
        name = states[name].get("Next")
    assert names == ["side-by-side-1", *ORDER[2:]]
    load = states["load-warehouse"]
    assert load["Retry"] == [{"ErrorEquals": ["Exit75"], "IntervalSeconds": 300, "BackoffRate": 2.0, "MaxAttempts": 3}]
    assert load["Arguments"]["TaskDefinition"] == STACK["tasks"]["load-warehouse"]
    (container,) = load["Arguments"]["Overrides"]["ContainerOverrides"]
    assert {"Name": "FINELT_TASK_TOKEN", "Value": "{% $states.context.Task.Token %}"} in container["Environment"]


def test_batch_takes_the_job_definitions_and_retries_75_alone(emitted: dict[str, str]) -> None:
    client = boto3.client("batch", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    shape = client.meta.service_model.operation_model("RegisterJobDefinition").input_shape
    definitions = [json.loads(line) for line in emitted["batch"].splitlines()]
    for definition in definitions:
        report = ParamValidator().validate(definition, shape)
        assert not report.has_errors(), report.generate_report()
        rules = definition["retryStrategy"]["evaluateOnExit"]
        assert rules == [{"onExitCode": "75", "action": "RETRY"}, {"onReason": "*", "action": "EXIT"}]
        job = definition["jobDefinitionName"].removeprefix("finelt-dev-")
        assert definition["timeout"] == {"attemptDurationSeconds": LIMITS[job]}
    assert tuple(definition["jobDefinitionName"].removeprefix("finelt-dev-") for definition in definitions) == ORDER
    fx = definitions[0]
    assert fx["containerProperties"]["command"][-4:] == ["--start", "Ref::start", "--end", "Ref::end"]
    assert fx["parameters"] == {"start": "today", "end": "today"}
    assert fx["containerProperties"]["jobRoleArn"] == "arn:aws:iam::123456789012:role/finelt-dev-extract-ecb-fx-rates"


@pytest.mark.docker
def test_docker_compose_takes_the_file(emitted: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "docker-compose.yml"
    path.write_text(emitted["compose"])
    done = subprocess.run([*compose_command.program(), "--file", path, "config"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert {name: sorted(service.get("depends_on", {})) for name, service in services.items()} == after()
    assert {service["restart"] for service in services.values()} == {"no"}


def crontab(text: str) -> tuple[dict[str, str], str, str]:
    """The variables, the schedule and the command, as cron reads them."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(len(line) < 1000 for line in lines)
    *variables, line = lines
    found = re.fullmatch(r"((?:\S+ ){5})(.*)", line)
    assert found
    assert "%" not in found[2]  # which cron would take for the end of the line
    return dict(variable.split("=", 1) for variable in variables), found[1].strip(), found[2]


def test_cron_takes_the_line_and_it_is_due_when_the_catalogue_says() -> None:
    variables, schedule, _ = crontab(one("cron"))
    assert (variables["CRON_TZ"], schedule) == ("Europe/Berlin", "30 16 * * 1-5")
    assert next(CronSim(schedule, datetime(2024, 1, 5, 17, tzinfo=UTC))) == datetime(2024, 1, 8, 16, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("codes", "ended", "started"),
    [
        ({}, 0, list(ORDER)),
        ({"extract-ecb-fx-rates": "75 75 0"}, 0, [*ORDER[:1] * 3, *ORDER[1:]]),
        ({"load-warehouse": "65"}, 65, list(ORDER[:3])),
        ({"load-warehouse": "75 75 75 75"}, 75, [*ORDER[:2], *ORDER[2:3] * 4]),
    ],
)
def test_a_line_of_cron_starts_one_after_the_other_and_tries_75_alone_again(
    emitted: dict[str, str], tmp_path: Path, codes: dict[str, str], ended: int, started: list[str]
) -> None:
    variables, _, command = crontab(emitted["cron"])
    programs = tmp_path / "bin"
    programs.mkdir()
    for job, told in codes.items():
        (tmp_path / job).write_text(told.replace(" ", "\n") + "\n")
    (programs / "docker").write_text(
        f"""#!/bin/sh
job=$(echo "$*" | sed 's|.* registry.example/finelt/\\([a-z-]*\\)@.*|\\1|')
echo "$job" >> {tmp_path}/started
[ -f "{tmp_path}/$job" ] || exit 0
code=$(head -1 "{tmp_path}/$job"); sed -i 1d "{tmp_path}/$job"; exit "$code"
"""
    )
    (programs / "sleep").write_text("#!/bin/sh\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    environ = {**variables, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(["/bin/sh", "-c", command], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == ended, done.stderr
    assert (tmp_path / "started").read_text().split() == started


def after() -> dict[str, list[str]]:
    """Each job with those it waits for."""
    return {name: list(before) for name, before in order_jobs([spec for spec in catalogue() if spec.name in JOBS]).items()}


def test_the_order_is_that_of_the_data() -> None:
    assert after() == {
        "extract-ecb-fx-rates": [],
        "extract-tiingo-prices": [],
        "load-warehouse": ["extract-ecb-fx-rates", "extract-tiingo-prices"],
        "transform-warehouse": ["load-warehouse"],
        "publish-marts": ["transform-warehouse"],
    }


def test_every_definition_names_images_by_digest_and_secrets_by_reference(emitted: dict[str, str]) -> None:
    for target, text in emitted.items():
        if target != "stepfunctions":
            assert all(image in text for image in IMAGES.values()), target
        where = "secretsmanager://finelt-dev/" if target in ("batch", "stepfunctions") else "file:///run/secrets/"
        assert f"{where}warehouse/password" in text, target
        assert f"{where}extract-tiingo-prices/token" in text, target
    ast.parse(emitted["airflow"])


def test_a_folder_of_the_machine_is_there_in_the_container_too() -> None:
    for target in ("airflow", "dagster", "compose", "cron"):
        text = emit(target, "--set", "lake=/srv/lake", jobs=("extract-ecb-fx-rates",))
        assert re.search(r"/srv/lake:/srv/lake|\"Source\": \"/srv/lake\"|\"/srv/lake\": {\"bind\": \"/srv/lake\"", text), target


FX = ("extract-ecb-fx-rates",)
IMAGE = ("--image", f"{FX[0]}={IMAGES[FX[0]]}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", "cron", "--set", "lake=/l", *FX), "has no image"),
        (("--target", "cron", "--set", "lake=/l", "--image", f"{FX[0]}=r.example/x:1", *FX), "--allow-tag"),
        (("--target", "cron", *IMAGE, *FX), "needs a value for lake"),
        (("--target", "cron", "--set", "lake=l", *IMAGE, *FX), "absolute path"),
        (("--target", "cron", "--set", "colour=blue", *IMAGE, *FX), "'colour'"),
        (("--target", "k8s-cronjob", "--set", "lake=/l", *IMAGE, *FX), "is a path on one machine"),
        (("--target", "batch", "--set", "lake=s3://l", *IMAGE, *FX), "--stack"),
        (("--target", "cron", "extract-nothing"), "there is no job"),
        (("--target", "cron", "--set", "lake=/l", "--schedule", "daily", *IMAGE, *FX), "--schedule 'daily' is not cron"),
        (("--target", "dagster", "--set", "lake=/l", "--schedule", "", *IMAGE, *FX), "--schedule '' is not cron"),
        (("--target", "k8s-cronjob", "--set", "lake=s3://l", "--schedule", "0 6 * * 7", *IMAGE, *FX), "write 0"),
        (("--target", "airflow", "--set", "lake=/l", "--timezone", "Mars/Base", *IMAGE, *FX), "--timezone 'Mars/Base' is in no time zone"),
        (("--target", "argo", "--set", "lake=s3://l", "--name", "My Flow", *IMAGE, *FX), "--name 'My Flow' is not valid"),
        (("--target", "cron", "--set", "lake=/l", "--secrets", "secrets", *IMAGE, *FX), "absolute path"),
        (("--target", "cron", "--set", "lake=/l", "--set", "start=1.2.2024", *IMAGE, *FX), "start=1.2.2024 is not valid"),
        (("--target", "cron", "--set", "lake=/l", "--set", "lookback_days=many", *IMAGE, *FX), "lookback_days=many is not valid"),
        (("--target", "cron", "--set", "lake=/l", "--set", "file=hourly", *IMAGE, *FX), "file=hourly is not valid"),
        (("--target", "cron", "--set", "lake=/l", "--set", "deadline=0", *IMAGE, *FX), "deadline=0 is not valid"),
        (
            ("--target", "cron", "--allow-tag", *VALUES, "--image", "load-warehouse=x", "load-warehouse"),
            "needs a schedule",
        ),
        (
            ("--target", "cron", "--allow-tag", *VALUES, *IMAGE, "--image", "extract-tiingo-prices=x", *FX, "extract-tiingo-prices"),
            "different schedules",
        ),
    ],
)
def test_an_error_is_one_sentence_that_says_what_to_do(words: tuple[str, ...], message: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["lake=s3://AKIA:{}@bucket", "base_url=https://h/?api_key={}", "extract-ecb-fx-rates.lake=//u:{}@h/x"])
def test_a_credential_in_a_url_is_refused_and_not_repeated(name: str) -> None:
    done = run("--target", "cron", "--set", "lake=/l", *IMAGE, "--set", name.format("canary-7f3a9c"), *FX)
    assert done.returncode == 2
    assert "a password or a key" in done.stderr
    assert "canary" not in done.stdout + done.stderr


def test_a_scheduler_lets_a_job_speak_first_that_passes_its_deadline(emitted: dict[str, str]) -> None:
    """Every limit is the job's own deadline and a margin; another deadline of the job moves it."""
    variables, _, _ = crontab(emitted["cron"])
    assert [variables[f"job_{number}"].split()[:2] for number in range(1, 6)] == [["timeout", str(LIMITS[job])] for job in ORDER]
    templates = {one["name"]: one for one in yaml.safe_load(emitted["argo"])["spec"]["workflowSpec"]["templates"]}
    assert {job: templates[job]["activeDeadlineSeconds"] for job in ORDER} == {job: str(LIMITS[job]) for job in ORDER}
    states = json.loads(emitted["stepfunctions"])["States"]
    assert states["load-warehouse"]["TimeoutSeconds"] == LIMITS["load-warehouse"]
    whole = yaml.safe_load(emitted["k8s-cronjob"])["spec"]["jobTemplate"]["spec"]
    assert whole["activeDeadlineSeconds"] == 4 * sum(LIMITS[job] for job in ORDER)
    assert yaml.safe_load(emitted["argo"])["spec"]["workflowSpec"]["activeDeadlineSeconds"] > 4 * max(LIMITS.values())
    text = emit("cron", "--set", "lake=/l", "--set", "deadline=60", jobs=FX)
    assert crontab(text)[0]["job_1"].split()[1] == str(60 + MARGIN_S)


def test_a_secret_given_outright_is_refused_and_not_repeated() -> None:
    words = ("--set", "token=canary-7f3a9c", "--image", f"extract-tiingo-prices={IMAGES['extract-tiingo-prices']}")
    done = run("--target", "cron", *VALUES, *words, "extract-tiingo-prices")
    assert done.returncode == 2
    assert "by reference" in done.stderr
    assert "canary" not in done.stdout + done.stderr


def test_a_tag_is_taken_where_it_is_asked_for_and_images_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "images.json").write_text(json.dumps({FX[0]: "r.example/x:1"}))
    words = ("--target", "cron", "--set", "lake=/l", "--images", str(tmp_path / "images.json"), *FX)
    assert run(*words).returncode == 2
    assert " r.example/x:1 run " in run("--allow-tag", *words).stdout
