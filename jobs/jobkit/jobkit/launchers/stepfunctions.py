"""Answers a Step Functions task token (`.waitForTaskToken`), from a process that holds no AWS library.

boto3 is in the images for S3 alone: its description of Step Functions is not, and signing one request takes forty lines.
Source of the signature: "Create a signed AWS API request" in the IAM guide; of the calls: the Step Functions API reference.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jobkit import redaction

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

TOKEN = "FINELT_TASK_TOKEN"  # noqa: S105  the name of a variable
HEARTBEAT_S = 30.0
CREDENTIALS_HOST = "http://169.254.170.2"  # where ECS answers its containers
OUTPUT_BYTES, CAUSE_CHARS = 256 * 1024, 32_768  # the API's limits
TIMEOUT_S, FINAL_WITHIN_S = 10.0, 120.0
GONE = ("TaskTimedOut", "InvalidToken", "TaskDoesNotExist")


class RejectedError(Exception):
    """An answer that a retry will not change; the message is AWS's name of it."""


class StepFunctions:
    """The launcher of a task that waits for its token: heartbeats while it works, success with the receipt or failure with the sentence."""

    def __init__(self, environ: Mapping[str, str], *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._environ, self._token, self._heartbeat_s = environ, environ[TOKEN], heartbeat_s
        self._ending, self._cancelled = threading.Event(), False
        self._thread = threading.Thread(target=self._beat, name="stepfunctions-reporter", daemon=True)

    def started(self) -> bool:
        """Always: the state machine starts a task once for each token."""
        self._thread.start()
        return True

    def parameters(self) -> dict[str, object]:
        """None: options come from the task's command and environment."""
        return {}

    def log(self, record: logging.LogRecord) -> None:
        """Nothing more: the record is on stderr."""

    def progress(self, done: int, total: int, text: str) -> None:
        """Nothing more: progress is on stderr."""

    def cancelled(self) -> bool:
        """Whether the state machine no longer waits for us."""
        return self._cancelled

    def finished(self, receipt: dict[str, Any], exit_code: int, sentence: str) -> None:
        """The end, tried for two minutes. The error's name is `Exit` and the code, so that a state machine can retry `Exit75` alone."""
        self._ending.set()
        body = {"taskToken": self._token}
        if exit_code == 0:
            output = redaction.to_json(receipt)
            if len(output.encode()) > OUTPUT_BYTES:  # the partitions are what can be many
                output = redaction.to_json({**receipt, "partitions": []})
            call, body = "SendTaskSuccess", {**body, "output": output}
        else:
            call, body = "SendTaskFailure", {**body, "error": f"Exit{exit_code}", "cause": redaction.redact(sentence)[:CAUSE_CHARS]}
        deadline, pause_s = time.monotonic() + FINAL_WITHIN_S, 0.2
        while time.monotonic() < deadline:
            try:
                return self._call(call, body)
            except RejectedError:
                return None
            except OSError:
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, 10.0)
        return None

    def _beat(self) -> None:
        """Say that we live; stop the job by its own SIGTERM, once, when nobody waits for it."""
        while not self._ending.wait(self._heartbeat_s):
            try:
                with contextlib.suppress(OSError):
                    self._call("SendTaskHeartbeat", {"taskToken": self._token})
            except RejectedError as error:
                if str(error) in GONE:
                    self._cancelled = True
                    os.kill(os.getpid(), signal.SIGTERM)
                    return

    def _call(self, name: str, body: dict[str, str]) -> None:
        """One signed request. Raises OSError for what a retry may mend, RejectedError for the rest."""
        region = self._environ.get("AWS_REGION") or self._environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        endpoint = self._environ.get("AWS_ENDPOINT_URL_SFN") or self._environ.get("AWS_ENDPOINT_URL")
        url = f"{(endpoint or f'https://states.{region}.amazonaws.com').rstrip('/')}/"
        data = json.dumps(body).encode()
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"AWSStepFunctions.{name}"}
        signed = sign(url, headers, data, credentials(self._environ), region, datetime.now(UTC))
        request = urllib.request.Request(url, data, signed, method="POST")  # noqa: S310  AWS's address or the one we were given
        try:
            urllib.request.urlopen(request, timeout=TIMEOUT_S).close()  # noqa: S310
        except urllib.error.HTTPError as error:
            with error:
                if error.code >= 500:  # noqa: PLR2004
                    raise OSError(f"HTTP {error.code}") from None
                raise RejectedError(_name(error.read())) from None


def _name(answer: bytes) -> str:
    """The name of an error, as in "com.amazonaws.swf.service.v2.model#TaskTimedOut"."""
    try:
        return str(json.loads(answer)["__type"]).rpartition("#")[2]
    except (ValueError, KeyError, TypeError):
        return "unknown"


def credentials(environ: Mapping[str, str]) -> tuple[str, str, str | None]:
    """Access key, secret key and session token: of the environment, else of the container's role. Raises OSError when there are none."""
    if "AWS_ACCESS_KEY_ID" in environ:
        return environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"], environ.get("AWS_SESSION_TOKEN")
    relative = environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    url = f"{CREDENTIALS_HOST}{relative}" if relative else environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if not url:
        raise OSError("no credentials of AWS are here")
    headers = {"Authorization": token} if (token := environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")) else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S) as answer:  # noqa: S310
        found = json.load(answer)
    for name in ("AccessKeyId", "SecretAccessKey", "Token"):
        redaction.protect(found.get(name) or "")
    return found["AccessKeyId"], found["SecretAccessKey"], found.get("Token")


def sign(
    url: str, headers: Mapping[str, str], data: bytes, keys: tuple[str, str, str | None], region: str, now: datetime
) -> dict[str, str]:
    """The headers with a signature (version 4) for Step Functions."""
    access_key, secret_key, session_token = keys
    stamp, scope = f"{now:%Y%m%dT%H%M%SZ}", f"{now:%Y%m%d}/{region}/states/aws4_request"
    parts = urlsplit(url)
    told = {**headers, "host": parts.netloc, "x-amz-date": stamp, **({"x-amz-security-token": session_token} if session_token else {})}
    names = ";".join(sorted(told))
    canonical = "\n".join(
        ["POST", parts.path or "/", "", *(f"{name}:{told[name]}" for name in sorted(told)), "", names, hashlib.sha256(data).hexdigest()]
    )
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**{name: value for name, value in told.items() if name != "host"}, "authorization": credential}
