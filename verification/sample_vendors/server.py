"""Emulate the vendors on 127.0.0.1, with real values and without network.

One server emulates all vendors. The host name of a vendor is the first part of the path: a job's base URL for the ECB is
`<url>/www.ecb.europa.eu`. Everything else is as the vendor has it: paths, parameters, headers, documents and quirks.

    with run_server() as url:
        ...  # <url>/api.tiingo.com/tiingo/daily/AAPL/prices?startDate=2012-01-03

Faults are requested in the base URL, before the host:

    <url>/~html/www.ecb.europa.eu        200 and a page for people
    <url>/~truncated/...                 the vendor's response, cut off after half of the body
    <url>/~unavailable/...               503 and a page for people
    <url>/~limited/...                   429 with Retry-After: 1
    <url>/~redirected/...                302 to http://elsewhere.invalid
    <url>/~slow/...                      the vendor's response, after SLOW_S seconds
    <url>/~limited-2/...                 the fault for the first two requests of each path, then the vendor's response

A past day may come first: `<url>/2010-01-19/data.sec.gov` is SEC with the facts that were filed by the end of that day, and
`<url>/2013-01-14/home.treasury.gov` the Treasury's curves up to that day. The other vendors serve the whole sample on every day.

`<url>/_requests` is the request log as JSON: [method, path, status], oldest first. `read_request_log(url)` reads it.
"""

from __future__ import annotations

import json
import re
import socket
import socketserver
import sys
import threading
import urllib.request
from collections import Counter
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from verification.sample_vendors import ecb, fiscaldata, fred, gleif, gleif_isins, massive, nyfed, openfigi, sdmx, sec, tiingo, treasury
from verification.sample_vendors.wire import LAST_DAY, Answer, Request, html_answer, json_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import Message

SLOW_S = 5.0
ADDRESS = re.compile(r"(?:/(\d{4}-\d{2}-\d{2}))?(?:/~([a-z]+)(?:-(\d+))?)?/([^/]+)(/.*)?")
VENDORS: dict[str, Callable[[Request], Answer]] = {
    "www.ecb.europa.eu": ecb.answer,
    "home.treasury.gov": treasury.answer,
    "api.tiingo.com": tiingo.answer,
    "api.massive.com": massive.answer,
    "data.sec.gov": sec.data,
    "www.sec.gov": sec.www,
    "api.stlouisfed.org": fred.answer,
    "markets.newyorkfed.org": nyfed.answer,
    "data-api.ecb.europa.eu": sdmx.answer,
    "api.fiscaldata.treasury.gov": fiscaldata.answer,
    "goldencopy.gleif.org": gleif.answer,
    "api.gleif.org": gleif_isins.answer,
    "api.openfigi.com": openfigi.answer,
}
FAULTS: dict[str, Callable[[Answer], Answer]] = {
    "html": lambda _: html_answer(200, "Maintenance", "We are working on this site. Please come back later."),
    "truncated": lambda answer: answer._replace(cut=True),
    "unavailable": lambda _: html_answer(503, "Service unavailable", "This page is temporarily unavailable."),
    "limited": lambda _: html_answer(429, "Request Rate Threshold Exceeded", "Slow down.", {"Retry-After": "1"}),
    "redirected": lambda _: html_answer(302, "Moved", "Elsewhere.", {"Location": "http://elsewhere.invalid/"}),
    "slow": lambda answer: answer._replace(delay_s=SLOW_S),
}


class LoggedRequest(NamedTuple):
    """One line of the request log."""

    method: str
    path: str
    status: int


class Vendors(ThreadingHTTPServer):
    """The listening server, its request log and its counters."""

    request_queue_size = 128

    def __init__(self, port: int, host: str) -> None:
        self.request_log: list[LoggedRequest] = []
        self.closing = threading.Event()
        self._seen: Counter[str] = Counter()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((host, port), Handler)
        self.url = f"http://{host}:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="sample-vendors", daemon=True)
        self._thread.start()

    def server_bind(self) -> None:
        """Bind without the reverse name look-up of HTTPServer, which waits for a resolver even if there is none."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def answer(self, path: str, headers: Message, body: bytes | None = None) -> Answer:
        """Return the vendor's response, with the fault that the path requests."""
        url = urlsplit(path)
        with self._lock:
            seen = self._seen[url.path]
            self._seen[url.path] += 1
        address = ADDRESS.fullmatch(unquote(url.path))
        day, fault, times, host, below = address.groups() if address else ("", "", "", "", "")
        if host not in VENDORS or (fault and fault not in FAULTS):
            known = {"vendors": [*VENDORS], "faults": [*FAULTS]}
            return json_answer(404, {"error": f"No such vendor or fault: {url.path}", **known})
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        real = VENDORS[host](Request(below or "/", query, headers, seen, day or LAST_DAY, body))
        return FAULTS[fault](real) if fault and seen < int(times or sys.maxsize) else real

    def close(self) -> None:
        """Stop without waiting for responses. Afterwards the port is free and no connection is open."""
        self.closing.set()
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  (the base class's types)
        """Record the connection, so that `close` can end it even if a client keeps it alive."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401  (the base class's types)
        """Remove the connection from the record."""
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  (the base class's types)
        """Ignore a client that closed its connection, which is not an error here."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with persistent connections."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Vendors

    def do_GET(self) -> None:
        """Send the response and write the request log."""
        if self.path == "/_requests":
            self._send(json_answer(200, self.server.request_log))
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))) if self.command == "POST" else None
        answer = self.server.answer(self.path, self.headers, body)
        self.server.request_log.append(LoggedRequest(self.command, self.path, answer.status))
        if answer.delay_s:
            self.server.closing.wait(answer.delay_s)
        self._send(answer)

    do_HEAD = do_POST = do_GET  # noqa: N815  (the base class's names)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
        """Print no log line; `request_log` has the requests."""

    def _send(self, answer: Answer) -> None:
        chunked = "Transfer-Encoding" in answer.headers
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if not chunked and answer.status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(answer, chunked=chunked)
        self.close_connection = self.close_connection or answer.cut

    def _send_body(self, answer: Answer, *, chunked: bool) -> None:
        body = answer.body[: len(answer.body) // 2] if answer.cut else answer.body
        self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body) if chunked else body)
        if chunked and not answer.cut:
            self.wfile.write(b"0\r\n\r\n")


def serve(port: int = 0, host: str = "127.0.0.1") -> Vendors:
    """Start a server in a thread; it runs until `close()`. Port 0 chooses a free one. Raises OSError if the port is in use."""
    return Vendors(port, host)


@contextmanager
def run_server(port: int = 0, host: str = "127.0.0.1") -> Iterator[str]:
    """Run a server during the block and yield its base URL."""
    server = serve(port, host)
    try:
        yield server.url
    finally:
        server.close()


def read_request_log(url: str) -> list[LoggedRequest]:
    """Return the requests that the server at this base URL has received, oldest first."""
    with urllib.request.urlopen(f"{url}/_requests", timeout=10) as answer:  # noqa: S310  (http, to this machine)
        return [LoggedRequest(*line) for line in json.load(answer)]
