"""A crontab: one line that starts the containers one after the other, and each again where its exit code says that this may help."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from jobkit.errors import UsageError

from orchestration.emit import docker
from orchestration.emit.pipeline import PAUSE_S, RETRIED, RETRIES

if TYPE_CHECKING:
    from orchestration.emit.pipeline import Chain, Step

LONGEST = 998  # Debian's cron takes no longer line
ZONE = "# CRON_TZ is cronie's; other crons go by the machine's own time zone."


def emit(chain: Chain) -> str:
    """Lines for crontab. Raises UsageError without a schedule, and where a command would be too long for cron."""
    if chain.schedule is None:
        raise UsageError("cron needs a schedule, and none of these jobs has one; add --schedule CRON, and --timezone ZONE where not UTC")
    jobs = {f"job_{number}": shlex.join(_command(chain, step)) for number, step in enumerate(chain.steps, 1)}
    if long := [step.name for step, command in zip(chain.steps, jobs.values(), strict=True) if len(command) > LONGEST]:
        raise UsageError(f"the command of {long[0]} is longer than a line of cron may be; choose another target")
    pauses = " ".join(str(PAUSE_S * 2**number) for number in range(RETRIES))
    listed = " ".join(f'"${name}"' for name in jobs)
    once = f'sh -c "$job"; code=$?; [ $code -eq {RETRIED} ] && [ $pause != end ] || break; sleep $pause'
    line = f"for job in {listed}; do for pause in {pauses} end; do {once}; done; [ $code -eq 0 ] || exit $code; done"
    head = [*(f"# {text}" for text in chain.header.splitlines()), ZONE, "SHELL=/bin/sh", f"CRON_TZ={chain.timezone}"]
    return "\n".join([*head, *(f"{name}={command}" for name, command in jobs.items()), f"{chain.schedule} {line}", ""])


def _command(chain: Chain, step: Step) -> list[str]:
    """How a step is started. --init: timeout's SIGTERM gets through."""
    options = {
        "--cpus": [f"{step.cpus:g}"],
        "--memory": [f"{step.spec.memory}m"],
        "--tmpfs": ["/tmp"],  # noqa: S108  the container's own
        "--cap-drop": ["ALL"],
        "--security-opt": ["no-new-privileges"],
        "--volume": [":".join(mount) for mount in docker.mounts(chain, step)],
        "--env": [f"{name}={value}" for name, value in step.environment.items()],
    }
    given = [word for name, values in options.items() for value in values for word in (name, value)]
    limited = ["timeout", str(step.limit_s)]
    return [*limited, "docker", "run", "--rm", "--init", "--read-only", *given, str(step.image), *step.words(step.today)]
