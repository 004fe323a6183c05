"""Start extract-dropped-files for each dropped file: a Lambda function behind EventBridge.

The idempotency key of the flow run is derived from the object's identity, so an event that is delivered twice starts one run. Errors are
raised: Lambda retries twice, then the event goes to the dead-letter queue. If an event is lost, the job's schedule processes the file.

    PREFECT_API_URL        the server, inside the network
    FINELT_PREFECT_AUTH    the reference to its user:password; none if it needs none
    FINELT_DEPLOYMENT      the deployment to start, as flow/deployment
    FINELT_DROP            the prefix of dropped files in the bucket, such as drop/

Source of the event's format: "EventBridge event message structure" in the Amazon S3 User Guide.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, Protocol

from jobkit import logs, prefect_api, secrets

if TYPE_CHECKING:
    from collections.abc import Mapping

PROCESSED = ("accepted/", "rejected/", "taken/")  # the job writes there
REQUESTS = 3  # one to Secrets Manager, two to Prefect; they share the remaining time
NOT_FOUND = 404


class EventError(Exception):
    """The event is not one of a dropped file, or no run could be started for it. The message says what to check."""


class Context(Protocol):
    """What Lambda passes with the event."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the remaining time of the invocation."""


def handler(event: Mapping[str, Any], context: Context) -> dict[str, str | None]:
    """Start a run for a dropped file. Return the file's key below the prefix and the id of the run, None if no run is needed.

    Raises EventError for another event and if Prefect rejects the request, UnreachableError if Prefect cannot be reached.
    """
    key, identity = parse_event(event, os.environ["FINELT_DROP"])
    run_id = None
    if not key.startswith(PROCESSED) and not key.endswith("/"):
        within_s = context.get_remaining_time_in_millis() / 1000 / REQUESTS
        run_id = start_run(connect(), os.environ["FINELT_DEPLOYMENT"], key, identity, within_s=within_s)
    logs.set_up(lambda _: None).info("dropped", extra={"key": key, "flow_run_id": run_id})
    return {"key": key, "flow_run_id": run_id}


def parse_event(event: Mapping[str, Any], prefix: str) -> tuple[str, str]:
    """Return the object's key below the prefix, and a digest that identifies this version of the object.

    Raises EventError for an event of another kind or prefix.
    """
    try:
        bucket, entry = event["detail"]["bucket"]["name"], event["detail"]["object"]
        key, version = entry["key"], entry.get("version-id") or entry["sequencer"]
    except (KeyError, TypeError):
        raise EventError(
            "the event is not an 'Object Created' event of S3: it lacks bucket, key or sequencer; check the EventBridge rule"
        ) from None
    if not key.startswith(prefix):
        raise EventError(f"{key} is not below {prefix}; check the pattern of the EventBridge rule and FINELT_DROP")
    return key.removeprefix(prefix), hashlib.sha256(f"{bucket}\n{key}\n{version}".encode()).hexdigest()


def start_run(server: prefect_api.Api, deployment: str, key: str, identity: str, *, within_s: float) -> str:
    """Start the one flow run with this identity, or find it, and return its id. Raises EventError, UnreachableError."""
    try:
        existing = server.call("GET", f"/deployments/name/{deployment}", within_s=within_s)
        body = {"parameters": {"key": key}, "idempotency_key": identity}
        run = server.call("POST", f"/deployments/{existing['id']}/create_flow_run", body, within_s=within_s)
    except prefect_api.RejectedError as error:
        hint = "; run ./scripts/stack register, which makes it" if error.status == NOT_FOUND else ""
        raise EventError(f"Prefect rejected a run of {deployment} for {key}: {error}{hint}") from None
    return str(run["id"])


def connect() -> prefect_api.Api:
    """Return a client of the server. Its password is read for each event, because it may change while an instance of the function lives."""
    environ = dict(os.environ)
    if reference := environ.get("FINELT_PREFECT_AUTH"):
        environ["PREFECT_API_AUTH_STRING"] = secrets.resolve(reference)
    return prefect_api.api(environ)
