"""Who may be connected to, and how slowly an answer may come."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from jobkit import network
from jobkit.errors import BadDataError, JobError, MisconfiguredError, UsageError
from jobkit.http import RetryableError
from jobkit.network import Host, host_of, is_public

from jobs.jobkit.tests.wire import answer, chunked, once, sized, wire

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
    assert host_of(url) == host


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://a", "https://", "https://a:0", "https://a:65536", "https://[::1", "https://\ud83d.example", "https://a b"]
)
def test_what_has_no_host_is_told_so(url: str) -> None:
    with pytest.raises(ValueError, match="no "):
        host_of(url)


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
def test_a_direct_connection_to_a_private_address_is_refused_whatever_proxies_are_named(
    environment: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The declared name leads to loopback. The port and scheme are the test server's, which a job would refuse before."""
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with wire(sized(BODY)) as vendor:
        port = int(vendor.url.rpartition(":")[2])
        monkeypatch.setattr("socket.create_connection", _resolving("public.example", "127.0.0.1"))
        with once(vendor.url) as asked:
            monkeypatch.setattr(asked, "_declared", frozenset(["public.example"]))
            monkeypatch.setattr(asked, "_allow", lambda _url: "public.example")
            asked.base_url = f"http://{name}:{port}"
            with pytest.raises(MisconfiguredError, match="leads to the private address 127.0.0.1"):
                asked.get("/x")
    assert vendor.heard in ([], [b""])


def test_a_connection_through_a_proxy_is_the_proxys_to_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    with wire(sized(BODY)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with once("http://10.255.255.1") as asked:
            assert asked.get("/x").body == BODY
    assert proxy.heard[0].startswith(b"GET http://10.255.255.1/x ")


@pytest.mark.parametrize("value", ["socks5://127.0.0.1:9", "nonsense://127.0.0.1", "http://[::1", "http://127.0.0.1:port"])
def test_a_proxy_that_cannot_be_used_is_a_setting_of_ours(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(MisconfiguredError, match="ALL_PROXY cannot be used"):
        once("https://vendor.example")


@pytest.mark.parametrize(
    "base", ["http://vendor.example", "https://vendor.example:8443", "https://vendor.example.:444", "http://VENDOR.example:443"]
)
def test_a_declared_host_is_called_by_https_only(base: str) -> None:
    with pytest.raises(UsageError, match="expected https at port 443"):
        once(base)


@pytest.mark.parametrize("base", ["https://VENDOR.example", "https://vendor.example.", "https://vendor.example:443/below"])
def test_other_spellings_of_a_declared_host_are_that_host(base: str) -> None:
    with once(base) as asked:
        assert asked._given is None


@pytest.mark.parametrize(
    "target",
    ["http://other.example/", "https://vendor.example.evil/", "//other.example/x", "https://vendor.example@other.example/", "https://\u00fc.example/",
     "https://127.0.0.1/", "https://[::ffff:127.0.0.1]/", "https://vendor.example:444/", "file:///etc/passwd", "https://", "http://[::1",
     "https://a:99999999/", "javascript:x", "https://xn--a/", "/\xff\xfe:x", "https://\xe9\xff/"],
)  # fmt: skip
def test_a_redirect_elsewhere_or_nowhere_is_refused_in_a_sentence(target: str) -> None:
    field = f"Location: {target}".encode().decode("latin-1")
    with wire(sized(b"", field, status="302 Found"), sized(BODY)) as vendor, once(vendor.url) as asked:
        if target.startswith("/\xff"):  # no address elsewhere: a path of this host
            assert asked.get("/x").body == BODY
            return
        with pytest.raises((BadDataError, RetryableError)):
            asked.get("/x")
    assert len(vendor.heard) == 1


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "HEADERS_S", 0.4)
    monkeypatch.setattr(network, "STRETCH_S", 0.4)


def _dripping(data: bytes, stop: threading.Event) -> Iterator[bytes]:
    for at in range(len(data)):
        if stop.wait(0.02):
            return
        yield data[at : at + 1]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden", "503 Busy"])
@pytest.mark.parametrize("part", ["head", "body", "chunks"])
def test_an_answer_that_drips_is_cut_off(part: str, status: str) -> None:
    body = b"1,2\n" * 2000
    head, tail = {
        "head": (b"", sized(BODY, *(f"X-{n}: {n}" for n in range(300)), status=status)),
        "body": (answer(b"", f"Content-Length: {len(body)}", status=status), body),
        "chunks": (answer(b"", "Transfer-Encoding: chunked", status=status), chunked(*[b"1,2\n"] * 2000)),
    }[part]
    stop = threading.Event()
    began = time.monotonic()
    with wire(_after(head, _dripping(tail, stop))) as vendor, once(vendor.url) as asked:
        try:
            with pytest.raises(JobError) as raised:
                asked.get("/x")
        finally:
            stop.set()
    assert raised.value.exit_code == (77 if (status[:3], part) in (("403", "body"), ("403", "chunks")) else 75)
    if status == "200 OK":
        assert ("its header fields are not complete" if part == "head" else "it sends less than") in str(raised.value)
    assert time.monotonic() - began < 40  # all of it would take minutes


def test_a_request_has_a_deadline_however_fast_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "REQUEST_S", 0.5)
    stop = threading.Event()

    def endless() -> Iterator[bytes]:
        while not stop.wait(0.001):
            yield b"1000\r\n" + b"1,2\n" * 1024 + b"\r\n"

    with wire(_after(answer(b"", "Transfer-Encoding: chunked"), endless())) as vendor, once(vendor.url) as asked:
        asked.max_body_bytes = 1 << 40
        try:
            with pytest.raises(RetryableError, match="not complete after 0.5 s"):
                asked.get("/x")
        finally:
            stop.set()


@pytest.mark.usefixtures("hurried")
def test_an_answer_that_pauses_and_then_comes_is_taken() -> None:
    def late() -> Iterator[bytes]:
        time.sleep(0.2)
        yield b"1,2\n" * 50_000

    with wire(_after(answer(b"", "Content-Length: 200000"), late())) as vendor, once(vendor.url) as asked:
        assert len(asked.get("/x").body or b"") == 200_000


def _after(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def _resolving(name: str, address: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
    """What connects, with one name resolved as we like."""
    import socket

    connect = socket.create_connection

    def connected(to: tuple[str, int], *given: object, **named: object) -> socket.socket:
        host, port = to
        return connect((address if host.lower().rstrip(".") == name else host, port), *given, **named)  # type: ignore[arg-type]

    return connected
