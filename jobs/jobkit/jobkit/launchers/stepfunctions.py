"""Report to a Step Functions task token (`.waitForTaskToken`).

Credentials and the signature are botocore's, which every image with a lake has. Its service model of Step Functions is not in the images
(boto3 is there for S3 alone), so the three calls are made here. Source: the Step Functions API reference.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from jobkit import redaction
from jobkit.errors import ExitCode

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from jobkit.receipt import Receipt

TOKEN = "FINELT_TASK_TOKEN"  # noqa: S105  the name of a variable
SERVICE = "states"  # the name in the signature and in the endpoint
HEARTBEAT_S = 30.0
OUTPUT_BYTES, CAUSE_CHARS = 256 * 1024, 32_768  # the API's limits
TIMEOUT_S, FINAL_WITHIN_S = 10.0, 120.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
SERVER_ERROR = 500
TASK_IS_OVER = ("TaskTimedOut", "InvalidToken", "TaskDoesNotExist")


class RejectedError(Exception):
    """A response that a retry will not change; the message is AWS's name of the error."""


class StepFunctions:
    """The launcher of a task with a token: heartbeats while it works, then success with the receipt or failure with its summary."""

    def __init__(self, environ: Mapping[str, str], *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._environ, self._token, self._heartbeat_s = environ, environ[TOKEN], heartbeat_s
        self._credentials: Any = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._send_heartbeats, name="stepfunctions-reporter", daemon=True)

    def claim(self) -> bool:
        """Start the heartbeats; return True, as the state machine starts a task once for each token."""
        self._thread.start()
        return True

    def options(self) -> dict[str, object]:
        """Return no options: they come from the task's command and environment."""
        return {}

    def log(self, record: logging.LogRecord) -> None:
        """Do no more: the record is on stderr."""

    def report_progress(self, done: int, total: int, text: str) -> None:
        """Do no more: progress is on stderr."""

    def report_end(self, receipt: Receipt, exit_code: int, summary: str) -> None:
        """Report the end, with retries for two minutes. A failure is called `Exit` and the code, so that `Exit75` alone can be retried."""
        self._ending.set()
        body = {"taskToken": self._token}
        if exit_code == ExitCode.DONE:
            output = redaction.to_json(receipt)
            if len(output.encode()) > OUTPUT_BYTES:  # the partitions are what can be many
                output = redaction.to_json({**receipt, "partitions": []})
            operation, body = "SendTaskSuccess", {**body, "output": output}
        else:
            cause = redaction.redact(summary)[:CAUSE_CHARS]
            operation, body = "SendTaskFailure", {**body, "error": f"Exit{int(exit_code)}", "cause": cause}
        deadline, pause_s = time.monotonic() + FINAL_WITHIN_S, FIRST_PAUSE_S
        while time.monotonic() < deadline:
            try:
                return self._call(operation, body)
            except RejectedError:
                return None
            except OSError:
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return None

    def _send_heartbeats(self) -> None:
        """Send heartbeats; send this process SIGTERM, once, when the state machine no longer waits for the task."""
        while not self._ending.wait(self._heartbeat_s):
            try:
                with contextlib.suppress(OSError):
                    self._call("SendTaskHeartbeat", {"taskToken": self._token})
            except RejectedError as error:
                if str(error) in TASK_IS_OVER:
                    os.kill(os.getpid(), signal.SIGTERM)
                    return

    def _call(self, operation: str, body: dict[str, str]) -> None:
        """Send one signed request. Raises OSError if a retry may succeed, else RejectedError."""
        import urllib.error  # noqa: PLC0415  only a job with a task token pays for it
        import urllib.request  # noqa: PLC0415

        region = self._environ.get("AWS_REGION") or self._environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        endpoint = self._environ.get("AWS_ENDPOINT_URL_SFN") or self._environ.get("AWS_ENDPOINT_URL")
        url = f"{(endpoint or f'https://{SERVICE}.{region}.amazonaws.com').rstrip('/')}/"
        data = json.dumps(body).encode()
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"AWSStepFunctions.{operation}"}
        request = urllib.request.Request(url, data, self._sign(url, headers, data, region), method="POST")  # noqa: S310  AWS's or the operator's
        try:
            urllib.request.urlopen(request, timeout=TIMEOUT_S).close()  # noqa: S310
        except urllib.error.HTTPError as error:
            with error:
                if error.code >= SERVER_ERROR:
                    raise OSError(f"HTTP {error.code}") from None
                raise RejectedError(_parse_error_name(error.read())) from None

    def _sign(self, url: str, headers: Mapping[str, str], data: bytes, region: str) -> dict[str, str]:
        """Return the headers of a POST with its signature. Raises OSError without credentials: a container's role may come later."""
        from botocore.auth import SigV4Auth  # noqa: PLC0415  slow to import
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415
        from botocore.session import get_session  # noqa: PLC0415

        try:
            self._credentials = self._credentials or get_session().get_credentials()  # renews itself
            credentials = self._credentials and self._credentials.get_frozen_credentials()
        except BotoCoreError as error:
            raise OSError(f"no AWS credentials: {error}") from None
        if credentials is None:
            raise OSError("no AWS credentials in the environment, in a profile or from a role")
        for secret in (credentials.access_key, credentials.secret_key, credentials.token):
            redaction.protect(secret or "")
        request = AWSRequest("POST", url, dict(headers), data)
        SigV4Auth(credentials, SERVICE, region).add_auth(request)
        return dict(request.headers.items())


def _parse_error_name(body: bytes) -> str:
    """Return the name of an error, as in "com.amazonaws.swf.service.v2.model#TaskTimedOut"."""
    try:
        return str(json.loads(body)["__type"]).rpartition("#")[2]
    except (ValueError, KeyError, TypeError):
        return "unknown"
