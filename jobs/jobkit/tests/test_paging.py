"""A list that comes in pages is returned completely, with the vendor's bytes, or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jobkit import paging
from jobkit.body import Body
from jobkit.errors import BadDataError, TemporaryError
from jobkit.http import Response
from jobkit.requests import Request

REQUEST = Request("things", ("all=1",), "/things", (("a", "b"),))
PAGING = paging.Paging(lambda received: (("offset", str(received)),), "rows", ("meta", "total"))


class Vendor:
    """A client whose vendor sends these pages, one after the other."""

    max_body_bytes = 1000

    def __init__(self, *pages: str) -> None:
        self.pages, self.asked = list(pages), list[object]()

    def get(self, path: str, params: object) -> Response:
        self.asked.append((path, params))
        body = Body()
        body.write(self.pages.pop(0).encode())
        return Response(body, "https://vendor.example/things", "application/json", '"etag"', "today")


def page(*rows: int, total: int) -> str:
    return json.dumps({"rows": [{"n": row} for row in rows], "meta": {"total": total}}) + "  "


def fetch(*pages: str) -> tuple[Any, Vendor]:
    vendor = Vendor(*pages)
    return paging.fetch(vendor, REQUEST, PAGING), vendor  # type: ignore[arg-type]


def test_pages_are_joined_with_the_vendors_bytes() -> None:
    pages = (page(1, 2, total=3), page(3, total=3))
    response, vendor = fetch(*pages)
    assert response.body == f"[{pages[0]},{pages[1]}]".encode()
    assert [row["n"] for found in paging.read_pages(response.body, "it") for row in paging.read_rows(found, "rows", "it")] == [1, 2, 3]
    assert vendor.asked == [("/things", (("a", "b"), ("offset", "0"))), ("/things", (("a", "b"), ("offset", "2")))]
    assert (response.etag, response.last_modified) == (None, None)  # they are those of one page


def test_an_empty_list_is_one_page() -> None:
    response, _ = fetch(page(total=0))
    assert json.loads(response.body)[0]["rows"] == []


@pytest.mark.parametrize(
    ("pages", "error", "message"),
    [
        ((page(1, 2, total=3), page(3, total=4)), TemporaryError, "has 4 rows where it had 3"),
        ((page(1, 2, total=3), page(total=3)), TemporaryError, "ended after 2 of 3 rows"),
        ((page(1, 2, total=3), page(3, 4, total=3)), TemporaryError, "sent 4 rows where it says 3"),
        ((page(*range(100), total=100),), BadDataError, "more than 1,000 bytes"),
        (('{"rows": [], "meta": {}}',), BadDataError, "expected a number at meta.total"),
        (('{"rows": 1, "meta": {"total": 1}}',), BadDataError, "no list rows"),
        (("1",), BadDataError, "not a JSON object"),
    ],
)
def test_half_a_list_is_a_failure(pages: tuple[str, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fetch(*pages)


@pytest.mark.parametrize(
    ("body", "message"), [(b"[1]", "not made of JSON objects"), (b'{"rows": [1]}', "no list rows of objects"), (b"{", "JSON")]
)
def test_pages_of_another_form_are_refused(body: bytes, message: str) -> None:
    with pytest.raises(BadDataError, match=message):
        _ = [paging.read_rows(found, "rows", "it") for found in paging.read_pages(body, "it")]
