"""Run a job as a process: jobs are never imported, so that their dependencies are theirs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import click
from jobkit.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.receipt import Receipt


def run_job(job: str, options: Sequence[str], verb: str = "run") -> Receipt:
    """Run a job, whose progress and log go to our stderr, and return its receipt. Exit with its error and exit code if it fails."""
    command = [sys.executable, "-m", job.replace("-", "_"), verb, *(option.replace("{job}", job) for option in options)]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603  our own job
    receipt: Receipt | None = json.loads(process.stdout) if process.stdout.strip() else None
    if process.returncode < 0:
        click.echo(f"{job} was killed by signal {-process.returncode}; run this again, and it goes on", err=True)
        sys.exit(ExitCode.TEMPORARY)
    if process.returncode or receipt is None:
        click.echo(receipt["error"] if receipt else f"{job} left no receipt", err=True)
        sys.exit(process.returncode or ExitCode.BUG)
    return receipt
