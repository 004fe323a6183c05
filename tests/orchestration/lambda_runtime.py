"""Emulate the runtime API of Lambda for a function's process. Source: "Using the Lambda runtime API" in the AWS Lambda Developer Guide."""

from __future__ import annotations

import json
import threading
import time
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

API = "/2018-06-01/runtime"


class Answer(NamedTuple):
    """What the function's process sent: `response`, `error`, or `init` if it did not start; and the JSON."""

    kind: str
    document: Any


class Runtime(ThreadingHTTPServer):
    """A server that hands out events in sequence and receives the responses."""

    daemon_threads = True

    def __init__(self) -> None:
        self.events: SimpleQueue[tuple[str, dict[str, Any], float]] = SimpleQueue()
        self.answers: SimpleQueue[tuple[str, Answer]] = SimpleQueue()
        self.ended = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        """The value of AWS_LAMBDA_RUNTIME_API."""
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """Ignore errors: a function's process that is stopped breaks its connection."""

    def invoke(self, event: dict[str, Any], *, seconds: float = 60) -> Answer:
        """Send an event and return the function's response. `seconds` is the time limit of the invocation."""
        request = str(uuid.uuid4())
        self.events.put((request, event, seconds))
        told, answer = self.answers.get(timeout=seconds + 30)
        assert told in (request, "")
        return answer


class Handler(BaseHTTPRequestHandler):
    """A connection of a function's process."""

    protocol_version = "HTTP/1.1"
    server: Runtime

    def do_GET(self) -> None:
        assert self.path == f"{API}/invocation/next"
        while not self.server.ended.is_set():
            try:
                request, event, seconds = self.server.events.get(timeout=0.1)
            except Empty:
                continue
            headers = {
                "Lambda-Runtime-Aws-Request-Id": request,
                "Lambda-Runtime-Deadline-Ms": str(int((time.time() + seconds) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:123456789012:function:finelt-dev-start-dropped-files",
                "Lambda-Runtime-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793",
            }
            self._reply(200, json.dumps(event).encode(), headers)
            return

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        *_, request, kind = self.path.split("/")
        told = Answer("init", document) if request == "init" else Answer(kind, document)
        self.server.answers.put(("" if request == "init" else request, told))
        self._reply(202, b"{}", {})

    def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print no log line."""


@contextmanager
def runtime() -> Iterator[Runtime]:
    """Run the server during the block."""
    with Runtime() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()
