"""Run an S3 emulator, and an HTTP proxy in front of it that fails a share of the requests, both on the loopback interface."""

from __future__ import annotations

import http.client
import logging
import os
import secrets
import socket
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from threading import Lock
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from urllib.parse import urlsplit

import boto3
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer

from verification import http_server

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from verification.faults.sandbox import Sandbox

SLOW_S = 0.3
FAULTS = ("503", "429", "reset", "slow", "409", "lost")
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "eu-central-1"}
XML = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>%b</Code><Message>a fault</Message></Error>'


@dataclass
class S3:
    """A running emulator. The environment of this process and of its jobs points to it."""

    url: str

    def create_bucket(self) -> str:
        """Create a bucket. Return its name."""
        name = f"faults-{secrets.token_hex(4)}"
        client: Any = boto3.client("s3")
        client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": CREDENTIALS["AWS_DEFAULT_REGION"]})
        return name


@contextmanager
def run_emulator(_sandbox: Sandbox | None = None) -> Iterator[S3]:
    """Run an emulator on a free port, with the environment pointing to it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # otherwise it logs every request
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    before = {name: os.environ.get(name) for name in (*CREDENTIALS, "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE")}
    os.environ.update(CREDENTIALS, AWS_ENDPOINT_URL=f"http://{host}:{port}")
    os.environ.pop("AWS_CA_BUNDLE", None)
    try:
        with patch.object(S3Response, "put_object", _serialise(S3Response.put_object)):
            yield S3(f"http://{host}:{port}")
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        server.stop()


def _serialise(put: Callable[[S3Response], Any]) -> Callable[[S3Response], Any]:
    """Serialise writes, because moto does not check and take a key in one step as S3 does."""
    lock = Lock()

    def put_object(response: S3Response) -> Any:  # noqa: ANN401  moto's own
        with lock:
            return put(response)

    return put_object


@dataclass
class Proxy:
    """The proxy's address and request count."""

    upstream: str
    rng: random.Random
    share: float
    url: str = ""
    requests: int = 0
    lock: Lock = field(default_factory=Lock)

    def choose_fault(self, method: str, *, conditional: bool) -> str | None:
        """Choose the fault for a request. Only conditional writes get conflicts and lost responses."""
        with self.lock:
            self.requests += 1
            if self.rng.random() >= self.share:
                return None
            return self.rng.choice(FAULTS if conditional and method == "PUT" else FAULTS[:4])


class Handler(BaseHTTPRequestHandler):
    """Forward a request, or fail it."""

    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.proxy.choose_fault(self.command, conditional="If-None-Match" in self.headers or "If-Match" in self.headers)
        if fault == "reset":
            return self._close_connection()
        if fault in ("503", "429", "409"):
            code = {"503": b"SlowDown", "429": b"TooManyRequests", "409": b"ConditionalRequestConflict"}[fault]
            return self._respond(int(fault), {"Content-Type": "application/xml"}, XML % code)
        if fault == "slow":
            time.sleep(SLOW_S)
        host = urlsplit(self.proxy.upstream)
        connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=30)
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if fault == "lost":
            return self._close_connection()
        return self._respond(
            response.status, {k: v for k, v in response.getheaders() if k.lower() not in ("connection", "transfer-encoding")}, content
        )

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _forward  # noqa: N815  the base class's names

    def _respond(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _close_connection(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def run_proxy(upstream: str, rng: random.Random, *, share: float) -> Iterator[Proxy]:
    """Run a proxy that fails this share of the requests."""
    running_proxy = Proxy(upstream, rng, share)
    with http_server.serve(type("Told", (Handler,), {"proxy": running_proxy})) as running_proxy.url:
        yield running_proxy
