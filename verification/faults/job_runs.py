"""Run real jobs as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobkit.receipt import Receipt

TOKEN = "canary-5d1e8a-token"  # noqa: S105  the tests look for it in everything that a job writes
TIMEOUT_S = 300.0
STARTED = ("env",)  # a prefix for jobs that must be started, even where tests fork them, because command line or memory are looked at


@dataclass(frozen=True)
class JobResult:
    """How a job ended: its exit code (negative: the signal that killed it), its receipt, if there is one, and its output."""

    code: int
    receipt: Receipt | None
    stdout: str
    stderr: str


def to_argv(options: Mapping[str, Any]) -> list[str]:
    """Convert options to command line arguments. A list repeats its option."""
    pairs = ((name, item) for name, value in options.items() for item in (value if isinstance(value, list) else [value]))
    return [word for name, value in pairs for word in (f"--{name.replace('_', '-')}", str(value))]


def clean_environ(**more: str) -> dict[str, str]:
    """Return the environment of a process without this process's finelt and Prefect settings."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith(("FINELT_", "PREFECT_"))}, **more}


def start_process(command: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a process whose outputs are captured. Tests replace this by `tests.forks.ForkedJob`, which needs less time."""
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603


def start_job(job: str, options: Sequence[str], *, verb: str = "run", prefix: Sequence[str] = (), **environ: str) -> subprocess.Popen[str]:
    """Start a job as a process, without this process's finelt and Prefect settings.

    `prefix` precedes its command; see STARTED. `{job}` in an option is replaced by the job's name.
    """
    command = [*prefix, sys.executable, "-m", job.replace("-", "_"), verb, *(option.replace("{job}", job) for option in options)]
    environ = {**clean_environ(), "CANARY": TOKEN, **environ}
    if prefix:
        return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603
    return start_process(command, environ)


def wait_for_job(process: subprocess.Popen[str], timeout_s: float = TIMEOUT_S) -> JobResult:
    """Wait for a job to end. Kill it and raise TimeoutExpired if it takes too long."""
    with process:
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return JobResult(process.returncode, json.loads(stdout) if stdout.strip() else None, stdout, stderr)


def run_job(job: str, options: Sequence[str], *, verb: str = "run", **environ: str) -> JobResult:
    """Start a job and wait for it."""
    return wait_for_job(start_job(job, options, verb=verb, **environ))


def run_successfully(job: str, options: Sequence[str], **environ: str) -> JobResult:
    """Run a job that must succeed. Raises RuntimeError if it does not."""
    result = run_job(job, options, **environ)
    if result.code:
        raise RuntimeError(f"{job} ended with {result.code}: {result.receipt and result.receipt['error']} {result.stderr[-2000:]}")
    return result
