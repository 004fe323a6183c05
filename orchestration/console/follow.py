"""Starts a flow and follows its jobs, from outside Prefect."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jobkit.prefect_api import Api

LOOK_EVERY_S = 0.25
FINAL = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
STARTED = frozenset({"RUNNING", *FINAL})


@dataclass(frozen=True)
class Step:
    """One run of one job in a flow: its name, which try it is, Prefect's state, and the job's receipt once it has left one."""

    run_id: str
    name: str
    attempt: int
    state: str
    message: str
    receipt: dict[str, Any] | None

    @property
    def ended(self) -> bool:
        """Whether it came to an end, good or bad."""
        return self.state in FINAL


@dataclass(frozen=True)
class Ending:
    """How a flow ended."""

    state: str
    message: str


def start(api: Api, flow: str, pool: str, parameters: dict[str, Any]) -> str:
    """The id of a new run of a flow."""
    deployment = api.call("GET", f"/deployments/name/{flow}/{pool}")
    return str(api.call("POST", f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})["id"])


def follow(api: Api, run_id: str, check: Callable[[], None]) -> Iterator[Step | Ending]:
    """Each step when it starts and when it ends, and the flow's ending last. `check` is called in between and may raise."""
    told: dict[str, bool] = {}
    wanted = {"flow_runs": {"operator": "or_", "id": {"any_": [run_id]}, "parent_flow_run_id": {"any_": [run_id]}}}
    while True:
        check()
        runs = api.call("POST", "/flow_runs/filter", {**wanted, "sort": "EXPECTED_START_TIME_ASC"})
        for run in runs:
            state = run["state"]["type"]
            if run["id"] != run_id and state in STARTED and told.get(run["id"]) != (state in FINAL):
                told[run["id"]] = state in FINAL
                yield _step(api, run)
        state = next(run["state"] for run in runs if run["id"] == run_id)
        if state["type"] in FINAL:
            yield Ending(state["type"], state["message"] or "")
            return
        time.sleep(LOOK_EVERY_S)


def _step(api: Api, run: dict[str, Any]) -> Step:
    state, receipt = run["state"], None
    if state["type"] in FINAL:
        wanted = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}, "type": {"any_": ["receipt"]}}}
        receipt = next((artifact["data"] for artifact in api.call("POST", "/artifacts/filter", wanted)), None)
    name, _, attempt = run["name"].removesuffix(")").partition(" (try ")
    return Step(run["id"], name, int(attempt or 1), state["type"], state["message"] or "", receipt)
