"""A container registry in memory. Source: OCI distribution specification 1.1, "Push"."""

from __future__ import annotations

import hashlib
import secrets
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Contents:
    """Pushed blobs and manifests by digest, manifests also by tag, and unfinished uploads."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)


class Server(ThreadingHTTPServer):
    """The listening server."""

    def __init__(self) -> None:
        self.contents = Contents()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    """One connection of a client that pushes."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        contents = self.server.contents
        store = contents.manifests if "/manifests/" in self.path else contents.blobs
        content = b"{}" if self.path == "/v2/" else store.get(self.path.rpartition("/")[2])
        self._reply(404 if content is None else 200, content or b"")

    def do_POST(self) -> None:
        self._body()
        self._reply(202, Location=f"{urlsplit(self.path).path.rstrip('/')}/{secrets.token_hex(8)}", Range="0-0")

    def do_PATCH(self) -> None:
        uploads, path = self.server.contents.uploads, urlsplit(self.path).path
        uploads[path] = uploads.get(path, b"") + self._body()
        self._reply(202, Location=path, Range=f"0-{len(uploads[path]) - 1}")

    def do_PUT(self) -> None:
        contents, url, content = self.server.contents, urlsplit(self.path), self._body()
        if "/manifests/" in url.path:
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            contents.manifests[digest] = contents.manifests[url.path.rpartition("/")[2]] = content
        else:
            (digest,) = parse_qs(url.query)["digest"]
            contents.blobs[digest] = contents.uploads.pop(url.path, b"") + content
        self._reply(201, Location=url.path, **{"Docker-Content-Digest": digest})

    def _reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while length := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *_: object) -> None:
        """Keep standard error clean."""


@contextmanager
def run_registry() -> Iterator[tuple[str, Contents]]:
    """Run a registry during the block; yield its address and its contents."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", server.contents
        finally:
            server.shutdown()
            thread.join()
