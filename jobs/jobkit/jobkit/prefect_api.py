"""A client of the Prefect server's REST API (3.x) that needs the standard library only: JSON in, JSON out, with retries.

    ApiError
    |-- UnreachableError   no response, or only responses worth a retry, until the time was over
    `-- RejectedError      a response that a retry will not change; `status` is its HTTP status

Source: the REST API reference of Prefect 3, and its server's behaviour. A server on SQLite answers 503 under ordinary load.
"""

from __future__ import annotations

import base64
import json
import random
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobkit import redaction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Event = dict[str, object]
RETRIED = frozenset({408, 429, 500, 502, 503, 504})
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
SHORTEST_TIMEOUT_S, FIRST_TIMEOUT_S, LONGEST_TIMEOUT_S = 0.5, 10.0, 60.0  # of one request
SERVER_OUTAGE_BUDGET_S = 600.0  # how long what can wait, such as a flow, waits for a server that is restarted, replaced or overloaded
EXCERPT_BYTES, EXCERPT_CHARS = 4096, 500  # of an error response


class ApiError(Exception):
    """The Prefect server did not do what was requested."""


class UnreachableError(ApiError):
    """No response, or only responses worth a retry, until the time was over."""


class RejectedError(ApiError):
    """A response that a retry will not change, such as 401, 404, 409 or 422."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """A Prefect server's REST API. Retries 408, 429, 5xx and lost connections, with growing pauses and timeouts.

    Timeouts grow because an overloaded server goes on with a request that its client has given up: retries after the same short time would
    only add to its load.
    """

    def __init__(self, url: str, authorization: str | None = None) -> None:
        self.url, self._authorization = url.rstrip("/"), authorization

    def call(self, method: str, path: str, body: object = None, *, within_s: float = 30.0) -> Any:  # noqa: ANN401  JSON
        """Send one request and return the response's JSON, None when it has no body.

        Raises UnreachableError after `within_s` seconds of retries, RejectedError at once.
        """
        deadline, pause_s, timeout_s = time.monotonic() + within_s, FIRST_PAUSE_S, FIRST_TIMEOUT_S
        while True:
            try:
                return self._send(method, path, body, max(SHORTEST_TIMEOUT_S, min(timeout_s, deadline - time.monotonic())))
            except UnreachableError:
                if time.monotonic() + pause_s >= deadline:
                    raise
            time.sleep(pause_s * random.uniform(0.7, 1.3))  # noqa: S311  jitter
            pause_s, timeout_s = min(pause_s * 2, LONGEST_PAUSE_S), min(timeout_s * 2, LONGEST_TIMEOUT_S)

    def _send(self, method: str, path: str, body: object, timeout_s: float) -> Any:  # noqa: ANN401
        import urllib.error  # noqa: PLC0415  half of this module's import time
        import urllib.request  # noqa: PLC0415
        from http.client import HTTPException  # noqa: PLC0415

        request = urllib.request.Request(self.url + path, method=method)  # noqa: S310  the URL is the operator's
        request.add_header("Content-Type", "application/json")
        if self._authorization:
            request.add_header("Authorization", self._authorization)
        data = None if body is None else json.dumps(body, default=str).encode()
        try:
            with urllib.request.urlopen(request, data, timeout_s) as response:  # noqa: S310
                text = response.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            excerpt = redaction.redact(error.read(EXCERPT_BYTES).decode(errors="replace"))[:EXCERPT_CHARS]
            message = f"{method} {self.url}{path} answered {error.code}: {excerpt}"
            raise (UnreachableError(message) if error.code in RETRIED else RejectedError(error.code, message)) from None
        except (OSError, HTTPException, ValueError) as error:
            raise UnreachableError(f"{method} {self.url}{path}: {redaction.redact(str(error))}") from None


def deployment_name(flow: str, pool: str) -> str:
    """Return the name of a flow's or job's deployment on a pool: what runs, and where, such as daily-ecs."""
    return f"{flow}-{pool}"


def deployment_path(flow: str, pool: str) -> str:
    """Return the full name by which Prefect finds it, such as daily/daily-ecs."""
    return f"{flow}/{deployment_name(flow, pool)}"


def build_event(name: str, resource: Mapping[str, str], related: Sequence[Mapping[str, str]], payload: Mapping[str, object]) -> Event:
    """Return an event that occurs now, as `POST /events` takes it in a list."""
    occurred = datetime.now(UTC).isoformat()
    return {"id": str(uuid.uuid4()), "event": name, "occurred": occurred, "resource": resource, "related": related, "payload": payload}


def api(environ: Mapping[str, str]) -> Api:
    """Return the API at PREFECT_API_URL; PREFECT_API_KEY wins over PREFECT_API_AUTH_STRING, as in Prefect. Raises KeyError."""
    authorization = None
    if key := environ.get("PREFECT_API_KEY"):
        redaction.protect(key)
        authorization = f"Bearer {key}"
    elif pair := environ.get("PREFECT_API_AUTH_STRING"):
        redaction.protect(pair)
        redaction.protect(pair.partition(":")[2])
        authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return Api(environ["PREFECT_API_URL"], authorization)
