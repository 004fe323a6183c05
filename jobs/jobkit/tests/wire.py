"""A server that sends bytes exactly as they are scripted, one connection after the other."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from jobkit.http import Client, Rate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Wire(NamedTuple):
    url: str
    responses: list[bytes | Sequence[bytes]]
    received: list[bytes]
    connected: list[str]


def build_response(body: bytes, *fields: str, status: str = "200 OK", version: str = "1.1", media: str = "text/csv") -> bytes:
    """Return a response with the given header fields and its media type, and no others."""
    lines = [f"HTTP/{version} {status}", f"Content-Type: {media}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def sized(body: bytes, *fields: str, **more: str) -> bytes:
    """Return a response with its length. It says that the connection is closed, as `wire` does: a client must not send another request."""
    return build_response(body, f"Content-Length: {len(body)}", "Connection: close", *fields, **more)


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"


@contextmanager
def wire(*responses: bytes | Sequence[bytes]) -> Iterator[Wire]:
    """Serve each connection the next response, in the end the last one repeatedly, and close it. A response may come in several parts."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(0.05)
    scripted, received, connected, stop = list(responses), [], [], threading.Event()

    def serve() -> None:
        while not stop.is_set():
            with suppress(TimeoutError):
                connection, peer = listening.accept()
                connected.append(peer[0])
                with connection, suppress(OSError):
                    connection.settimeout(5)
                    request = b""
                    while b"\r\n\r\n" not in request and (data := connection.recv(65536)):
                        request += data
                    received.append(request)
                    parts = scripted.pop(0) if len(scripted) > 1 else scripted[0]
                    for part in [parts] if isinstance(parts, bytes) else parts:
                        connection.sendall(part)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Wire(f"http://127.0.0.1:{listening.getsockname()[1]}", scripted, received, connected)
    finally:
        stop.set()
        thread.join()
        listening.close()


def build_client(url: str, *, accept: Sequence[str] = ("text/csv",), **given: object) -> Client:
    """Return a client that sends each request once."""
    client = Client(url, **{"hosts": ["vendor.example"], "accept": accept, "rate": Rate(10_000, 1), **given})  # type: ignore[arg-type]
    client.retry_timeout_s = 0
    return client
