"""Who may be connected to, and how slowly an answer may come."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import httpcore2
import pytest
from jobkit import network
from jobkit.errors import BadDataError, JobError, MisconfiguredError, UsageError
from jobkit.http import RetryableError
from jobkit.network import Host, is_public, parse_host

from jobs.jobkit.tests.wire import build_client, build_response, chunked, sized, wire

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = b"a,b\n"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.9.9", "169.254.169.254", "100.64.0.1", "0.1.2.3", "224.0.0.1", "::1", "::",
     "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::a00:1", "2001:db8::1"],
)  # fmt: skip
def test_these_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::"])
def test_these_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("HTTPS://WWW.Example.ORG/x", Host("https", "www.example.org", 443)),
        ("https://www.example.org.:443", Host("https", "www.example.org", 443)),
        ("http://www.example.org:8080", Host("http", "www.example.org", 8080)),
        ("https://b\u00fccher.example", Host("https", "xn--bcher-kva.example", 443)),
        ("https://[::FFFF:7F00:1]/", Host("https", "::ffff:7f00:1", 443)),
    ],
)
def test_a_host_has_one_spelling(url: str, host: Host) -> None:
    assert parse_host(url) == host


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://a", "https://", "https://a:0", "https://a:65536", "https://[::1", "https://\ud83d.example", "https://a b"]
)
def test_a_url_without_host_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no "):
        parse_host(url)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NO_PROXY": "127.0.0.1"},
        {"no_proxy": "localhost,.example"},
        {"NO_PROXY": "*", "HTTP_PROXY": "http://127.0.0.1:9"},
        {"HTTP_PROXY": ""},
        {"HTTPS_PROXY": "http://127.0.0.1:9"},
        {"FTP_PROXY": "http://127.0.0.1:9"},
        {"NO_PROXY": "public.example,public.example.", "ALL_PROXY": "http://127.0.0.1:9"},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["public.example", "PUBLIC.Example", "public.example."])
def test_a_direct_connection_to_a_private_address_is_refused_with_any_proxy_setting(
    environment: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The declared name leads to loopback. The port and scheme are the test server's, which a job would refuse before."""
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with wire(sized(BODY)) as vendor:
        port = int(vendor.url.rpartition(":")[2])
        monkeypatch.setattr("socket.create_connection", _resolve_as("public.example", "127.0.0.1"))
        with build_client(vendor.url) as client:
            monkeypatch.setattr(client, "_declared", frozenset(["public.example"]))
            monkeypatch.setattr(client, "_check_host", lambda _url: "public.example")
            client.base_url = f"http://{name}:{port}"
            with pytest.raises(MisconfiguredError):
                client.get("/x")
    assert vendor.received in ([], [b""])


def test_a_connection_through_a_proxy_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    with wire(sized(BODY)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with build_client("http://10.255.255.1") as client:
            assert client.get("/x").body == BODY
    assert proxy.received[0].startswith(b"GET http://10.255.255.1/x ")


@pytest.mark.parametrize("value", ["socks5://127.0.0.1:9", "nonsense://127.0.0.1", "http://[::1", "http://127.0.0.1:port"])
def test_an_unusable_proxy_is_misconfigured(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(MisconfiguredError):
        build_client("https://vendor.example")


@pytest.mark.parametrize(
    "base", ["http://vendor.example", "https://vendor.example:8443", "https://vendor.example.:444", "http://VENDOR.example:443"]
)
def test_a_declared_host_is_called_by_https_only(base: str) -> None:
    with pytest.raises(UsageError):
        build_client(base)


@pytest.mark.parametrize("base", ["https://VENDOR.example", "https://vendor.example.", "https://vendor.example:443/below"])
def test_other_spellings_of_a_declared_host_are_accepted(base: str) -> None:
    with build_client(base) as client:
        assert client._base_host is None


@pytest.mark.parametrize(
    "target",
    ["http://other.example/", "https://vendor.example.evil/", "//other.example/x", "https://vendor.example@other.example/", "https://\u00fc.example/",
     "https://127.0.0.1/", "https://[::ffff:127.0.0.1]/", "https://vendor.example:444/", "file:///etc/passwd", "https://", "http://[::1",
     "https://a:99999999/", "javascript:x", "https://xn--a/", "/\xff\xfe:x", "https://\xe9\xff/"],
)  # fmt: skip
def test_a_redirect_to_another_or_an_invalid_address_is_refused(target: str) -> None:
    field = f"Location: {target}".encode().decode("latin-1")
    with wire(sized(b"", field, status="302 Found"), sized(BODY)) as vendor, build_client(vendor.url) as client:
        if target.startswith("/\xff"):  # a path of this host
            assert client.get("/x").body == BODY
            return
        with pytest.raises((BadDataError, RetryableError)):
            client.get("/x")
    assert len(vendor.received) == 1


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "HEADERS_S", 0.4)
    monkeypatch.setattr(network, "STRETCH_S", 0.4)


def _send_slowly(data: bytes, stop: threading.Event) -> Iterator[bytes]:
    for at in range(len(data)):
        if stop.wait(0.02):
            return
        yield data[at : at + 1]


@pytest.mark.usefixtures("short_limits")
@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden", "503 Busy"])
@pytest.mark.parametrize("part", ["head", "body", "chunks"])
def test_a_response_that_arrives_too_slowly_is_cut_off(part: str, status: str) -> None:
    body = b"1,2\n" * 2000
    head, tail = {
        "head": (b"", sized(BODY, *(f"X-{n}: {n}" for n in range(300)), status=status)),
        "body": (build_response(b"", f"Content-Length: {len(body)}", status=status), body),
        "chunks": (build_response(b"", "Transfer-Encoding: chunked", status=status), chunked(*[b"1,2\n"] * 2000)),
    }[part]
    stop = threading.Event()
    began = time.monotonic()
    with wire(_after(head, _send_slowly(tail, stop))) as vendor, build_client(vendor.url) as client:
        try:
            with pytest.raises(JobError) as raised:
                client.get("/x")
        finally:
            stop.set()
    assert raised.value.exit_code == (77 if (status[:3], part) in (("403", "body"), ("403", "chunks")) else 75)
    if status == "200 OK":
        assert ("its header fields are not complete" if part == "head" else "it sends less than") in str(raised.value)
    assert time.monotonic() - began < 40  # all of it would take minutes


def test_an_endless_response_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "REQUEST_S", 0.5)
    stop = threading.Event()

    def endless() -> Iterator[bytes]:
        while not stop.wait(0.001):
            yield b"1000\r\n" + b"1,2\n" * 1024 + b"\r\n"

    with wire(_after(build_response(b"", "Transfer-Encoding: chunked"), endless())) as vendor, build_client(vendor.url) as client:
        client.max_body_bytes = 1 << 40
        try:
            with pytest.raises(RetryableError, match="not complete after 0.5 s"):
                client.get("/x")
        finally:
            stop.set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the monotonic clock by one that a test sets: the only item is its time in seconds."""
    now_s = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])
    return now_s


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n\r\n"


def test_a_pause_shorter_than_the_limit_is_allowed(clock: list[float]) -> None:
    progress = network.Progress()
    progress.record(HEAD)
    clock[0] += network.STRETCH_S - 1
    assert progress.compute_timeout_s(None) == pytest.approx(1)
    progress.record(bytes(network.STRETCH_BYTES))
    clock[0] += 1
    assert progress.compute_timeout_s(None) == network.STRETCH_S
    assert progress.body_bytes == network.STRETCH_BYTES


def test_too_few_bytes_in_a_stretch_are_a_timeout(clock: list[float]) -> None:
    progress = network.Progress()
    progress.record(HEAD + bytes(network.STRETCH_BYTES - 1))
    clock[0] += network.STRETCH_S
    with pytest.raises(httpcore2.ReadTimeout):
        progress.compute_timeout_s(None)


def test_header_fields_after_an_interim_response_are_not_the_body(clock: list[float]) -> None:
    progress = network.Progress()
    progress.record(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + HEAD[:20])
    clock[0] += network.HEADERS_S - 1
    progress.record(HEAD[20:] + b"1,2\n")
    assert progress.body_bytes == 4


def _after(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def _resolve_as(name: str, address: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
    """Return socket.create_connection, with one name resolved to an address."""
    import socket

    connect = socket.create_connection

    def connected(to: tuple[str, int], *given: object, **named: object) -> socket.socket:
        host, port = to
        return connect((address if host.lower().rstrip(".") == name else host, port), *given, **named)  # type: ignore[arg-type]

    return connected
