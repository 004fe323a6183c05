"""Header fields as nobody should send them: each is understood or says nothing, and none raises."""

from __future__ import annotations

import logging
import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobkit import headers, options
from jobkit.errors import BadDataError, JobError, MisconfiguredError, TemporaryError
from jobkit.lake import Source

from jobs.jobkit.tests.wire import build_client, build_response, sized, wire

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
FIELDS = (
    "Retry-After",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "RateLimit",
    "ETag",
    "Last-Modified",
    "Date",
    "Age",
    "Content-Type",
    "Content-Encoding",
    "Location",
    "Set-Cookie",
    "Link",
    "X-Any",
)


@pytest.mark.parametrize(
    ("fields", "wait_s", "wait_if_refused_s"),
    [
        ({}, None, None),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "6"}, 6.0, 6.0),
        ({"ratelimit-remaining": "1", "ratelimit-reset": "6"}, None, 6.0),
        ({"ratelimit-remaining": "0"}, None, None),
        ({"ratelimit-reset": "0"}, None, 0.0),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "1795896000"}, None, None),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "soon"}, None, None),
        ({"ratelimit": '"default";r=0;t=30'}, 30.0, 30.0),
        ({"ratelimit": '"default"; r=24; t=30', "ratelimit-policy": '"default";q=25;w=60'}, None, 30.0),
    ],
)
def test_the_reset_of_a_limit(fields: dict[str, str], wait_s: float | None, wait_if_refused_s: float | None) -> None:
    assert headers.parse_reset(fields, is_refused=False) == wait_s
    assert headers.parse_reset(fields, is_refused=True) == wait_if_refused_s


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("9" * 400, math.inf),
        ("Sat, 28 Nov 2026 12:01:00 GMT", 60.0),
        ("Sat, 28 Nov 2026 11:00:00 GMT", 0.0),
        ("Sat, 28 Nov 2026 12:01:00 -0000", 60.0),
        *((odd, None) for odd in ("", "²", "١٢", "\uff11", "-5", "+5", "1.5", "1e3", "nan", "inf", "soon", "0x10", "1 2")),
        *(
            (odd, None)
            for odd in ("Mon, 01 Jan 99999 00:00:00 GMT", "Mon, 01 Jan 9999 00:00:00 -9999", "Fri, 31 Feb 2026 00:00:00 GMT", ", ,")
        ),
    ],
)
def test_retry_after_is_seconds_a_date_or_absent(value: str, wait_s: float | None) -> None:
    assert headers.parse_retry_after(value, NOW) == wait_s


@pytest.mark.parametrize(
    ("value", "media"),
    [
        ("application/json", "application/json"),
        (' Application/JSON ; charset="a;b"', "application/json"),
        ("application/json-evil", "application/json-evil"),
        ("application/vnd.x+json;v=1", "application/vnd.x+json"),
        *((odd, "") for odd in (None, "", ";", "json", "a/b/c", "a/", "/b", "application/json, text/html", "applicätion/json", "a b/c")),
    ],
)
def test_a_media_type_is_exact(value: str | None, media: str) -> None:
    assert headers.parse_media_type(value) == media


@pytest.mark.parametrize("value", ['"é"', '"\x01"', "", " ", '"' + "a" * 1100 + '"', None, '"\ud83d"'])
def test_a_validator_that_cannot_be_sent_back_is_not_kept(value: str | None) -> None:
    assert headers.parse_validator(value) is None


def _without_ends(odd: bytes) -> str:
    return odd.translate(None, b"\n\r\0").decode("latin-1")


@settings(max_examples=30, deadline=None)
@given(
    fields=st.dictionaries(st.sampled_from(FIELDS), st.binary(max_size=12).map(_without_ends)),
    status=st.sampled_from(["200 OK", "302 Found", "304 Not Modified", "403 No", "429 Slow", "503 Busy"]),
)
def test_any_header_fields_give_a_response_or_a_job_error(fields: dict[str, str], status: str) -> None:
    sent = sized(b"a,b\n", *(f"{name}: {value}" for name, value in fields.items()), status=status)
    with wire(sent) as vendor, build_client(vendor.url) as client:
        for known in (None, Source("p", "s", 1, "u", "text/csv", '"é"', "\x01")):
            try:
                client.get("/x", known=known)
            except JobError:
                continue


def test_an_etag_outside_ascii_is_neither_kept_nor_sent() -> None:
    with wire(sized(b"a,b\n", 'ETag: "\xe9"')) as vendor, build_client(vendor.url) as client:
        assert client.get("/x", known=Source("p", "s", 1, "u", "text/csv", '"é"', "yesterday")).etag is None
    assert b"If-None-Match" not in vendor.received[0]
    assert b"If-Modified-Since: yesterday" in vendor.received[0]


def test_304_without_a_conditional_request_is_temporary() -> None:
    with (
        wire(build_response(b"", status="304 Not Modified")) as vendor,
        build_client(vendor.url) as client,
        pytest.raises(TemporaryError),
    ):
        client.get("/x")


@pytest.mark.parametrize("value", ["Bücher AG a@b.example", "a\nb", "a\0b", " Anna", "a\ud83d"])
def test_a_header_field_that_cannot_be_sent_is_refused_before_any_request(value: str) -> None:
    with pytest.raises(MisconfiguredError, match="header field User-Agent cannot be sent") as raised:
        build_client("https://vendor.example", headers={"User-Agent": value})
    assert value not in str(raised.value)


def test_cookies_are_not_kept() -> None:
    with wire(sized(b"a,b\n", "Set-Cookie: a=\xe9; Path=/", "Set-Cookie: b=2")) as vendor, build_client(vendor.url) as client:
        client.get("/x")
        client.get("/x")
    assert b"ookie" not in vendor.received[1]


@pytest.mark.parametrize(("apart", "age_s", "warned"), [(0, 0, 0), (200, 0, 0), (-7200, 0, 1), (86_400, 0, 1), (-7200, 7200, 0)])
def test_a_large_clock_difference_is_logged_once(apart: int, age_s: int, warned: int, caplog: pytest.LogCaptureFixture) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=apart), usegmt=True)
    with (
        caplog.at_level(logging.WARNING, "finelt"),
        wire(sized(b"a,b\n", f"Date: {date}", f"Age: {age_s}")) as vendor,
        build_client(vendor.url) as client,
    ):
        found = [client.get("/x") for _ in range(2)]
    assert [record.message for record in caplog.records] == ["the vendor's clock differs from this machine's; check the time here"] * warned
    assert found[0].date is not None
    assert abs((found[0].date - datetime.now(UTC)).total_seconds() - apart) < 60


@pytest.mark.parametrize(
    ("media", "taken"), [("text/csv", True), ("TEXT/CSV; charset=x", True), ("text/csv-schema", False), ("text/csvx", False)]
)
def test_only_the_requested_media_type_is_accepted(*, media: str, taken: bool) -> None:
    with wire(sized(b"1,2\n", media=media)) as vendor, build_client(vendor.url) as client:
        if taken:
            assert client.get("/x").body == b"1,2\n"
        else:
            with pytest.raises(BadDataError):
                client.get("/x")


@pytest.mark.parametrize(
    ("contact", "taken"),
    [
        ("Example Ltd a@b.example", True),
        ("B\u00fccher AG a@b.example", False),
        ("A\0B a@b.example", False),
        (" A a@b.example", False),
        ("A a@b.\u00fc", False),
    ],
)
def test_a_contact_must_be_sendable_in_a_header(*, contact: str, taken: bool) -> None:
    kind = options.contact().type
    if taken:
        assert kind.convert(contact, None, None) == contact
    else:
        with pytest.raises(click.BadParameter, match="in ASCII"):
            kind.convert(contact, None, None)


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ('</rows?page=2>; rel="next"', "/rows?page=2"),
        ("<https://vendor.example/rows?fields=a,b;c>;rel=next", "https://vendor.example/rows?fields=a,b;c"),
        ('<p>; rel="prev", <n>; rel="last next"', "n"),
        ('<n>; REL = "Next"', "n"),
        ('<n>; title="of 1, 2; and \\"3\\""; rel="next"', "n"),
        ('<n>; rel="next"; rel="prev"', "n"),
        ('<n>; rel="prev"; rel="next"', None),
        ('<n>; title="; rel=next"', None),
        ('<n>; title="rel=next, <m>; rel=next"', None),
        ('<n>; rel="nextpage"', None),
        ("<n>; rel", None),
        ('<n>; title="never closed; rel=next', None),
        ("rel=next", None),
        ("<", None),
        ("", None),
        (None, None),
    ],
)
def test_the_next_link_is_found_by_its_relation(value: str | None, target: str | None) -> None:
    assert headers.parse_next_link(value) == target
