"""A vendor that sends bytes exactly as they are scripted, one connection after the other."""

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
    answers: list[bytes | Sequence[bytes]]
    heard: list[bytes]
    connected: list[str]


def answer(body: bytes, *fields: str, status: str = "200 OK", version: str = "1.1", media: str = "text/csv") -> bytes:
    """Header fields as given and no others, but for the media type."""
    lines = [f"HTTP/{version} {status}", f"Content-Type: {media}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def sized(body: bytes, *fields: str, **more: str) -> bytes:
    """With its length; and as `wire` closes each connection, it says so: a client that keeps it might ask before it sees the end."""
    return answer(body, f"Content-Length: {len(body)}", "Connection: close", *fields, **more)


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"


@contextmanager
def wire(*answers: bytes | Sequence[bytes]) -> Iterator[Wire]:
    """Serve each connection the next answer, the last one again and again, and close it. An answer may come in several parts."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(0.05)
    scripted, heard, connected, stop = list(answers), [], [], threading.Event()

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
                    heard.append(request)
                    parts = scripted.pop(0) if len(scripted) > 1 else scripted[0]
                    for part in [parts] if isinstance(parts, bytes) else parts:
                        connection.sendall(part)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Wire(f"http://127.0.0.1:{listening.getsockname()[1]}", scripted, heard, connected)
    finally:
        stop.set()
        thread.join()
        listening.close()


def once(url: str, *, accept: Sequence[str] = ("text/csv",), **given: object) -> Client:
    """A client that asks once."""
    asked = Client(url, **{"hosts": ["vendor.example"], "accept": accept, "rate": Rate(10_000, 1), **given})  # type: ignore[arg-type]
    asked.retry_timeout_s = 0
    return asked
