"""The client's promises, against a local server that misbehaves on purpose."""

from __future__ import annotations

import gzip
import itertools
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
class Says:
    """One scripted answer; `cut` is how many bytes of the body are held back."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: dict(CSV))
    body: bytes = b"a,b\n"
    cut: int = 0


@dataclass
class Vendor:
    url: str
    script: list[Says]
    requests: list[dict[str, str]]


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with serving() as serves:
        yield serves


@contextmanager
def serving() -> Iterator[Vendor]:
    script: list[Says] = []
    requests: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append({"path": self.path, **{name.lower(): value for name, value in self.headers.items()}})
            says = script.pop(0) if script else Says()
            self.send_response(says.status)
            for name, value in says.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(says.body)))
            self.end_headers()
            self.wfile.write(says.body[: len(says.body) - says.cut])

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
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tries and hardly a wait: patience itself is tested where it is the point."""
    import stamina

    monkeypatch.setattr(http, "TRIES", 2)
    context = stamina.retry_context
    monkeypatch.setattr(stamina, "retry_context", lambda **given: context(**{**given, "wait_initial": 0.01, "wait_jitter": 0}))


def client(vendor: Vendor, **given: object) -> Client:
    options: dict[str, object] = {"hosts": ["vendor.example"], "accept": ("text/csv",), "rate": Rate(1000, 1), **given}
    return Client(vendor.url, **options)  # type: ignore[arg-type]


def test_an_answer_comes_with_what_the_vendor_says_of_it(vendor: Vendor) -> None:
    vendor.script.append(Says(headers={**CSV, "ETag": '"1"', "Last-Modified": "yesterday"}))
    with client(vendor) as asked:
        answer = asked.get("/x", (("a", "b c"),))
    assert (answer.body, *answer[1:5]) == (b"a,b\n", f"{vendor.url}/x?a=b+c", "text/csv", '"1"', "yesterday")
    assert answer.date is not None


def test_a_known_answer_is_asked_for_conditionally(vendor: Vendor) -> None:
    vendor.script.append(Says(status=304, body=b""))
    known = Source("p", "s", 1, "u", "text/csv", '"1"', "yesterday")
    with client(vendor) as asked:
        assert asked.get("/x", known=known).body is None
    sent = vendor.requests[0]
    assert (sent["if-none-match"], sent["if-modified-since"]) == ('"1"', "yesterday")


def test_gzip_is_unpacked(vendor: Vendor) -> None:
    vendor.script.append(Says(headers={**CSV, "Content-Encoding": "gzip"}, body=gzip.compress(b"hello")))
    with client(vendor) as asked:
        assert asked.get("/x").body == b"hello"


def test_retry_after_is_honoured(vendor: Vendor) -> None:
    vendor.script.append(Says(status=429, headers={"Retry-After": "1"}, body=b""))
    began = time.monotonic()
    with client(vendor) as asked:
        assert asked.get("/x").body == b"a,b\n"
    assert time.monotonic() - began >= 1.0


def test_a_vendor_that_wants_a_long_wait_ends_the_run_as_temporary(vendor: Vendor) -> None:
    vendor.script.append(Says(status=429, headers={"Retry-After": "3600"}, body=b""))
    with client(vendor) as asked, pytest.raises(TemporaryError, match="busy"):
        asked.get("/x")
    assert len(vendor.requests) == 1


@pytest.mark.parametrize("says", [Says(status=503), Says(status=500), Says(body=b"12345", cut=2)], ids=["503", "500", "cut"])
def test_what_may_pass_is_tried_again(vendor: Vendor, says: Says) -> None:
    vendor.script.append(says)
    with client(vendor) as asked:
        assert asked.get("/x").body == b"a,b\n"
    assert len(vendor.requests) == 2


def test_a_request_that_breaks_off_because_the_client_is_closed_is_not_tried_again(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    def breaks_off(asked: Client, url: str, _known: object) -> None:
        tries.append(url)
        asked.__exit__()
        raise RetryableError("the connection broke off")

    monkeypatch.setattr(Client, "_once", breaks_off)
    with client(vendor) as asked, pytest.raises(RetryableError):
        asked.get("/x")
    assert len(tries) == 1


def test_a_body_that_is_always_cut_short_is_temporary_and_never_handed_on(vendor: Vendor) -> None:
    whole = gzip.compress(b"x" * 1000)
    short = Says(headers={**CSV, "Content-Encoding": "gzip"}, body=whole[:-9])
    vendor.script.extend([Says(body=b"12345", cut=2), short])
    with client(vendor) as asked, pytest.raises(RetryableError, match="cut short"):
        asked.get("/x")


def test_a_gzip_bomb_is_refused(vendor: Vendor) -> None:
    vendor.script.append(Says(headers={**CSV, "Content-Encoding": "gzip"}, body=gzip.compress(b"0" * 100_000)))
    with client(vendor) as asked:
        asked.max_body_bytes = 1000
        with pytest.raises(BadDataError, match="more than"):
            asked.get("/x")


@pytest.mark.parametrize(
    ("says", "error", "told"),
    [
        (Says(headers={"Content-Type": "image/png"}), BadDataError, "answered 200 with image/png where text/csv was expected"),
        (Says(headers={"Content-Type": "text/csv-evil"}), BadDataError, "with text/csv-evil where text/csv"),
        (Says(headers={}), BadDataError, "no media type"),
        (Says(status=401), AuthError, "refuses us"),
        (Says(status=403, body=b"<h1>Undeclared  Tool</h1>"), AuthError, "Undeclared Tool"),
        (Says(status=404), ResourceNotFoundError, "does not exist"),
        (Says(status=400, body=b"bad date"), UsageError, "bad date"),
    ],
)
def test_other_answers_are_errors_that_are_not_tried_again(vendor: Vendor, says: Says, error: type[Exception], told: str) -> None:
    vendor.script.append(says)
    with client(vendor) as asked, pytest.raises(error, match=told):
        asked.get("/x")
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    "target", ["http://other.example/x", "https://169.254.169.254/latest", "http://vendor.example/plain", "https://vendor.example:8443/"]
)
def test_a_redirect_elsewhere_is_refused(vendor: Vendor, target: str) -> None:
    vendor.script.append(Says(status=302, headers={"Location": target}, body=b""))
    with client(vendor) as asked, pytest.raises(BadDataError, match="may not call"):
        asked.get("/x")


def test_a_redirect_on_the_same_host_is_followed(vendor: Vendor) -> None:
    vendor.script.append(Says(status=301, headers={"Location": "/y"}, body=b""))
    with client(vendor) as asked:
        assert asked.get("/x").body == b"a,b\n"
    assert [request["path"] for request in vendor.requests] == ["/x", "/y"]


def test_a_public_name_that_leads_to_a_private_address_is_refused(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A declared host whose DNS was turned to loopback: refused once connected, before a byte is sent."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    asked = client(vendor)
    monkeypatch.setattr(asked, "_declared", frozenset(["127.0.0.1"]))
    with asked, pytest.raises(MisconfiguredError, match="private address 127"):
        asked.get("/x")
    assert vendor.requests == []


def test_requests_never_exceed_the_rate_in_any_window(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine wakes a waiting thread late; the next request must not catch up. The clock is simulated."""
    now_s, sent, delays_s = 0.0, [], itertools.cycle([0.09, 0.0, 0.05, 0.0, 0.0])

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds + next(delays_s)

    monkeypatch.setattr("pyrate_limiter.clocks.monotonic_ns", lambda: int(now_s * 1e9))
    monkeypatch.setattr("pyrate_limiter.limiter.sleep", sleep)
    with client(vendor, rate=Rate(4, 0.4)) as asked:
        acquire = asked._limiter.try_acquire
        monkeypatch.setattr(asked._limiter, "try_acquire", lambda name: (acquire(name), sent.append(now_s)))
        for _ in range(12):
            asked.get("/x")
    assert len(vendor.requests) == len(sent) == 12
    assert max(sum(first <= at < first + 0.4 for at in sent) for first in sent) <= 4


@pytest.mark.parametrize(("rate", "sent_at"), [(Rate(10, 1), (1, 102)), (Rate(2, 1), (1, 510)), (Rate(5, 60), (5, 61_000))])
def test_a_request_that_arrives_late_does_not_break_the_rate(rate: Rate, sent_at: tuple[int, int]) -> None:
    """Ten at once each second, one of them half a second late, are eleven in a second; one every 102 ms are not."""
    safe = rate_limit.safe_rate(*rate)
    assert (safe.limit, safe.interval) == sent_at
    assert 0.95 <= safe.limit / safe.interval * rate.per_s * 1000 / rate.requests < 1


def test_a_vendor_that_is_not_there_is_temporary() -> None:
    with serving() as gone:
        pass
    with client(gone) as asked, pytest.raises(TemporaryError, match="try again later"):
        asked.get("/x")


@pytest.mark.parametrize(
    "url", ["ftp://x", "https://user:pw@host", "nonsense", "http://", "https://[::1", "https://a:99999", "https://ü.example"]
)
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="base-url"):
        Client(url, hosts=[], accept=(), rate=Rate(1, 1))


@pytest.mark.parametrize(
    "says",
    [
        Says(status=401, body=b'{"detail": "Rate limit: slow down"}'),
        Says(status=403, body=b"<p>Too many requests from your address.</p>"),
        Says(body=b'{"message": "Service temporarily unavailable"}'),
        Says(headers={"Content-Type": "application/json"}, body=b'{"error": {"text": "Limit exceeded"}}'),
        Says(body=b"Sorry, we are down for maintenance, come back soon.\n"),
        Says(status=206),
        Says(status=203),
    ],
    ids=["rate-401", "rate-403", "error-as-csv", "error-as-json", "sentence-with-commas", "206", "203"],
)
def test_an_error_that_passes_is_temporary_whatever_its_form(vendor: Vendor, says: Says) -> None:
    vendor.script.append(says)
    with client(vendor) as asked:
        assert asked.get("/x").body == b"a,b\n"
    assert len(vendor.requests) == 2


@pytest.mark.parametrize(
    "says",
    [Says(status=401, body=b'{"detail": "Invalid token."}'), Says(status=403, body=b'{"message": "Your plan does not include this."}')],
    ids=["401", "403"],
)
def test_a_refusal_that_speaks_of_no_rate_is_final(vendor: Vendor, says: Says) -> None:
    vendor.script.append(says)
    with client(vendor) as asked, pytest.raises(AuthError):
        asked.get("/x")
    assert len(vendor.requests) == 1
