"""Emit a crontab with one line that runs the containers in sequence and retries each one after exit code 75."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from jobkit.errors import UsageError

from orchestration.emit import docker
from orchestration.emit.pipeline import MAX_RETRIES, RETRY_EXIT_CODE, RETRY_PAUSE_S

if TYPE_CHECKING:
    from orchestration.emit.pipeline import Pipeline, PipelineStep

MAX_LINE_LENGTH = 998  # of Debian's cron
TIMEZONE_NOTE = "# Only cronie reads CRON_TZ; other crons use the time zone of the machine."


def emit(pipeline: Pipeline) -> str:
    """Return lines for crontab. Raises UsageError without a schedule, or if a command is too long for cron."""
    if pipeline.schedule is None:
        raise UsageError("cron needs a schedule, and none of these jobs has one; add --schedule CRON, and --timezone ZONE unless it is UTC")
    jobs = {f"job_{number}": shlex.join(_build_command(pipeline, step)) for number, step in enumerate(pipeline.steps, 1)}
    if long := [step.name for step, command in zip(pipeline.steps, jobs.values(), strict=True) if len(command) > MAX_LINE_LENGTH]:
        raise UsageError(f"the command of {long[0]} is longer than a line of cron may be; choose another target")
    pauses = " ".join(str(RETRY_PAUSE_S * 2**number) for number in range(MAX_RETRIES))
    listed = " ".join(f'"${name}"' for name in jobs)
    once = f'sh -c "$job"; code=$?; [ $code -eq {RETRY_EXIT_CODE} ] && [ $pause != end ] || break; sleep $pause'
    line = f"for job in {listed}; do for pause in {pauses} end; do {once}; done; [ $code -eq 0 ] || exit $code; done"
    head = [*(f"# {text}" for text in pipeline.header.splitlines()), TIMEZONE_NOTE, "SHELL=/bin/sh", f"CRON_TZ={pipeline.timezone}"]
    return "\n".join([*head, *(f"{name}={command}" for name, command in jobs.items()), f"{pipeline.schedule} {line}", ""])


def _build_command(pipeline: Pipeline, step: PipelineStep) -> list[str]:
    """Return the command of a step. With --init, timeout's SIGTERM reaches the job."""
    options = {
        "--cpus": [f"{step.cpus:g}"],
        "--memory": [f"{step.spec.memory}m"],
        "--tmpfs": [f"/tmp:size={step.spec.tmp_mib}m"],  # noqa: S108  the container's own
        "--cap-drop": ["ALL"],
        "--security-opt": ["no-new-privileges"],
        "--volume": [":".join(mount) for mount in docker.list_mounts(pipeline, step)],
        "--env": [f"{name}={value}" for name, value in step.environment.items()],
    }
    docker_options = [word for name, values in options.items() for value in values for word in (name, value)]
    timeout = ["timeout", str(step.limit_s)]
    return [
        *timeout,
        "docker",
        "run",
        "--rm",
        "--init",
        "--read-only",
        *docker_options,
        str(step.image),
        *step.argv(step.date_placeholders),
    ]
