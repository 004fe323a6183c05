"""End the runs of ECS tasks that could not report their end: killed, out of memory, never started.

Prefect's worker receives an event for every task that stops. If the run has not ended by then, Prefect's own handler reports that
"containers stopped with a non-zero exit code", whatever happened, and leaves the run open if the container ended with 0. This module
replaces that handler.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from jobkit import prefect_api

if TYPE_CHECKING:
    from collections.abc import Mapping

UNFINISHED_STATES = frozenset({"PENDING", "RUNNING", "CANCELLING"})
RUN_TAG = "prefect.io/flow-run-id"
NOT_FOUND = 404
SIGKILLED, OUT_OF_MEMORY, CANNOT_PULL = 137, "OutOfMemoryError", "CannotPullContainerError"


def install() -> None:
    """Replace Prefect's handler of stopped tasks in this worker process."""
    from prefect_aws.observers import ecs  # noqa: PLC0415  seconds of imports, for this worker only

    handlers = ecs.ecs_observer.event_handlers["task"]
    handlers[:] = [entry for entry in handlers if entry.handler is not ecs.mark_runs_as_crashed]
    ecs.ecs_observer.on_event("task", tags={RUN_TAG: ecs.FilterCase.PRESENT}, statuses=["STOPPED"])(end_run)


def end_run(event: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """End the run of a stopped task, unless the run has ended, waits for a retry, or belongs to another task by now.

    The event is EventBridge's "ECS Task State Change". Raises ApiError if the server cannot be reached; the event is then redelivered.
    """
    api, path = prefect_api.api(os.environ), f"/flow_runs/{tags[RUN_TAG]}"
    try:
        run = api.call("GET", path)
    except prefect_api.RejectedError as error:
        if error.status == NOT_FOUND:
            return  # the run belongs to another server, or was deleted
        raise
    task = str(event["detail"].get("taskArn", ""))
    if run["state"]["type"] not in UNFINISHED_STATES or not str(run["infrastructure_pid"] or task).endswith(task):
        return
    cancelled = run["state"]["type"] == "CANCELLING"
    state = {"type": "CANCELLED" if cancelled else "CRASHED", "message": describe_stop(event["detail"])}
    api.call("POST", f"{path}/set_state", {"state": state, "force": False})


def describe_stop(task: Mapping[str, Any]) -> str:
    """Return in one sentence why a task stopped and what to do. `task` is a stopped task in the form of ECS DescribeTasks."""
    containers = task.get("containers") or [{}]
    reason = next((container["reason"] for container in containers if container.get("reason")), task.get("stoppedReason") or "")
    code = next((container["exitCode"] for container in containers if container.get("exitCode") is not None), None)
    return f"{_describe_cause(task, reason, code)} (task {str(task.get('taskArn', '')).rpartition('/')[2]})"


def _describe_cause(task: Mapping[str, Any], reason: str, code: int | None) -> str:
    if CANNOT_PULL in reason:
        return f"its image cannot be pulled: {reason}; check that infra/ has pushed it and that the repository still has it"
    if OUT_OF_MEMORY in reason:
        return f"it needed more memory than the {task.get('memory', '?')} MiB it has and was killed; raise `memory` in its pyproject.toml"
    if task.get("stopCode") == "SpotInterruption":
        return "its Spot capacity was reclaimed; the flow retries it"
    causes = {
        None: f"it never started: {reason or 'ECS gives no reason'}",
        0: "it ended with exit code 0 but reported nothing to Prefect, which counts as failed; read its log",
        SIGKILLED: f"it was killed (SIGKILL, exit code {SIGKILLED}) before it could report; run it again to finish",
    }
    return causes.get(code, f"it ended with exit code {code} before it could report: {reason or 'read its log'}")
