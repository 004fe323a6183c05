"""A result in pages is one response with the bytes of each page, or an error."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from jobkit import paging
from jobkit.errors import BadDataError, TemporaryError
from jobkit.http import Rate
from jobkit.paging import PagedClient

from .wire import Wire, sized, wire

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = (b'{"data": [1.50], "next": 2}', b'{"data": [],\n "next": 3}', b'{"data": [2]}')


def read_next(page: bytes) -> list[tuple[str, str]] | None:
    cursor = json.loads(page).get("next")
    return [("page", str(cursor))] if cursor else None


@contextmanager
def vendor(*bodies: bytes) -> Iterator[tuple[PagedClient, Wire]]:
    with wire(*(sized(body, media="application/json") for body in bodies)) as served:
        options: dict[str, Any] = {"hosts": [], "accept": ["application/json"], "rate": Rate(10_000, 1)}
        client = PagedClient(served.url, read_next=read_next, **options)
        client.retry_timeout_s = 0
        with client:
            yield client, served


def test_the_pages_are_requested_in_turn_and_kept_byte_for_byte() -> None:
    with vendor(*PAGES) as (client, served):
        response = client.get("/gold", [("limit", "1"), ("page", "1")])
    assert response.body == b"[" + b",".join(PAGES) + b"]"
    assert [request.split()[1] for request in served.received] == [f"/gold?limit=1&page={n}".encode() for n in (1, 2, 3)]
    assert (response.url, response.etag, response.last_modified) == (f"{client.base_url}/gold?limit=1&page=1", None, None)


def test_pages_that_lead_back_are_refused() -> None:
    with vendor(PAGES[0], PAGES[0]) as (client, _), pytest.raises(BadDataError, match="page 2 of /gold leads back to an earlier page"):
        client.get("/gold")


@pytest.mark.parametrize(("limit", "value"), [("max_body_bytes", 40), ("MAX_PAGES", 2)])
def test_pages_without_end_are_refused(limit: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging if limit.isupper() else PagedClient, limit, value)
    with vendor(*PAGES) as (client, _), pytest.raises(BadDataError, match=r"/gold has more than 2 pages or \d\d bytes"):
        client.get("/gold")


def test_a_page_that_fails_fails_the_whole_response() -> None:
    with vendor(*PAGES) as (client, served):
        served.responses[1] = sized(b"", status="503 Busy")
        with pytest.raises(TemporaryError):
            client.get("/gold")
