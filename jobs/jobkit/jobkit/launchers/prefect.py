"""Report a flow run to a Prefect server (3.x, REST) without Prefect's library.

The rules follow the server's measured behaviour. It accepts RUNNING to RUNNING, so a run is started from PENDING or SCHEDULED only. It
accepts CANCELLED to COMPLETED, so the state is read before the final one is proposed. A proposal has succeeded when the state in the
response has the proposed type, whatever the response's status says.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobkit import errors, logs, redaction
from jobkit.errors import ExitCode
from jobkit.prefect_api import Api, ApiError, RejectedError, build_event

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from jobkit.receipt import Partition, Receipt

POLL_S = 1.5  # cancellation is seen within two seconds
HEARTBEAT_S = 30.0
PROGRESS_AFTER_S = 5.0
START_WITHIN_S = FINAL_WITHIN_S = 120.0  # a server that restarts is back by then
STOP_WITHIN_S = 5.0  # of the ten seconds that a stopped job has
BATCH, MAX_BUFFERED = 200, 20_000  # log records in one call, and buffered while the server is unreachable
MAX_TEXT_CHARS = 50_000  # of a message
TABLE_ROWS = 200


class Prefect:
    """The launcher of a flow run. A daemon thread reports while the job works; the main thread reports its start and end."""

    def __init__(self, server: Api, flow_run_id: str, *, poll_s: float = POLL_S, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._api, self._id = server, flow_run_id
        self._poll_s, self._heartbeat_s = poll_s, heartbeat_s
        self._run: dict[str, Any] | None = None
        self._read_error: ApiError | None = None
        self._records: list[dict[str, Any]] = []
        self._progress: tuple[float, str] | None = None
        self._progress_id: str | None = None
        self._buffering, self._sending = threading.Lock(), threading.Lock()
        self._ending, self._is_cancelled = threading.Event(), False
        self._started_s = self._last_heartbeat_s = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="prefect-reporter", daemon=True)

    def claim(self) -> bool:
        """Set the run from PENDING or SCHEDULED to RUNNING; return whether this process may do the job.

        Also True when the server does not respond. Where the run was never read, options() then ends the job with an error; where it
        was, the job works whether or not it can report.
        """
        try:
            if not self._start():
                return False
        except ApiError as error:
            self._read_error = error
        self._thread.start()
        return True

    def options(self) -> dict[str, object]:
        """Return the flow run's parameters that have a value. Raises TemporaryError or MisconfiguredError if they were not read."""
        if self._run is None:
            if isinstance(self._read_error, RejectedError):
                hint = "see PREFECT_API_URL, its credentials and the run's id"
                raise errors.MisconfiguredError(f"Prefect refused to return this flow run: {self._read_error}; {hint}")
            raise errors.TemporaryError(f"Prefect did not return this flow run: {self._read_error}; try again later")
        return {name: value for name, value in self._run["parameters"].items() if value is not None}

    def log(self, record: logging.LogRecord) -> None:
        """Buffer a record for the next batch."""
        values = "".join(f" {name}={value}" for name, value in logs.fields(record).items())
        entry = {
            "name": record.name,
            "level": record.levelno,
            "message": redaction.redact(record.getMessage() + values)[:MAX_TEXT_CHARS],
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "flow_run_id": self._id,
        }
        with self._buffering:
            if len(self._records) < MAX_BUFFERED:
                self._records.append(entry)

    def report_progress(self, done: int, total: int, text: str) -> None:
        """Buffer the latest progress; a job that ends within seconds shows none."""
        self._progress = (round(100 * done / max(total, 1), 1), f"{done}/{total} {text}".strip())

    def report_end(self, receipt: Receipt, exit_code: int, summary: str) -> None:
        """Post the remaining logs, the receipt, and then the final state: a reader of that state looks for the receipt.

        Waits for a server that is unreachable before it posts the first of them.
        """
        stopped = exit_code in (ExitCode.STOPPED, ExitCode.INTERRUPTED)
        deadline = time.monotonic() + (STOP_WITHIN_S if stopped else FINAL_WITHIN_S)
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(1.0)
        proposed = "COMPLETED" if exit_code == 0 else "CRASHED" if stopped else "FAILED"
        with contextlib.suppress(ApiError):
            self._read(_remaining_s(deadline))
            for step in (
                self._send_logs,
                lambda: self._send_receipt(receipt, summary, deadline),
                lambda: self._send_materializations(receipt, deadline),
            ):
                with contextlib.suppress(ApiError):
                    step()
            self._end(proposed, summary, deadline)

    def _start(self) -> bool:
        state = self._read(START_WITHIN_S)["state"]["type"]
        while state in ("PENDING", "SCHEDULED"):
            response = self._propose("RUNNING", None, START_WITHIN_S)
            if response["status"] == "WAIT":
                state = self._wait(float(response["details"]["delay_seconds"]))
                continue
            state = response["state"]["type"]
            if state == "RUNNING":
                return True
            if state != "CANCELLING":
                return False
        if state == "CANCELLING":
            self._propose("CANCELLED", "cancelled before it started", START_WITHIN_S)
        return False

    def _wait(self, delay_s: float) -> str:
        """Wait until `delay_s` is over or the run is cancelled; return the run's state."""
        until = time.monotonic() + delay_s
        while (remaining_s := until - time.monotonic()) > 0:
            time.sleep(min(remaining_s, self._poll_s))
            state = str(self._read(START_WITHIN_S)["state"]["type"])
            if state not in ("PENDING", "SCHEDULED"):
                return state
        return "SCHEDULED"

    def _call(self, method: str, path: str, body: object = None, *, within_s: float) -> Any:  # noqa: ANN401  JSON
        """Call the server with a redacted body; every report goes through here."""
        return self._api.call(method, path, redaction.clean(body), within_s=within_s)

    def _read(self, within_s: float) -> dict[str, Any]:
        self._run = run = self._call("GET", f"/flow_runs/{self._id}", within_s=within_s)
        return dict(run)

    def _propose(self, state: str, message: str | None, within_s: float) -> dict[str, Any]:
        """Propose a state; return the response. All tries have one transition id, so a lost response causes no second transition."""
        proposal = {"type": state, "message": message, "state_details": {"transition_id": str(uuid.uuid4())}}
        body = {"state": proposal, "force": False}
        response = self._call("POST", f"/flow_runs/{self._id}/set_state", body, within_s=within_s)
        response["state"] = response["state"] or {"type": None}
        return dict(response)

    def _end(self, proposed: str, summary: str, deadline: float) -> None:
        """Propose the final state. A run that is being cancelled ends as CANCELLED."""
        state = self._read(_remaining_s(deadline))["state"]["type"]
        for _ in range(2):
            if state in ("CANCELLED", proposed):
                return
            final = "CANCELLED" if state == "CANCELLING" else proposed
            state = self._propose(final, redaction.redact(summary)[:MAX_TEXT_CHARS], _remaining_s(deadline))["state"]["type"]
            if state != "CANCELLING":
                return

    def _watch(self) -> None:
        while not self._ending.wait(self._poll_s):
            for step in (self._check_cancelled, self._send_logs, self._send_progress, self._send_heartbeat):
                with contextlib.suppress(ApiError):
                    step()

    def _check_cancelled(self) -> None:
        """Send this process SIGTERM, once, when the run is being cancelled."""
        state = self._read(self._poll_s)["state"]["type"]
        if state in ("CANCELLING", "CANCELLED") and not self._is_cancelled:
            self._is_cancelled = True
            os.kill(os.getpid(), signal.SIGTERM)

    def _send_logs(self) -> None:
        """Post the buffered records, batch by batch; a batch that failed stays in the buffer."""
        with self._sending:
            while batch := self._records[:BATCH]:
                with contextlib.suppress(RejectedError):  # the server will never accept these records; it may accept the next
                    self._call("POST", "/logs/", batch, within_s=self._poll_s)
                with self._buffering:
                    del self._records[: len(batch)]

    def _send_progress(self) -> None:
        if self._progress is None or time.monotonic() - self._started_s < PROGRESS_AFTER_S:
            return
        (percent, text), self._progress = self._progress, None
        body: dict[str, Any] = {"data": percent, "description": text}
        if self._progress_id:
            self._call("PATCH", f"/artifacts/{self._progress_id}", body, within_s=self._poll_s)
            return
        body |= {"type": "progress", "flow_run_id": self._id}
        self._progress_id = self._call("POST", "/artifacts/", body, within_s=self._poll_s)["id"]

    def _send_heartbeat(self) -> None:
        """Post a heartbeat event; an automation on the server treats a run without heartbeats as crashed."""
        if self._run is None or time.monotonic() - self._last_heartbeat_s < self._heartbeat_s:
            return
        self._last_heartbeat_s = time.monotonic()
        resource = {"prefect.resource.id": f"prefect.flow-run.{self._id}", "prefect.resource.name": self._run["name"]}
        event = build_event("prefect.flow-run.heartbeat", resource, _list_related(self._run), {})
        self._call("POST", "/events", [event], within_s=self._poll_s)

    def _send_materializations(self, receipt: Receipt, deadline: float) -> None:
        """Post an event for each dataset of which partitions were committed, as Prefect's own assets do."""
        committed: dict[str, list[Partition]] = {}
        for partition in receipt["partitions"]:
            if partition["outcome"] == "committed":
                committed.setdefault(partition["dataset"], []).append(partition)
        run = {"prefect.resource.id": f"prefect.flow-run.{self._id}", "prefect.resource.role": "flow-run"}
        events = [
            build_event(
                "prefect.asset.materialization.succeeded",
                {"prefect.resource.id": f"finelt://{dataset}", "prefect.resource.name": dataset},
                [run, *_list_related(self._run or {})],
                {"job": receipt["job"], "partitions": len(partitions), "rows": sum(partition["rows"] for partition in partitions)},
            )
            for dataset, partitions in committed.items()
        ]
        if events:
            self._call("POST", "/events", events, within_s=_remaining_s(deadline))

    def _send_receipt(self, receipt: Receipt, summary: str, deadline: float) -> None:
        """Post the receipt twice: as a table for people, and complete, without a key, for flows."""
        table = [_build_row(partition) for partition in receipt["partitions"][:TABLE_ROWS]]
        total = len(receipt["partitions"])
        more = f" The first {len(table)} of {total} partitions:" if total > len(table) else ""
        shown = {"key": f"receipt-{receipt['job']}", "type": "table", "data": redaction.to_json(table)}
        shown["description"] = f"**{receipt['status']}**: {summary}{more}"
        for artifact in ({"type": "receipt", "data": receipt}, shown):
            self._call("POST", "/artifacts/", {**artifact, "flow_run_id": self._id}, within_s=_remaining_s(deadline))


def _list_related(run: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the flow and the deployment of a run as related resources of an event."""
    return [
        {"prefect.resource.id": f"prefect.{role}.{run[f'{role}_id']}", "prefect.resource.role": role}
        for role in ("flow", "deployment")
        if run.get(f"{role}_id")
    ]


def _remaining_s(deadline: float) -> float:
    return max(1.0, deadline - time.monotonic())


def _build_row(partition: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a partition that fit into a table cell."""
    shown = {name: value for name, value in partition.items() if isinstance(value, str | int | float)}
    shown.pop("sha256", None)
    return shown
