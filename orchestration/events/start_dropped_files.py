"""Starts extract-dropped-files for each file that is dropped: a Lambda function behind EventBridge, and so no job of its own.

It asks Prefect for a run of the deployment with a key made of the object's own identity: an event that comes twice finds the run that is
there. What fails is raised: Lambda tries twice more, then the event is a dead letter. A file whose event is lost is taken by the job's
schedule.

    PREFECT_API_URL        the server, inside the network
    FINELT_PREFECT_AUTH    where its user:password is, by reference; none for a server without
    FINELT_DEPLOYMENT      flow/deployment to start
    FINELT_DROP            where in the bucket files are dropped, such as drop/

Source of the event's form: "EventBridge event message structure" in the Amazon S3 User Guide.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, Protocol

from jobkit import logs, prefect_api, secrets

if TYPE_CHECKING:
    from collections.abc import Mapping

ASIDE = ("accepted/", "rejected/")  # where the job puts files: no new ones
QUESTIONS = 3  # to Secrets Manager and twice to Prefect; each may take its part of the time that is left
NOT_FOUND = 404


class EventError(Exception):
    """The event is none of a dropped file, or no run could be started for it; the message says what to look at."""


class Context(Protocol):
    """What Lambda tells of a call besides the event."""

    def get_remaining_time_in_millis(self) -> int:
        """How long the function may still take."""


def handler(event: Mapping[str, Any], context: Context) -> dict[str, str | None]:
    """The file's key below the drop, and the id of its flow run; None where there is nothing to start.

    Raises EventError on another event and where Prefect refuses, jobkit's errors where it cannot be reached.
    """
    key, identity = dropped(event, os.environ["FINELT_DROP"])
    run_id = None
    if not key.startswith(ASIDE) and not key.endswith("/"):
        within_s = context.get_remaining_time_in_millis() / 1000 / QUESTIONS
        run_id = start(api(), os.environ["FINELT_DEPLOYMENT"], key, identity, within_s=within_s)
    logs.set_up(lambda _: None).info("dropped", extra={"key": key, "flow_run_id": run_id})
    return {"key": key, "flow_run_id": run_id}


def dropped(event: Mapping[str, Any], prefix: str) -> tuple[str, str]:
    """The object's key below the prefix, and what no other object ever has: its version, or where there are none its place in time.

    Raises EventError on an event of another kind or place.
    """
    try:
        bucket, told = event["detail"]["bucket"]["name"], event["detail"]["object"]
        key, version = told["key"], told.get("version-id") or told["sequencer"]
    except (KeyError, TypeError):
        raise EventError("the event is no 'Object Created' of S3: it lacks bucket, key or sequencer; look at the rule") from None
    if not key.startswith(prefix):
        raise EventError(f"{key} is not below {prefix}; look at the rule's pattern and FINELT_DROP")
    return key.removeprefix(prefix), hashlib.sha256(f"{bucket}\n{key}\n{version}".encode()).hexdigest()


def start(server: prefect_api.Api, deployment: str, key: str, identity: str, *, within_s: float) -> str:
    """The id of the one flow run with this identity, which is there now. Raises EventError, jobkit's UnreachableError."""
    try:
        found = server.call("GET", f"/deployments/name/{deployment}", within_s=within_s)
        asked = {"parameters": {"key": key}, "idempotency_key": identity}
        run = server.call("POST", f"/deployments/{found['id']}/create_flow_run", asked, within_s=within_s)
    except prefect_api.RejectedError as error:
        hint = "; run ./scripts/stack register, which makes it" if error.status == NOT_FOUND else ""
        raise EventError(f"Prefect starts no run of {deployment} for {key}: {error}{hint}") from None
    return str(run["id"])


def api() -> prefect_api.Api:
    """The server. Its password is read for each event: a function's instance outlives a change of it."""
    environ = dict(os.environ)
    if reference := environ.get("FINELT_PREFECT_AUTH"):
        environ["PREFECT_API_AUTH_STRING"] = secrets.resolve(reference)
    return prefect_api.api(environ)
