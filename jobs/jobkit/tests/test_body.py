"""A body is handed on whole or not at all, whatever frames and codes it."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jobkit import body as bodies
from jobkit.errors import BadDataError, JobError, MisconfiguredError
from jobkit.http import RetryableError

from jobs.jobkit.tests.wire import build_client, build_response, chunked, sized, wire

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LINES = b"".join(b"2013-01-%02d,%d.%02d\n" % (day % 28 + 1, day, day % 100) for day in range(300))
JSON = b'[{"date":"2013-01-02","close":1.5},{"date":"2013-01-03","close":2.5}]'


def fetched(sent: bytes | Sequence[bytes], media: str = "text/csv", limit: int = 1 << 20) -> bytes:
    with wire(sent) as vendor, build_client(vendor.url, accept=(media,)) as client:
        client.max_body_bytes = limit
        return client.get("/x").body or b""


def gzipped(*parts: bytes) -> bytes:
    return b"".join(gzip.compress(part, mtime=0) for part in parts)


def zipped(data: bytes, comment: bytes = b"") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", data)
        archive.comment = comment
    return packed.getvalue()


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", " gzip ", "identity, gzip", "X-Gzip"])
@pytest.mark.parametrize("parts", [(LINES,), (LINES[:100], LINES[100:]), (b"", LINES, b""), tuple(LINES.splitlines(keepends=True))])
def test_gzip_is_read_to_its_last_member(coding: str, parts: tuple[bytes, ...]) -> None:
    assert fetched(sized(gzipped(*parts), f"Content-Encoding: {coding}")) == LINES


@pytest.mark.parametrize(
    ("packed", "error", "message"),
    [
        (gzipped(LINES[:900]) + gzipped(LINES[900:])[:-1], RetryableError, "cut short in member 2"),
        (gzipped(LINES[:900]) + gzipped(LINES[900:])[:4], RetryableError, "cut short in member 2"),
        (gzipped(LINES)[:-9], RetryableError, "cut short in member 1"),
        (gzipped(LINES) + b"\0" * 512, RetryableError, "goes on after member 1"),
        (gzipped(LINES) + b"\0", RetryableError, "goes on after member 1|cut short"),
        (gzipped(LINES) + b"<!-- cached -->", RetryableError, "goes on after member 1"),
        (gzipped(LINES)[:-8] + b"\0\0\0\0" + gzipped(LINES)[-4:], RetryableError, "damaged in member 1"),
        (gzipped(LINES[:900]) + gzipped(LINES[900:])[:-4] + b"\1\0\0\0", RetryableError, "damaged in member 2"),
        (zlib.compress(LINES), BadDataError, "says its answer is gzip, and it is not"),
        (LINES, BadDataError, "says its answer is gzip, and it is not"),
        (b"", RetryableError, "cut short"),
    ],
)
def test_incomplete_or_damaged_gzip_is_refused(packed: bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fetched(sized(packed, "Content-Encoding: gzip"))


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "gzip, br", "zstd", "utf-8"])
def test_another_content_coding_is_refused(coding: str) -> None:
    with pytest.raises(BadDataError):
        fetched(sized(gzipped(LINES), f"Content-Encoding: {coding}"))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    members=st.lists(st.integers(0, len(LINES)), max_size=6),
    breaks=st.lists(st.integers(0, 4000), max_size=6),
    cut=st.integers(0, 2000),
    sizes=st.booleans(),
)
def test_members_cut_anywhere_are_complete_or_an_error(members: list[int], breaks: list[int], cut: int, *, sizes: bool) -> None:
    """Members and TCP segments split anywhere; in half of the runs, the sender stops early, with a length that fits what it sends."""
    edges = [0, *sorted(members), len(LINES)]
    packed = gzipped(*(LINES[start:end] for start, end in pairwise(edges)))
    packed = packed[: len(packed) - cut] if cut < len(packed) else packed
    sent = (
        sized(packed, "Content-Encoding: gzip")
        if sizes
        else build_response(chunked(packed), "Content-Encoding: gzip", "Transfer-Encoding: chunked")
    )
    ends = [0, *sorted(at for at in breaks if at < len(sent)), len(sent)]
    whole = gzipped(*(LINES[start:end] for start, end in pairwise(edges)))
    try:
        found = fetched([sent[start:end] for start, end in pairwise(ends)])
    except JobError:
        assert packed != whole
    else:
        assert found == LINES or packed in (gzipped(*(LINES[a:b] for a, b in pairwise(edges[:n]))) for n in range(2, len(edges)))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 200),
    st.sampled_from(["length", "chunked", "none"]),
    st.sampled_from(["application/json", "application/zip", "text/csv"]),
)
def test_a_connection_that_ends_anywhere_gives_a_complete_body_or_an_error(cut: int, framing: str, media: str) -> None:
    whole = {"application/json": JSON, "application/zip": zipped(LINES[:50]), "text/csv": LINES[:300]}[media]
    fields, body = {
        "length": ([f"Content-Length: {len(whole)}"], whole),
        "chunked": (["Transfer-Encoding: chunked"], chunked(whole[:30], whole[30:])),
        "none": (["Connection: close"], whole),
    }[framing]
    try:
        found = fetched(build_response(body[: len(body) - cut] if cut < len(body) else body, *fields, media=media), media)
    except RetryableError:
        assert 0 < cut < len(body) or (framing, media) == ("none", "text/csv")
    else:
        assert found == whole


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (JSON, "application/json"),
        (b' \n{"a":[]}\n', "application/json"),
        (b'{"a":"\\ud83d"}', "application/vnd.vendor+json"),
        (zipped(LINES), "application/zip"),
        (zipped(LINES, b"with a comment"), "application/octet-stream"),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_document_that_proves_its_end_needs_no_length(body: bytes, media: str, version: str) -> None:
    assert fetched(build_response(body, "Connection: close", media=media, version=version), media) == body
    assert fetched(build_response(gzipped(body), "Content-Encoding: gzip", media=media, version=version), media) == body


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (LINES, "text/csv"),
        (gzipped(LINES), "text/csv"),
        (JSON[:34], "application/json"),
        (b'{"a":1}{"a":2}', "application/json"),
        (zipped(zipped(LINES))[:-60], "application/zip"),
        (zipped(LINES, b"with a comment")[:-3], "application/zip"),
    ],
)
def test_a_document_without_length_and_proof_of_its_end_is_temporary(body: bytes, media: str) -> None:
    coded = ["Content-Encoding: gzip"] if body[:2] == b"\x1f\x8b" else []
    with pytest.raises(RetryableError):
        fetched(build_response(body, "Connection: close", *coded, media=media), media)


@pytest.mark.parametrize(
    "sent",
    [
        build_response(LINES, "Content-Length: 400"),
        build_response(LINES, f"Content-Length: {len(LINES) + 1}"),
        build_response(LINES, "Content-Length: 400", "Content-Length: 401"),
        build_response(LINES, "Content-Length: -1"),
        build_response(LINES, "Content-Length: many"),
        build_response(chunked(LINES), "Transfer-Encoding: chunked", "Content-Length: 400"),
        build_response(chunked(LINES)[:-5], "Transfer-Encoding: chunked"),
        build_response(chunked(LINES), "Transfer-Encoding: gzip, chunked"),
        build_response(b"zz\r\n" + LINES, "Transfer-Encoding: chunked"),
        [build_response(LINES[:400], "Content-Length: 400"), LINES[400:]],
    ],
    ids=["longer", "shorter", "two", "negative", "word", "both-differ", "no-last-chunk", "coded-transfer", "no-chunk", "longer-later"],
)
def test_contradictory_framing_is_temporary(sent: bytes | list[bytes]) -> None:
    if isinstance(sent, list):
        sent = b"".join(sent)
    with pytest.raises(RetryableError):
        fetched(sent)


def test_two_framings_that_agree_are_accepted() -> None:
    assert fetched(build_response(chunked(LINES), "Transfer-Encoding: chunked", f"Content-Length: {len(LINES)}")) == LINES
    assert fetched(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + sized(LINES)) == LINES


@pytest.mark.parametrize("coded", [False, True])
def test_the_limit_applies_to_the_decoded_body_exactly(*, coded: bool) -> None:
    def sent(size: int) -> bytes:
        body = b"1,2\n" * (size // 4) + b"\n" * (size % 4)
        return (
            sized(gzipped(body[:77], body[77:]), "Content-Encoding: gzip")
            if coded
            else build_response(chunked(body), "Transfer-Encoding: chunked")
        )

    assert len(fetched(sent(5000), limit=5000)) == 5000
    with pytest.raises(BadDataError):
        fetched(sent(5001), limit=5000)


def test_an_endless_series_of_empty_members_is_refused() -> None:
    with pytest.raises(BadDataError):
        fetched(sized(gzipped(b"a,b\n", *[b""] * 2000), "Content-Encoding: gzip"), limit=1000)


def test_a_large_body_is_kept_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bodies, "SPOOL_BYTES", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert fetched(sized(LINES)) == LINES
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(MisconfiguredError):
        fetched(sized(LINES))
