"""Run scripts/emit for a pipeline of five jobs, and read what it prints."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jobkit.interruption import MARGIN_S

from jobs.catalogue import catalogue
from orchestration.deployments import descriptions
from orchestration.emit import __main__ as emit_command
from orchestration.job_order import order_jobs

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


def run_process(*words: str, told: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command as a process."""
    command = [sys.executable, "-m", "orchestration.emit", *words]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environ, input=told, capture_output=True, text=True, check=False)


describe_job = descriptions.describe_job


@cache
def _described(name: str, *command: str) -> dict[str, Any]:
    return describe_job(name, command)


def run(*words: str, told: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command in this process, with the descriptions of jobs that it read before."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(descriptions, "describe_job", lambda name, command: _described(name, *command))
        patch.setattr("sys.argv", ["scripts/emit", *words])
        patch.setattr("sys.stdin", io.StringIO(told))
        patch.chdir(ROOT)
        with pytest.raises(SystemExit) as ended:
            emit_command.main()
    return subprocess.CompletedProcess(words, int(ended.value.code or 0), out.getvalue(), err.getvalue())


def emit(target: str, *words: str, jobs: tuple[str, ...] = JOBS) -> str:
    """Return the definition of a pipeline."""
    aws = target in ("batch", "stepfunctions")
    images = [word for job in jobs for word in ("--image", f"{job}={IMAGES[job]}")] if target != "stepfunctions" else []
    done = run("--target", target, *(("--stack", "-") if aws else ()), *images, *words, *jobs, told=json.dumps(STACK) if aws else "")
    assert done.returncode == 0, done.stderr
    return done.stdout


def emit_one(target: str, *words: str) -> str:
    """Return the definition of one job with its own schedule."""
    return emit(target, "--set", "lake=s3://example/lake", *words, jobs=("extract-ecb-fx-rates",))


def checked(python: str, code: str, *words: str, cwd: Path) -> Any:
    """Run Python code in another environment and return the JSON on its last line."""
    environ = {
        **os.environ,
        "PYTHONPATH": "",
        "AIRFLOW_HOME": str(cwd),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
        "DAGSTER_HOME": "",
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    done = subprocess.run([python, "-c", code, *words], cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def after() -> dict[str, list[str]]:
    """Return for each job the jobs that it waits for."""
    return {name: list(before) for name, before in order_jobs([spec for spec in catalogue() if spec.name in JOBS]).items()}


def crontab(text: str) -> tuple[dict[str, str], str, str]:
    """Return the variables, the schedule and the command, as cron reads them."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(len(line) < 1000 for line in lines)
    *variables, line = lines
    found = re.fullmatch(r"((?:\S+ ){5})(.*)", line)
    assert found
    assert "%" not in found[2]  # which cron would take for the end of the line
    return dict(variable.split("=", 1) for variable in variables), found[1].strip(), found[2]


FX = ("extract-ecb-fx-rates",)
IMAGE = ("--image", f"{FX[0]}={IMAGES[FX[0]]}")
