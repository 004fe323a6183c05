"""Tells a Prefect server (3.x, REST) how a flow run goes, from a process that holds no Prefect.

The rules are the server's, as measured: a run is started only from PENDING or SCHEDULED, since RUNNING to RUNNING is
accepted; the state is looked at before the last one is proposed, since CANCELLED to COMPLETED is accepted too; a
proposal has succeeded when the state that comes back has the proposed type, whatever the status says. A server on
SQLite answers 503 under ordinary load.
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
from jobkit.prefect_api import Api, ApiError, RejectedError

if TYPE_CHECKING:
    import logging

POLL_S = 1.5  # cancellation is seen within two seconds
HEARTBEAT_S = 30.0
PROGRESS_AFTER_S = 5.0
START_WITHIN_S = FINAL_WITHIN_S = 120.0  # a server that restarts is back by then
STOP_WITHIN_S = 5.0  # of the ten seconds that a stopped job has
BATCH, HELD = 200, 20_000  # log records in a call, and held while the server is away
TEXT = 50_000  # characters of a message
TABLE_ROWS = 200


class Prefect:
    """The launcher of a flow run. Speaks from a daemon thread while the job works, from the job's own at its ends."""

    def __init__(self, server: Api, flow_run_id: str, *, poll_s: float = POLL_S, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._api, self._id = server, flow_run_id
        self._poll_s, self._heartbeat_s = poll_s, heartbeat_s
        self._run: dict[str, Any] | None = None
        self._silence: ApiError | None = None
        self._records: list[dict[str, Any]] = []
        self._progress: tuple[float, str] | None = None
        self._progress_id: str | None = None
        self._holding, self._sending = threading.Lock(), threading.Lock()
        self._ending, self._cancelled = threading.Event(), False
        self._since_s = self._beaten_s = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="prefect-reporter", daemon=True)

    def started(self) -> bool:
        """Whether this process may do the job: the run was PENDING or SCHEDULED and is RUNNING now.

        True as well when the server does not answer: without the run's state parameters() ends the job with a sentence,
        and a job whose state was seen does its work whether or not the server hears of it.
        """
        try:
            if not self._start():
                return False
        except ApiError as error:
            self._silence = error
        self._thread.start()
        return True

    def parameters(self) -> dict[str, object]:
        """The flow run's parameters that have a value. Raises TemporaryError or MisconfiguredError without an answer."""
        if self._run is None:
            if isinstance(self._silence, RejectedError):
                hint = "see PREFECT_API_URL, its credentials and the run's id"
                raise errors.MisconfiguredError(f"Prefect refused to tell about this run: {self._silence}; {hint}")
            raise errors.TemporaryError(f"Prefect did not tell about this run: {self._silence}; try again later")
        return {name: value for name, value in self._run["parameters"].items() if value is not None}

    def log(self, record: logging.LogRecord) -> None:
        """Hold a record for the next batch."""
        told = "".join(f" {name}={value}" for name, value in logs.fields(record).items())
        entry = {
            "name": record.name,
            "level": record.levelno,
            "message": redaction.redact(record.getMessage() + told)[:TEXT],
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "flow_run_id": self._id,
        }
        with self._holding:
            if len(self._records) < HELD:
                self._records.append(entry)

    def progress(self, done: int, total: int, text: str) -> None:
        """Hold the newest progress; a job that ends within seconds shows none."""
        self._progress = (round(100 * done / max(total, 1), 1), f"{done}/{total} {text}".strip())

    def cancelled(self) -> bool:
        """Whether the run was seen CANCELLING or CANCELLED."""
        return self._cancelled

    def finished(self, receipt: dict[str, Any], exit_code: int, sentence: str) -> None:
        """Post the rest of the logs, the receipt, and the last state: a state is final, so it comes last.

        A server that is away is waited for before the first of them: whoever sees the state looks for the receipt.
        """
        stopped = exit_code in (ExitCode.STOPPED, ExitCode.INTERRUPTED)
        deadline = time.monotonic() + (STOP_WITHIN_S if stopped else FINAL_WITHIN_S)
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(1.0)
        proposed = "COMPLETED" if exit_code == 0 else "CRASHED" if stopped else "FAILED"
        with contextlib.suppress(ApiError):
            self._read(_left_s(deadline))
            for step in (self._send_logs, lambda: self._send_receipt(receipt, sentence, deadline)):
                with contextlib.suppress(ApiError):
                    step()
            self._end(proposed, sentence, deadline)

    def _start(self) -> bool:
        state = self._read(START_WITHIN_S)["state"]["type"]
        while state in ("PENDING", "SCHEDULED"):
            answer = self._propose("RUNNING", None, START_WITHIN_S)
            if answer["status"] == "WAIT":
                state = self._wait(float(answer["details"]["delay_seconds"]))
                continue
            state = answer["state"]["type"]
            if state == "RUNNING":
                return True
            if state != "CANCELLING":
                return False
        if state == "CANCELLING":
            self._propose("CANCELLED", "cancelled before it started", START_WITHIN_S)
        return False

    def _wait(self, delay_s: float) -> str:
        """The run's state after `delay_s`, or as soon as it is cancelled."""
        until = time.monotonic() + delay_s
        while (left_s := until - time.monotonic()) > 0:
            time.sleep(min(left_s, self._poll_s))
            state = str(self._read(START_WITHIN_S)["state"]["type"])
            if state not in ("PENDING", "SCHEDULED"):
                return state
        return "SCHEDULED"

    def _call(self, method: str, path: str, body: object = None, *, within_s: float) -> Any:  # noqa: ANN401  JSON
        """Everything that is told goes this way, redacted."""
        return self._api.call(method, path, redaction.clean(body), within_s=within_s)

    def _read(self, within_s: float) -> dict[str, Any]:
        self._run = run = self._call("GET", f"/flow_runs/{self._id}", within_s=within_s)
        return dict(run)

    def _propose(self, state: str, message: str | None, within_s: float) -> dict[str, Any]:
        """The server's answer. One transition id for all tries, so that a lost answer is no second transition."""
        proposal = {"type": state, "message": message, "state_details": {"transition_id": str(uuid.uuid4())}}
        body = {"state": proposal, "force": False}
        answer = self._call("POST", f"/flow_runs/{self._id}/set_state", body, within_s=within_s)
        answer["state"] = answer["state"] or {"type": None}
        return dict(answer)

    def _end(self, proposed: str, sentence: str, deadline: float) -> None:
        """Propose the last state, unless the run is CANCELLED; a cancelled run ends CANCELLED."""
        state = self._read(_left_s(deadline))["state"]["type"]
        for _ in range(2):
            if state in ("CANCELLED", proposed):
                return
            wanted = "CANCELLED" if state == "CANCELLING" else proposed
            state = self._propose(wanted, redaction.redact(sentence)[:TEXT], _left_s(deadline))["state"]["type"]
            if state != "CANCELLING":
                return

    def _watch(self) -> None:
        while not self._ending.wait(self._poll_s):
            for step in (self._look, self._send_logs, self._send_progress, self._beat):
                with contextlib.suppress(ApiError):
                    step()

    def _look(self) -> None:
        """Stop the job by its own SIGTERM, once, when the run is being cancelled."""
        state = self._read(self._poll_s)["state"]["type"]
        if state in ("CANCELLING", "CANCELLED") and not self._cancelled:
            self._cancelled = True
            os.kill(os.getpid(), signal.SIGTERM)

    def _send_logs(self) -> None:
        """Post what is held, batch by batch; a batch that failed stays for the next time."""
        with self._sending:
            while batch := self._records[:BATCH]:
                with contextlib.suppress(RejectedError):  # these records will never be taken; the next ones may be
                    self._call("POST", "/logs/", batch, within_s=self._poll_s)
                with self._holding:
                    del self._records[: len(batch)]

    def _send_progress(self) -> None:
        if self._progress is None or time.monotonic() - self._since_s < PROGRESS_AFTER_S:
            return
        (percent, text), self._progress = self._progress, None
        body: dict[str, Any] = {"data": percent, "description": text}
        if self._progress_id:
            self._call("PATCH", f"/artifacts/{self._progress_id}", body, within_s=self._poll_s)
            return
        body |= {"type": "progress", "flow_run_id": self._id}
        self._progress_id = self._call("POST", "/artifacts/", body, within_s=self._poll_s)["id"]

    def _beat(self) -> None:
        """Say that the run is alive; an automation on the server takes long silence for a crash."""
        if self._run is None or time.monotonic() - self._beaten_s < self._heartbeat_s:
            return
        self._beaten_s = time.monotonic()
        related = [
            {"prefect.resource.id": f"prefect.{role}.{self._run[f'{role}_id']}", "prefect.resource.role": role}
            for role in ("flow", "deployment")
            if self._run.get(f"{role}_id")
        ]
        event = {
            "id": str(uuid.uuid4()),
            "event": "prefect.flow-run.heartbeat",
            "occurred": datetime.now(UTC).isoformat(),
            "resource": {
                "prefect.resource.id": f"prefect.flow-run.{self._id}",
                "prefect.resource.name": self._run["name"],
            },
            "related": related,
            "payload": {},
        }
        self._call("POST", "/events", [event], within_s=self._poll_s)

    def _send_receipt(self, receipt: dict[str, Any], sentence: str, deadline: float) -> None:
        """Post the receipt twice: as a table for people, and whole, without a key, for whoever chains jobs."""
        table = [_row(partition) for partition in receipt["partitions"][:TABLE_ROWS]]
        left = len(receipt["partitions"]) - len(table)
        more = f" The first {len(table)} of {len(table) + left} partitions:" if left else ""
        shown = {"key": f"receipt-{receipt['job']}", "type": "table", "data": redaction.to_json(table)}
        shown["description"] = f"**{receipt['status']}**: {sentence}{more}"
        for artifact in ({"type": "receipt", "data": receipt}, shown):
            self._call("POST", "/artifacts/", {**artifact, "flow_run_id": self._id}, within_s=_left_s(deadline))


def _left_s(deadline: float) -> float:
    return max(1.0, deadline - time.monotonic())


def _row(partition: dict[str, Any]) -> dict[str, Any]:
    """The fields of a partition that fit a table cell."""
    shown = {name: value for name, value in partition.items() if isinstance(value, str | int | float)}
    shown.pop("sha256", None)
    return shown
