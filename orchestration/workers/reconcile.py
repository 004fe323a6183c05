"""Find runs whose process, container or machine is gone, by their missing heartbeat, and end them.

A job and a flow send a heartbeat event every 30 s. Silence alone proves nothing: the server may have been down, or may not store events at
the moment. So each check first sends an event of its own and reads it back, and a run is ended only if it is still silent at a second
check, after an interval in which a live run would have sent a heartbeat.

Prefect's server itself ends a run that stays in CANCELLING, and its worker then stops what is left of it.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from jobkit.errors import ExitCode, TemporaryError
from jobkit.interruption import MARGIN_S
from jobkit.prefect_api import ApiError, build_event

from orchestration.deployments.model import TAG
from orchestration.deployments.paging import PAGE_SIZE, read_all
from orchestration.polling import wait_until

if TYPE_CHECKING:
    import logging
    from collections.abc import Collection, Sequence

    from jobkit.prefect_api import Api

HEARTBEAT_EVENT = "prefect.flow-run.heartbeat"
PROBE_EVENT = "finelt.reconcile.probe"
EVERY_S = 300.0
SILENT_S, PENDING_S, CONFIRM_S = 180.0, 900.0, 45.0  # a live run sends a heartbeat every 30 s
EVENT_TIMEOUT_S, POLL_EVERY_S = 30.0, 0.5
MAX_IDS = 50  # in one filter
GONE = "no heartbeat since {since:%Y-%m-%d %H:%M:%S} UTC: its process, container or machine is gone; run it again to finish"
NEVER_STARTED = "taken by a worker at {since:%Y-%m-%d %H:%M:%S} UTC and never started: its worker or its container is gone; run it again"
DONE = "done, as its receipt says; its process ended before it could report this state"
OVERDUE = "running since {since:%Y-%m-%d %H:%M:%S} UTC, past its deadline by more than {margin_s} s; run it again to continue"
ORPHAN = "not started: the flow that requested it has ended"


@dataclass(frozen=True)
class Run:
    """A flow run as it was read. `since` is when it entered its state.

    `is_overdue`: it is past its deadline; `is_done`: its receipt says that the job did its work.
    """

    run_id: str
    name: str
    state_id: str
    state: str
    since: datetime
    is_overdue: bool = False
    is_done: bool = False

    @property
    def final_state(self) -> tuple[str, str]:
        """The state in which it is put if it is gone or overdue, and the message that says why."""
        if self.is_overdue:
            return "CANCELLING", OVERDUE.format(since=self.since, margin_s=MARGIN_S)  # Prefect's server then ends it as CANCELLED
        if self.state == "SCHEDULED":
            return "CANCELLED", ORPHAN
        if self.is_done:
            return "COMPLETED", DONE
        return "CRASHED", (NEVER_STARTED if self.state == "PENDING" else GONE).format(since=self.since)


def check_event_delivery(api: Api, *, timeout_s: float = EVENT_TIMEOUT_S) -> None:
    """Send an event and read it back. Raises TemporaryError if it does not arrive: then silence means nothing."""
    name = f"finelt.reconcile.{uuid.uuid4()}"
    resource = {"prefect.resource.id": name, "prefect.resource.name": "reconcile"}
    sent_at = datetime.now(UTC)
    api.call("POST", "/events", [build_event(PROBE_EVENT, resource, [], {})])
    since = sent_at - timedelta(minutes=1)
    if not wait_until(lambda: bool(_heard_since(api, [name], PROBE_EVENT, since)), timeout_s=timeout_s, poll_every_s=POLL_EVERY_S):
        raise TemporaryError(f"{api.url} accepts events but does not show them, so a missing heartbeat proves nothing; no run was ended")


def find_silent(api: Api, *, silent_s: float, pending_s: float) -> list[Run]:
    """Return our runs without a heartbeat for `silent_s`, and pending runs that have not started for `pending_s`."""
    now = datetime.now(UTC)
    limits = {"PENDING": pending_s, "RUNNING": silent_s}
    old = [run for run in map(_parse_run, _list_runs(api, list(limits))) if (now - run.since).total_seconds() > limits[run.state]]
    resources = [f"prefect.flow-run.{run.run_id}" for run in old]
    heard = _heard_since(api, resources, HEARTBEAT_EVENT, now - timedelta(seconds=silent_s))
    silent = [run for run, resource in zip(old, resources, strict=True) if resource not in heard]
    done = _list_done(api, [run.run_id for run in silent])
    return [replace(run, is_done=run.run_id in done) for run in silent]


def find_orphans(api: Api) -> list[Run]:
    """Return runs that wait to start for a flow that has ended."""
    runs = _list_runs(api, ["SCHEDULED"], parent_task_run_id={"is_null_": False})
    waiting = {run["parent_task_run_id"]: run for run in runs}
    ended = {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}}
    parents: list[dict[str, Any]] = []
    for ids in _split(list(waiting)):
        parents += api.call("POST", "/task_runs/filter", {"task_runs": {"id": {"any_": ids}}, "flow_runs": ended, "limit": PAGE_SIZE})
    return [_parse_run(waiting[parent["id"]]) for parent in parents]


def find_overdue(api: Api) -> list[Run]:
    """Return runs of jobs that are past their deadline and the margin that schedulers allow, even if they still send heartbeats."""
    runs = _list_runs(api, ["RUNNING"])
    deadlines: dict[str, int] = {}
    for ids in _split(list({run["deployment_id"] for run in runs if run["deployment_id"]})):
        for deployment in api.call("POST", "/deployments/filter", {"deployments": {"id": {"any_": ids}}, "limit": PAGE_SIZE}):
            option = (deployment["parameter_openapi_schema"] or {}).get("properties", {}).get("deadline", {})  # a flow has none
            deadlines |= {deployment["id"]: option["default"]} if "default" in option else {}
    now = datetime.now(UTC)
    overdue = []
    for run in runs:
        deadline_s = run["parameters"].get("deadline") or deadlines.get(run["deployment_id"])
        if deadline_s and (now - _parse_run(run).since).total_seconds() > float(deadline_s) + MARGIN_S:
            overdue.append(replace(_parse_run(run), is_overdue=True))
    return overdue


def finalise_run(api: Api, run: Run) -> bool:
    """Put a run in its final state. Return False if it has left the state in which it was read, or the server refuses."""
    present_state = api.call("GET", f"/flow_runs/{run.run_id}")["state"]
    if present_state["id"] != run.state_id:
        return False
    state, message = run.final_state
    answer = api.call("POST", f"/flow_runs/{run.run_id}/set_state", {"state": {"type": state, "message": message}, "force": False})
    return bool(answer["status"] == "ACCEPT")


def reconcile_runs(api: Api, *, silent_s: float, pending_s: float, confirm_s: float, event_timeout_s: float = EVENT_TIMEOUT_S) -> list[Run]:
    """End runs that are silent now and still silent in the same state `confirm_s` later, overdue runs and orphans; return all of them.

    Raises TemporaryError if the server does not show events.
    """
    check_event_delivery(api, timeout_s=event_timeout_s)
    suspects = find_silent(api, silent_s=silent_s, pending_s=pending_s)
    if suspects:
        time.sleep(confirm_s)
        check_event_delivery(api, timeout_s=event_timeout_s)
        still_silent = find_silent(api, silent_s=silent_s, pending_s=pending_s)
        suspects = [run for run in suspects if run in still_silent]
    return [run for run in [*suspects, *find_overdue(api), *find_orphans(api)] if finalise_run(api, run)]


def start_thread(api: Api, logger: logging.Logger, *, every_s: float = EVERY_S) -> threading.Thread:
    """Check the runs every `every_s` seconds as long as this process lives. Several workers may do so at once: a run is ended once."""

    def check() -> None:
        while True:
            time.sleep(every_s)
            try:
                ended = reconcile_runs(api, silent_s=SILENT_S, pending_s=PENDING_S, confirm_s=CONFIRM_S)
                publish_table(api, ended)
            except (TemporaryError, ApiError) as error:
                logger.warning("runs that are gone were not looked for: %s; this is tried again in %s s", error, every_s)
            else:
                for run in ended:
                    logger.warning("%s (%s) is now %s: %s", run.name, run.run_id, *run.final_state)

    thread = threading.Thread(target=check, name="reconcile", daemon=True)
    thread.start()
    return thread


def publish_table(api: Api, ended: Sequence[Run]) -> None:
    """Publish a table of the runs that were ended, if there are any."""
    if not ended:
        return
    table = [{"run": run.name, "was": run.state, "is": run.final_state[0], "why": run.final_state[1], "id": run.run_id} for run in ended]
    artifact = {"key": "reconcile", "type": "table", "data": json.dumps(table), "description": f"{len(table)} runs ended"}
    api.call("POST", "/artifacts/", artifact)


def _list_runs(api: Api, states: Sequence[str], **filters: object) -> list[dict[str, Any]]:
    """Return the runs of our deployments in these states."""
    body = {"flow_runs": {"state": {"type": {"any_": states}}, **filters}, "deployments": {"tags": {"all_": [TAG]}}, "sort": "ID_DESC"}
    return read_all(api, "/flow_runs/filter", body)


def _parse_run(entry: dict[str, Any]) -> Run:
    state = entry["state"]
    return Run(entry["id"], entry["name"], state["id"], state["type"], datetime.fromisoformat(state["timestamp"]))


def _heard_since(api: Api, resources: Collection[str], event: str, since: datetime) -> set[str]:
    """Return those of the resources that sent an event since then."""
    heard: set[str] = set()
    for ids in _split(list(resources)):
        body = {"occurred": {"since": since.isoformat()}, "event": {"name": [event]}, "resource": {"id": ids}}
        heard |= {count["value"] for count in api.call("POST", "/events/count-by/resource", {"filter": body})}
    return heard


def _list_done(api: Api, run_ids: list[str]) -> set[str]:
    """Return those of the runs that have left the receipt of a job that did its work."""
    done: set[str] = set()
    for ids in _split(run_ids):
        filters = {"artifacts": {"flow_run_id": {"any_": ids}, "type": {"any_": ["receipt"]}}}
        receipts = read_all(api, "/artifacts/filter", {**filters, "sort": "ID_DESC"})
        done |= {receipt["flow_run_id"] for receipt in receipts if receipt["data"]["exit_code"] == ExitCode.DONE}
    return done


def _split(names: list[str]) -> list[list[str]]:
    return [names[begin : begin + MAX_IDS] for begin in range(0, len(names), MAX_IDS)]
