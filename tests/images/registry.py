"""A container registry in memory that refuses existing tags, as ECR does with immutable ones.

Source: OCI distribution specification 1.1, "Pulling" and "Pushing". ECR refuses a tag even for the digest that it has:
https://github.com/aws/containers-roadmap/issues/2179.
"""

from __future__ import annotations

import hashlib
import json
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
    """Pushed blobs and manifests by digest, the digests of tags by repository:tag, media types of manifests, and unfinished uploads."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    media_types: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)


class Server(ThreadingHTTPServer):
    """The listening server."""

    def __init__(self) -> None:
        self.contents = Contents()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    """One connection of a client that pushes or pulls."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        contents, reference = self.server.contents, self.path.rpartition("/")[2]
        if "/manifests/" in self.path:
            digest = contents.tags.get(self._tagged(), reference)
            kind, content = contents.media_types.get(digest, ""), contents.manifests.get(digest)
            self._reply(404 if content is None else 200, content or b"", **{"Docker-Content-Digest": digest, "Content-Type": kind})
        else:
            content = b"{}" if self.path == "/v2/" else contents.blobs.get(reference)
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
            digest, tagged = f"sha256:{hashlib.sha256(content).hexdigest()}", self._tagged()
            if tagged in contents.tags:
                message = f"The image tag already exists in the repository and cannot be overwritten because the tag is immutable: {tagged}"
                self._reply(400, json.dumps({"errors": [{"code": "TAG_INVALID", "message": message}]}).encode())
                return
            contents.manifests[digest], contents.media_types[digest] = content, self.headers.get("Content-Type", "")
            if not tagged.endswith(digest):
                contents.tags[tagged] = digest
        else:
            (digest,) = parse_qs(url.query)["digest"]
            contents.blobs[digest] = contents.uploads.pop(url.path, b"") + content
        self._reply(201, Location=url.path, **{"Docker-Content-Digest": digest})

    def _tagged(self) -> str:
        """Return repository:reference from the path of a manifest."""
        repository, _, reference = urlsplit(self.path).path.removeprefix("/v2/").partition("/manifests/")
        return f"{repository}:{reference}"

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
