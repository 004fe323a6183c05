"""Ask jobs to describe themselves: their options as JSON Schema, version and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobkit.errors import MisconfiguredError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobs.catalogue import JobSpec

PARALLEL_DESCRIBES = 2  # one takes a tenth of a second of one core
DESCRIBE_TIMEOUT_S = 300  # a tenth of a second is usual; a machine may be overloaded


def installed_commands(specs: Sequence[JobSpec]) -> dict[str, str]:
    """Return the path of each job's console command in this Python environment, by job name."""
    return {spec.name: str(Path(sys.executable).with_name(spec.name)) for spec in specs}


def describe_jobs(commands: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Run `describe` of each job and return the answers by job name. Raises MisconfiguredError with the job's own message."""
    with ThreadPoolExecutor(PARALLEL_DESCRIBES) as pool:
        return dict(zip(commands, pool.map(describe_job, commands, ([command] for command in commands.values())), strict=True))


def describe_from_source(spec: JobSpec) -> dict[str, Any]:
    """Run `describe` of a job that is not installed, from its source. Raises MisconfiguredError."""
    python_path = os.pathsep.join([str(spec.folder), str(spec.folder.parent / "jobkit")])
    return describe_job(spec.name, [sys.executable, "-m", spec.package], {**os.environ, "PYTHONPATH": python_path})


def describe_job(name: str, command: Sequence[str], environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run `describe` of one job. Raises MisconfiguredError, and TemporaryError if it takes too long."""
    try:
        process = subprocess.run(  # noqa: S603  our own command
            [*command, "describe"], env=environ, capture_output=True, text=True, check=True, timeout=DESCRIBE_TIMEOUT_S
        )
        description: dict[str, Any] = json.loads(process.stdout)
    except FileNotFoundError:
        raise MisconfiguredError(f"{name}: {command[0]} is not installed; run scripts/setup") from None
    except subprocess.CalledProcessError as error:
        raise MisconfiguredError(f"{name}: describe ended with {error.returncode}: {error.stderr.strip()[-500:]}") from None
    except subprocess.TimeoutExpired:
        raise TemporaryError(f"{name}: describe took more than {DESCRIBE_TIMEOUT_S} s: the machine is overloaded; run this again") from None
    except ValueError as error:
        raise MisconfiguredError(f"{name}: describe gave no JSON: {error}") from None
    return description
