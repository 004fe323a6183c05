"""Start a flow and follow its jobs through Prefect's API."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobkit.errors import MisconfiguredError
from jobkit.prefect_api import SERVER_OUTAGE_BUDGET_S, UnreachableError, deployment_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jobkit.prefect_api import Api
    from jobkit.receipt import Receipt

POLL_EVERY_S = 1.0  # each poll costs the server as much as several requests of a job
SERVER_TIMEOUT_S = 10.0
NOTICE_AFTER_S = 60.0  # how long the server may be silent before the reader is told
FINAL_STATES = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
STARTED_STATES = frozenset({"RUNNING", *FINAL_STATES})


@dataclass(frozen=True)
class FlowStep:
    """One run of one job in a flow: its name, the number of the attempt, Prefect's state, and the receipt once the job has left one."""

    run_id: str
    name: str
    attempt: int
    state: str
    message: str
    receipt: Receipt | None

    @property
    def is_final(self) -> bool:
        """Whether it has ended, in success or failure."""
        return self.state in FINAL_STATES


@dataclass(frozen=True)
class FlowResult:
    """The final state of a flow and its message."""

    state: str
    message: str


def check_server(api: Api, hint: str) -> None:
    """Raise MisconfiguredError, with a hint of what to do, if no Prefect server answers."""
    try:
        api.call("GET", "/admin/version", within_s=SERVER_TIMEOUT_S)
    except UnreachableError:
        raise MisconfiguredError(f"no Prefect server answers at {api.url.removesuffix('/api')}; {hint}") from None


def start_flow(api: Api, flow: str, pool: str, parameters: dict[str, Any]) -> str:
    """Start a run of a flow and return its id. Raises ApiError."""
    deployment = api.call("GET", f"/deployments/name/{deployment_path(flow, pool)}")
    return str(api.call("POST", f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})["id"])


def follow_flow(
    api: Api, run_id: str, check: Callable[[], None], on_silence: Callable[[UnreachableError], None] = lambda _: None
) -> Iterator[FlowStep | FlowResult]:
    """Yield each step when it starts and when it ends, and the flow's result last. `check` is called before each poll and may raise.

    The flow goes on while its server is silent: `on_silence` is called after each minute without an answer, and UnreachableError is raised
    after ten.
    """
    reported_final: dict[str, bool] = {}
    filters = {"flow_runs": {"operator": "or_", "id": {"any_": [run_id]}, "parent_flow_run_id": {"any_": [run_id]}}}
    query = {**filters, "sort": "EXPECTED_START_TIME_ASC"}
    last_answer_s = time.monotonic()
    while True:
        check()
        try:
            runs = api.call("POST", "/flow_runs/filter", query, within_s=NOTICE_AFTER_S)
        except UnreachableError as error:
            if time.monotonic() - last_answer_s > SERVER_OUTAGE_BUDGET_S:
                raise
            on_silence(error)
            continue
        last_answer_s = time.monotonic()
        for run in runs:
            state = run["state"]["type"]
            is_final = state in FINAL_STATES
            if run["id"] != run_id and state in STARTED_STATES and reported_final.get(run["id"]) != is_final:
                reported_final[run["id"]] = is_final
                yield _read_step(api, run)
        state = next(run["state"] for run in runs if run["id"] == run_id)
        if state["type"] in FINAL_STATES:
            yield FlowResult(state["type"], state["message"] or "")
            return
        time.sleep(POLL_EVERY_S)


def read_artifacts(api: Api, run_id: str, **filters: object) -> list[dict[str, Any]]:
    """Return the artifacts of a run that match the filters. Raises ApiError."""
    body = {"artifacts": {"flow_run_id": {"any_": [run_id]}, **filters}}
    return list(api.call("POST", "/artifacts/filter", body, within_s=SERVER_OUTAGE_BUDGET_S))


def _read_step(api: Api, run: dict[str, Any]) -> FlowStep:
    state, receipt = run["state"], None
    if state["type"] in FINAL_STATES:
        receipt = next((artifact["data"] for artifact in read_artifacts(api, run["id"], type={"any_": ["receipt"]})), None)
    name, _, attempt = run["name"].removesuffix(")").partition(" (try ")
    return FlowStep(run["id"], name, int(attempt or 1), state["type"], state["message"] or "", receipt)
