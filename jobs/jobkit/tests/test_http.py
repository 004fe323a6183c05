"""The HTTP client against a local server with scripted responses."""

from __future__ import annotations

import gzip
import itertools
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from jobkit import http, rate_limit
from jobkit.errors import AuthError, BadDataError, MisconfiguredError, TemporaryError, UsageError
from jobkit.http import Client, Rate, ResourceNotFoundError, RetryableError
from jobkit.lake import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

CSV = {"Content-Type": "text/csv"}


@dataclass
class ScriptedResponse:
    """A scripted response. `cut` is how many bytes of the body are not sent."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: dict(CSV))
    body: bytes = b"a,b\n"
    cut: int = 0


@dataclass
class Vendor:
    url: str
    script: list[ScriptedResponse]
    requests: list[dict[str, str]]


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with serve_vendor() as vendor:
        yield vendor


@contextmanager
def serve_vendor() -> Iterator[Vendor]:
    script: list[ScriptedResponse] = []
    requests: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            requests.append({"path": self.path, "body": body, **{name.lower(): value for name, value in self.headers.items()}})
            scripted = script.pop(0) if script else ScriptedResponse()
            self.send_response(scripted.status)
            for name, value in scripted.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(scripted.body)))
            self.end_headers()
            self.wfile.write(scripted.body[: len(scripted.body) - scripted.cut])

        do_POST = do_GET  # noqa: N815  the name that the library calls

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Vendor(f"http://127.0.0.1:{server.server_port}", script, requests)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make two attempts with hardly a pause."""
    import stamina

    monkeypatch.setattr(http, "MAX_ATTEMPTS", 2)
    context = stamina.retry_context
    monkeypatch.setattr(stamina, "retry_context", lambda **given: context(**{**given, "wait_initial": 0.01, "wait_jitter": 0}))


def build_client(vendor: Vendor, **given: object) -> Client:
    options: dict[str, object] = {"hosts": ["vendor.example"], "accept": ("text/csv",), "rate": Rate(1000, 1), **given}
    return Client(vendor.url, **options)  # type: ignore[arg-type]


def test_a_response_comes_with_its_metadata(vendor: Vendor) -> None:
    vendor.script.append(ScriptedResponse(headers={**CSV, "ETag": '"1"', "Last-Modified": "yesterday"}))
    with build_client(vendor) as client:
        response = client.get("/x", (("a", "b c"),))
    assert (response.body, *response[1:5]) == (b"a,b\n", f"{vendor.url}/x?a=b+c", "text/csv", '"1"', "yesterday")
    assert response.date is not None


def test_a_known_response_makes_the_request_conditional(vendor: Vendor) -> None:
    vendor.script.append(ScriptedResponse(status=304, body=b""))
    known = Source("p", "s", 1, "u", "text/csv", '"1"', "yesterday")
    with build_client(vendor) as client:
        assert client.get("/x", known=known).body is None
    sent = vendor.requests[0]
    assert (sent["if-none-match"], sent["if-modified-since"]) == ('"1"', "yesterday")


def test_gzip_is_decoded(vendor: Vendor) -> None:
    vendor.script.append(ScriptedResponse(headers={**CSV, "Content-Encoding": "gzip"}, body=gzip.compress(b"hello")))
    with build_client(vendor) as client:
        assert client.get("/x").body == b"hello"


def test_retry_after_is_honoured(vendor: Vendor) -> None:
    vendor.script.append(ScriptedResponse(status=429, headers={"Retry-After": "1"}, body=b""))
    began = time.monotonic()
    with build_client(vendor) as client:
        assert client.get("/x").body == b"a,b\n"
    assert time.monotonic() - began >= 1.0


def test_a_long_retry_after_is_temporary_without_a_retry(vendor: Vendor) -> None:
    vendor.script.append(ScriptedResponse(status=429, headers={"Retry-After": "3600"}, body=b""))
    with build_client(vendor) as client, pytest.raises(TemporaryError):
        client.get("/x")
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    "scripted",
    [ScriptedResponse(status=503), ScriptedResponse(status=500), ScriptedResponse(body=b"12345", cut=2)],
    ids=["503", "500", "cut"],
)
def test_a_temporary_failure_is_retried(vendor: Vendor, scripted: ScriptedResponse) -> None:
    vendor.script.append(scripted)
    with build_client(vendor) as client:
        assert client.get("/x").body == b"a,b\n"
    assert len(vendor.requests) == 2


def test_a_question_is_sent_by_post_and_retried_like_a_get(vendor: Vendor) -> None:
    vendor.script += [ScriptedResponse(503, {"Retry-After": "0"}), ScriptedResponse(body=b"1,2\n")]
    with Client(vendor.url, hosts=["example.com"], accept=["text/csv"], rate=Rate(1000, 1)) as client:
        assert client.get("/mapping", body='[{"a":1}]').body == b"1,2\n"
    sent = [(request["path"], request["body"], request["content-type"]) for request in vendor.requests]
    assert sent == [("/mapping", '[{"a":1}]', "application/json")] * 2


def test_a_request_is_not_retried_after_the_client_was_closed(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[str] = []

    def break_off(client: Client, url: str, *_: object) -> None:
        attempts.append(url)
        client.__exit__()
        raise RetryableError("the connection broke off")

    monkeypatch.setattr(Client, "_send_once", break_off)
    with build_client(vendor) as client, pytest.raises(RetryableError):
        client.get("/x")
    assert len(attempts) == 1


def test_a_body_that_is_always_cut_short_is_temporary(vendor: Vendor) -> None:
    whole = gzip.compress(b"x" * 1000)
    short = ScriptedResponse(headers={**CSV, "Content-Encoding": "gzip"}, body=whole[:-9])
    vendor.script.extend([ScriptedResponse(body=b"12345", cut=2), short])
    with build_client(vendor) as client, pytest.raises(RetryableError):
        client.get("/x")


def test_a_gzip_bomb_is_refused(vendor: Vendor) -> None:
    vendor.script.append(ScriptedResponse(headers={**CSV, "Content-Encoding": "gzip"}, body=gzip.compress(b"0" * 100_000)))
    with build_client(vendor) as client:
        client.max_body_bytes = 1000
        with pytest.raises(BadDataError):
            client.get("/x")


@pytest.mark.parametrize(
    ("scripted", "error", "message"),
    [
        (ScriptedResponse(headers={"Content-Type": "image/png"}), BadDataError, "answered 200 with image/png where text/csv was expected"),
        (ScriptedResponse(headers={"Content-Type": "text/csv-evil"}), BadDataError, "with text/csv-evil where text/csv"),
        (ScriptedResponse(headers={}), BadDataError, "no media type"),
        (ScriptedResponse(status=401), AuthError, "refuses us"),
        (ScriptedResponse(status=403, body=b"<h1>Undeclared  Tool</h1>"), AuthError, "Undeclared Tool"),
        (ScriptedResponse(status=404), ResourceNotFoundError, "does not exist"),
        (ScriptedResponse(status=400, body=b"bad date"), UsageError, "bad date"),
    ],
)
def test_other_responses_are_errors_without_a_retry(
    vendor: Vendor, scripted: ScriptedResponse, error: type[Exception], message: str
) -> None:
    vendor.script.append(scripted)
    with build_client(vendor) as client, pytest.raises(error, match=message):
        client.get("/x")
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    "target", ["http://other.example/x", "https://169.254.169.254/latest", "http://vendor.example/plain", "https://vendor.example:8443/"]
)
def test_a_redirect_to_another_host_is_refused(vendor: Vendor, target: str) -> None:
    vendor.script.append(ScriptedResponse(status=302, headers={"Location": target}, body=b""))
    with build_client(vendor) as client, pytest.raises(BadDataError):
        client.get("/x")


def test_a_path_may_be_an_address_of_another_declared_host_and_of_no_other() -> None:
    hosts = ["api.example.com", "data.example.com"]
    with Client("https://api.example.com/v1", hosts=hosts, accept=["text/csv"], rate=Rate(1000, 1)) as client:
        assert client.url("/x", [("a", "1")]) == "https://api.example.com/v1/x?a=1"
        assert client.url("https://data.example.com/x", [("a", "1")]) == "https://data.example.com/x?a=1"
        with pytest.raises(BadDataError, match="https://other.example.com:443, which this job may not call"):
            client.get("https://other.example.com/x")


def test_a_redirect_on_the_same_host_is_followed(vendor: Vendor) -> None:
    vendor.script.append(ScriptedResponse(status=301, headers={"Location": "/y"}, body=b""))
    with build_client(vendor) as client:
        assert client.get("/x").body == b"a,b\n"
    assert [request["path"] for request in vendor.requests] == ["/x", "/y"]


def test_a_secret_parameter_reaches_the_vendor_and_no_url_message_or_redirect(vendor: Vendor) -> None:
    vendor.script += [ScriptedResponse(status=301, headers={"Location": "/y"}, body=b""), ScriptedResponse(), ScriptedResponse(status=400)]
    with build_client(vendor, secret_params={"api_key": "k&y"}) as client:
        assert client.get("/x", (("a", "b"),)).url == f"{vendor.url}/x?a=b"
        with pytest.raises(UsageError) as refusal:
            client.get("/z")
    assert [request["path"] for request in vendor.requests] == ["/x?a=b&api_key=k%26y", "/y", "/z?api_key=k%26y"]
    assert "k&y" not in str(refusal.value)
    assert "k%26y" not in str(refusal.value)


def test_a_public_name_that_leads_to_a_private_address_is_refused(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A declared host whose DNS was turned to loopback: refused once connected, before a byte is sent."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    client = build_client(vendor)
    monkeypatch.setattr(client, "_declared", frozenset(["127.0.0.1"]))
    with client, pytest.raises(MisconfiguredError):
        client.get("/x")
    assert vendor.requests == []


def test_requests_never_exceed_the_rate_in_any_window(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine wakes a waiting thread late; the next request must not catch up. The clock is simulated."""
    now_s, sent, delays_s = 0.0, [], itertools.cycle([0.09, 0.0, 0.05, 0.0, 0.0])

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds + next(delays_s)

    monkeypatch.setattr("pyrate_limiter.clocks.monotonic_ns", lambda: int(now_s * 1e9))
    monkeypatch.setattr("pyrate_limiter.limiter.sleep", sleep)
    with build_client(vendor, rate=Rate(4, 0.4)) as client:
        acquire = client._limiter.try_acquire
        monkeypatch.setattr(client._limiter, "try_acquire", lambda name: (acquire(name), sent.append(now_s)))
        for _ in range(12):
            client.get("/x")
    assert len(vendor.requests) == len(sent) == 12
    assert max(sum(first <= at < first + 0.4 for at in sent) for first in sent) <= 4


@pytest.mark.parametrize(("rate", "sent_at"), [(Rate(10, 1), (1, 102)), (Rate(2, 1), (1, 510)), (Rate(5, 60), (5, 61_000))])
def test_a_request_that_arrives_late_does_not_break_the_rate(rate: Rate, sent_at: tuple[int, int]) -> None:
    """Ten at once each second, one of them half a second late, are eleven in a second; one every 102 ms are not."""
    safe = rate_limit.safe_rate(*rate)
    assert (safe.limit, safe.interval) == sent_at
    assert 0.95 <= safe.limit / safe.interval * rate.per_s * 1000 / rate.requests < 1


def test_an_unreachable_vendor_is_temporary() -> None:
    with serve_vendor() as gone:
        pass
    with build_client(gone) as client, pytest.raises(TemporaryError):
        client.get("/x")


@pytest.mark.parametrize(
    "url", ["ftp://x", "https://user:pw@host", "nonsense", "http://", "https://[::1", "https://a:99999", "https://ü.example"]
)
def test_an_invalid_base_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError):
        Client(url, hosts=[], accept=(), rate=Rate(1, 1))


@pytest.mark.parametrize(
    "scripted",
    [
        ScriptedResponse(status=401, body=b'{"detail": "Rate limit: slow down"}'),
        ScriptedResponse(status=403, body=b"<p>Too many requests from your address.</p>"),
        ScriptedResponse(body=b'{"message": "Service temporarily unavailable"}'),
        ScriptedResponse(headers={"Content-Type": "application/json"}, body=b'{"error": {"text": "Limit exceeded"}}'),
        ScriptedResponse(body=b"Sorry, we are down for maintenance, come back soon.\n"),
        ScriptedResponse(status=206),
        ScriptedResponse(status=203),
    ],
    ids=["rate-401", "rate-403", "error-as-csv", "error-as-json", "sentence-with-commas", "206", "203"],
)
def test_a_temporary_error_is_recognised_in_every_form(vendor: Vendor, scripted: ScriptedResponse) -> None:
    vendor.script.append(scripted)
    with build_client(vendor) as client:
        assert client.get("/x").body == b"a,b\n"
    assert len(vendor.requests) == 2


@pytest.mark.parametrize(
    "scripted",
    [
        ScriptedResponse(status=401, body=b'{"detail": "Invalid token."}'),
        ScriptedResponse(status=403, body=b'{"message": "Your plan does not include this."}'),
    ],
    ids=["401", "403"],
)
def test_a_refusal_that_does_not_mention_the_rate_is_final(vendor: Vendor, scripted: ScriptedResponse) -> None:
    vendor.script.append(scripted)
    with build_client(vendor) as client, pytest.raises(AuthError):
        client.get("/x")
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(("code", "has_answered", "retries"), [("EAI_NONAME", False, 0), ("EAI_NONAME", True, 2), ("EAI_AGAIN", False, 2)])
def test_a_name_that_does_not_exist_fails_at_once_unless_it_was_found_before(
    code: str, retries: int, vendor: Vendor, monkeypatch: pytest.MonkeyPatch, *, has_answered: bool
) -> None:
    """A resolver that does not answer, and a name that it knew a moment ago, are passing failures and are retried."""
    asked: list[str] = []

    def fail(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(getattr(socket, code), "Name or service not known")

    with build_client(vendor) as asking:
        asking.retry_timeout_s = 60
        if has_answered:
            asking.get("/first")
        monkeypatch.setattr(socket, "getaddrinfo", fail)
        monkeypatch.setattr(http, "MAX_ATTEMPTS", 3)
        with pytest.raises(TemporaryError, match="does not exist" if not retries else "failed or broke off"):
            asking.get("/second")
    assert len(asked) == retries + 1
