"""Runs that nobody works on any more: found by their silence, looked at twice, and ended.

A job and a flow say that they live every 30 s, by an event. Silence alone proves nothing: the server may have been away, or may not
take events just now. So a look first sends an event of its own and wants to see it, and a run is ended only when it stays silent for
another while in which any living one would have spoken.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from jobkit.errors import TemporaryError
from jobkit.interruption import MARGIN_S

from orchestration.deployments.model import TAG
from orchestration.deployments.paging import PAGE_SIZE, read_all

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from jobkit.prefect_api import Api

HEARTBEAT = "prefect.flow-run.heartbeat"
LOOK = "finelt.reconcile.look"
SEEN_WITHIN_S, LOOK_EVERY_S = 30.0, 0.5
IDS = 50
GONE = "no sign of life since {since:%Y-%m-%d %H:%M:%S} UTC: its process, container or machine is gone; run it again to finish"
NEVER_STARTED = "taken by a worker at {since:%Y-%m-%d %H:%M:%S} UTC and never started: its worker or its container is gone; run it again"
STOPPED = "cancelled; what ran it was gone before it could say so"
OVERDUE = "running since {since:%Y-%m-%d %H:%M:%S} UTC, longer than its deadline and {margin_s} s more; run it again to go on"
ORPHAN = "not started: the flow that wanted it has ended"


@dataclass(frozen=True)
class Run:
    """A flow run in the state in which it was seen. `since` is when it came into that state; `overdue`: it should have given up by now."""

    run_id: str
    name: str
    state_id: str
    state: str
    since: datetime
    overdue: bool = False

    @property
    def ending(self) -> tuple[str, str]:
        """The state into which it is put when nobody works on it, or has for too long, and the sentence that says why."""
        if self.overdue:
            return "CANCELLING", OVERDUE.format(since=self.since, margin_s=MARGIN_S)  # its worker ends it, and it is CANCELLED then
        if self.state == "CANCELLING":
            return "CANCELLED", STOPPED
        if self.state == "SCHEDULED":
            return "CANCELLED", ORPHAN
        return "CRASHED", (NEVER_STARTED if self.state == "PENDING" else GONE).format(since=self.since)


def prove_events(api: Api) -> None:
    """Nothing, once an event that we send now can be read. Raises TemporaryError when it does not arrive: then silence means nothing."""
    name = f"finelt.reconcile.{uuid.uuid4()}"
    resource = {"prefect.resource.id": name, "prefect.resource.name": "reconcile"}
    began = datetime.now(UTC)
    event = {"id": str(uuid.uuid4()), "event": LOOK, "occurred": began.isoformat(), "resource": resource, "related": [], "payload": {}}
    api.call("POST", "/events", [event])
    while not _speaking(api, [name], LOOK, began - timedelta(minutes=1)):
        if datetime.now(UTC) - began > timedelta(seconds=SEEN_WITHIN_S):
            raise TemporaryError(f"{api.url} takes events but does not show them, so silence says nothing; nothing was ended")
        time.sleep(LOOK_EVERY_S)


def silent(api: Api, *, silent_s: float, pending_s: float) -> list[Run]:
    """Runs of our deployments that are under way and have not been heard of for `silent_s`; those not started yet, for `pending_s`."""
    now = datetime.now(UTC)
    patience = {"PENDING": pending_s, "RUNNING": silent_s, "CANCELLING": silent_s}
    old = [run for run in map(_run, _found(api, list(patience))) if (now - run.since).total_seconds() > patience[run.state]]
    speaking = _speaking(api, [f"prefect.flow-run.{run.run_id}" for run in old], HEARTBEAT, now - timedelta(seconds=silent_s))
    return [run for run in old if f"prefect.flow-run.{run.run_id}" not in speaking]


def orphans(api: Api) -> list[Run]:
    """Runs that wait to start for a flow that has ended."""
    found = _found(api, ["SCHEDULED"], parent_task_run_id={"is_null_": False})
    waiting = {run["parent_task_run_id"]: run for run in found}
    ended = {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}}
    parents: list[dict[str, Any]] = []
    for ids in _chunks(list(waiting)):
        parents += api.call("POST", "/task_runs/filter", {"task_runs": {"id": {"any_": ids}}, "flow_runs": ended, "limit": PAGE_SIZE})
    return [_run(waiting[parent["id"]]) for parent in parents]


def overdue(api: Api) -> list[Run]:
    """Runs of jobs that go on past their deadline and the margin that a scheduler allows, though they may still say that they live."""
    found = _found(api, ["RUNNING"])
    deadlines: dict[str, int] = {}
    for ids in _chunks(list({run["deployment_id"] for run in found if run["deployment_id"]})):
        for deployment in api.call("POST", "/deployments/filter", {"deployments": {"id": {"any_": ids}}, "limit": PAGE_SIZE}):
            option = (deployment["parameter_openapi_schema"] or {}).get("properties", {}).get("deadline", {})  # a flow has none
            deadlines |= {deployment["id"]: option["default"]} if "default" in option else {}
    now = datetime.now(UTC)
    late = []
    for run in found:
        deadline_s = run["parameters"].get("deadline") or deadlines.get(run["deployment_id"])
        if deadline_s and (now - _run(run).since).total_seconds() > float(deadline_s) + MARGIN_S:
            late.append(replace(_run(run), overdue=True))
    return late


def end(api: Api, run: Run) -> bool:
    """Whether the run was still in the state in which it was seen, and is ended now, or is being ended."""
    found = api.call("GET", f"/flow_runs/{run.run_id}")["state"]
    if found["id"] != run.state_id:
        return False
    state, message = run.ending
    answer = api.call("POST", f"/flow_runs/{run.run_id}/set_state", {"state": {"type": state, "message": message}, "force": False})
    return bool(answer["status"] == "ACCEPT")


def reconciled(api: Api, *, silent_s: float, pending_s: float, confirm_s: float) -> list[Run]:
    """The runs that were ended: silent at a first look, and still silent and in the same state `confirm_s` later; overdue ones; orphans."""
    prove_events(api)
    suspects = silent(api, silent_s=silent_s, pending_s=pending_s)
    if suspects:
        time.sleep(confirm_s)
        prove_events(api)
        still = silent(api, silent_s=silent_s, pending_s=pending_s)
        suspects = [run for run in suspects if run in still]
    return [run for run in [*suspects, *overdue(api), *orphans(api)] if end(api, run)]


def show(api: Api, ended: Sequence[Run], flow_run_id: str) -> None:
    """Leave a table of what was ended, if anything was."""
    if not ended:
        return
    table = [{"run": run.name, "was": run.state, "is": run.ending[0], "why": run.ending[1], "id": run.run_id} for run in ended]
    artifact = {"key": "reconcile", "type": "table", "data": json.dumps(table), "description": f"{len(table)} runs ended"}
    api.call("POST", "/artifacts/", {**artifact, "flow_run_id": flow_run_id})


def _found(api: Api, states: Sequence[str], **more: object) -> list[dict[str, Any]]:
    """Runs of our deployments in these states."""
    body = {"flow_runs": {"state": {"type": {"any_": states}}, **more}, "deployments": {"tags": {"all_": [TAG]}}, "sort": "ID_DESC"}
    return read_all(api, "/flow_runs/filter", body)


def _run(found: dict[str, Any]) -> Run:
    state = found["state"]
    return Run(found["id"], found["name"], state["id"], state["type"], datetime.fromisoformat(state["timestamp"]))


def _speaking(api: Api, resources: Collection[str], event: str, since: datetime) -> set[str]:
    """Those of the resources of which there was an event since."""
    heard: set[str] = set()
    for ids in _chunks(list(resources)):
        wanted = {"occurred": {"since": since.isoformat()}, "event": {"name": [event]}, "resource": {"id": ids}}
        heard |= {count["value"] for count in api.call("POST", "/events/count-by/resource", {"filter": wanted})}
    return heard


def _chunks(names: list[str]) -> list[list[str]]:
    return [names[begin : begin + IDS] for begin in range(0, len(names), IDS)]
