"""The network layer below the HTTP client: which addresses it may connect to, and how slowly a response may arrive.

The HTTP library's timeouts are per read, so a vendor that sends a byte a second never exceeds one. The library's extension point for
this is the network backend. Ours wraps the default backend and adds these two checks.

A response that breaks a limit is a ReadTimeout, which the client retries (75):

    REQUEST_S                  a request, to the last byte of its response
    HEADERS_S                  header fields, from their first byte
    STRETCH_S, STRETCH_BYTES   the least progress of a body
"""

from __future__ import annotations

import ipaddress
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import httpcore2

if TYPE_CHECKING:
    import ssl
    import threading
    from collections.abc import Callable, Iterable

REQUEST_S = 300.0  # for one request, from sending it to the last byte of its response
STRETCH_S, STRETCH_BYTES = 30.0, 15 << 10  # the least progress of a body: half a KiB a second
HEADERS_S = 30.0  # for the header fields, from their first byte
_HEAD_END = re.compile(rb"\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)\d\d")  # Continue and Early Hints; another head follows
MAX_PORT = 65535
_NAME = re.compile(r"[a-z0-9._:\-]+")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Host(NamedTuple):
    """The host of a URL in one spelling: lower case, punycode, without a final dot, always with a port."""

    scheme: str
    name: str
    port: int


def parse_host(url: str) -> Host:
    """Return the host of a URL. Raises ValueError if it has none."""
    import httpx2  # noqa: PLC0415  slow to import; only a job that uses the network pays for it

    try:
        parts = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError, TypeError):
        raise ValueError("no URL") from None
    name = parts.raw_host.decode("ascii").lower().rstrip(".")
    if parts.scheme not in ("http", "https") or not _NAME.fullmatch(name):
        raise ValueError("no http or https URL with a host")
    port = {"http": 80, "https": 443}[parts.scheme] if parts.port is None else parts.port
    if not 0 < port <= MAX_PORT:
        raise ValueError("no port")
    return Host(parts.scheme, name, port)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet; an IPv4 address inside an IPv6 address counts as IPv4."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ipaddress.ip_address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None)
        ip = inner or ip
    return ip.is_global and not ip.is_multicast


class Progress:
    """The progress of one response, and how long its next read may take."""

    def __init__(self) -> None:
        self._ends_s = time.monotonic() + REQUEST_S
        self._head: bytearray | None = bytearray()
        self._stretch_ends_s: float | None = None
        self._missing = STRETCH_BYTES
        self.body_bytes = 0

    def expect_head(self) -> None:
        """Expect header fields again, as after a proxy's own response."""
        self._head, self._stretch_ends_s, self.body_bytes = bytearray(), None, 0

    def compute_timeout_s(self, timeout_s: float | None) -> float:
        """Return how many seconds the next read may wait. Raises ReadTimeout after a time limit."""
        now = time.monotonic()
        if now >= self._ends_s:
            raise httpcore2.ReadTimeout(f"its answer is not complete after {REQUEST_S:g} s")
        if self._stretch_ends_s is not None and now >= self._stretch_ends_s:
            if self._head is not None:
                raise httpcore2.ReadTimeout(f"its header fields are not complete after {HEADERS_S:g} s")
            if self._missing > 0:
                raise httpcore2.ReadTimeout(f"it sends less than {STRETCH_BYTES} bytes in {STRETCH_S:g} s")
            self._stretch_ends_s, self._missing = now + STRETCH_S, STRETCH_BYTES
        ends_s = min(self._ends_s, self._stretch_ends_s or self._ends_s)
        return min(ends_s - now, ends_s - now if timeout_s is None else timeout_s)

    def record(self, data: bytes) -> None:
        """Count bytes that were read, and find the end of the header fields in them."""
        if self._stretch_ends_s is None:
            self._stretch_ends_s = time.monotonic() + HEADERS_S
        self._missing -= len(data)
        if self._head is None:
            self.body_bytes += len(data)
        else:
            self._head += data
            self._find_body(self._head)

    def _find_body(self, head: bytearray) -> None:
        while end := _HEAD_END.search(head):
            interim = _INTERIM.match(head)
            del head[: end.end()]
            if not interim:
                self.body_bytes, self._head = len(head), None
                self._stretch_ends_s, self._missing = time.monotonic() + STRETCH_S, STRETCH_BYTES - len(head)
                return


class Backend(httpcore2.NetworkBackend):
    """The library's backend, with `check` on every connection and the time limits of the thread's request on every read."""

    def __init__(self, inner: httpcore2.NetworkBackend, check: Callable[[str, str], None], requests: threading.local) -> None:
        self._inner, self._check, self._requests = inner, check, requests

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect; call `check` with the host and its address before any data is sent."""
        stream = self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        try:
            self._check(host, stream.get_extra_info("server_addr")[0])
        except BaseException:
            stream.close()
            raise
        return _Stream(stream, self._requests)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._inner.sleep(seconds)


class _Stream(httpcore2.NetworkStream):
    """A connection with time limits on its reads."""

    def __init__(self, inner: httpcore2.NetworkStream, requests: threading.local) -> None:
        self._inner, self._requests = inner, requests

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        progress: Progress | None = getattr(self._requests, "progress", None)
        if progress is None:
            return self._inner.read(max_bytes, timeout)
        deadline_s = progress.compute_timeout_s(timeout)
        try:
            data = self._inner.read(max_bytes, deadline_s)
        except httpcore2.ReadTimeout:
            progress.compute_timeout_s(timeout)  # raises with the limit that was exceeded, if it was one of ours
            raise
        progress.record(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        if (progress := getattr(self._requests, "progress", None)) is not None:
            progress.expect_head()
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout), self._requests)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401  the library's own
        return self._inner.get_extra_info(info)
