"""How the run of a task on ECS ends that could not say so itself: killed, out of memory, never started.

Prefect's worker hears of every task that stops. Of a run that is still under way by then it says that "containers stopped with a
non-zero exit code", whatever happened, and of a container that ended with 0 nothing at all, for ever. Here is what takes its place.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from jobkit import prefect_api

if TYPE_CHECKING:
    from collections.abc import Mapping

UNDER_WAY = frozenset({"PENDING", "RUNNING", "CANCELLING"})
RUN_TAG = "prefect.io/flow-run-id"
NOT_FOUND = 404
KILLED, OUT_OF_MEMORY, CANNOT_PULL = 137, "OutOfMemoryError", "CannotPullContainerError"


def install() -> None:
    """Have the worker in this process end runs our way."""
    from prefect_aws.observers import ecs  # noqa: PLC0415  seconds of imports, for this worker only

    handlers = ecs.ecs_observer.event_handlers["task"]
    handlers[:] = [entry for entry in handlers if entry.handler is not ecs.mark_runs_as_crashed]
    ecs.ecs_observer.on_event("task", tags={RUN_TAG: ecs.FilterCase.PRESENT}, statuses=["STOPPED"])(end)


def end(event: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """End the run of a task that has stopped, unless the run has ended, waits to be tried again, or is another task's by now.

    The event is EventBridge's "ECS Task State Change". Raises ApiError when the server cannot be asked: the event then comes again.
    """
    api, path = prefect_api.api(os.environ), f"/flow_runs/{tags[RUN_TAG]}"
    try:
        run = api.call("GET", path)
    except prefect_api.RejectedError as error:
        if error.status == NOT_FOUND:
            return  # of another server, or deleted
        raise
    task = str(event["detail"].get("taskArn", ""))
    if run["state"]["type"] not in UNDER_WAY or not str(run["infrastructure_pid"] or task).endswith(task):
        return
    cancelled = run["state"]["type"] == "CANCELLING"
    state = {"type": "CANCELLED" if cancelled else "CRASHED", "message": sentence(event["detail"])}
    api.call("POST", f"{path}/set_state", {"state": state, "force": False})


def sentence(task: Mapping[str, Any]) -> str:
    """Why a task stopped and what to do, in one sentence. `task` is a stopped task as ECS describes it."""
    containers = task.get("containers") or [{}]
    said = next((container["reason"] for container in containers if container.get("reason")), task.get("stoppedReason") or "")
    code = next((container["exitCode"] for container in containers if container.get("exitCode") is not None), None)
    return f"{_what(task, said, code)} (task {str(task.get('taskArn', '')).rpartition('/')[2]})"


def _what(task: Mapping[str, Any], said: str, code: int | None) -> str:
    if CANNOT_PULL in said:
        return f"its image cannot be pulled: {said}; see that infra/ has pushed it and that the repository still holds it"
    if OUT_OF_MEMORY in said:
        return f"it needed more memory than the {task.get('memory', '?')} MiB it has and was killed; raise `memory` in its pyproject.toml"
    if task.get("stopCode") == "SpotInterruption":
        return "its spare capacity was taken back; a new try starts on its own"
    of_code = {
        None: f"it never started: {said or 'ECS gives no reason'}",
        0: "it ended with exit code 0 without a word to Prefect, which counts as failed; look into its log",
        KILLED: f"it was killed (SIGKILL, exit code {KILLED}) and could not say how far it was; run it again to finish",
    }
    return of_code.get(code, f"it ended with exit code {code} before it could say why: {said or 'look into its log'}")
