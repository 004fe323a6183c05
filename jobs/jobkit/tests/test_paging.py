"""A list that comes in pages is returned completely, with the vendor's bytes, or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jobkit import paging
from jobkit.body import Body
from jobkit.errors import BadDataError, TemporaryError
from jobkit.http import NoDataError, ResourceNotFoundError, Response
from jobkit.requests import Request

REQUEST = Request("things", ("all=1",), "/things", (("a", "b"),))
PAGES = paging.Offset("rows", 2, "offset", "limit", total="meta.total")


ABSENT = {"no more rows (404)": NoDataError, "no page (404)": ResourceNotFoundError}


class Vendor:
    """A client whose vendor sends these pages, one after the other."""

    max_body_bytes = 1000
    base_url = "https://vendor.example/v1"

    def __init__(self, *pages: str) -> None:
        self.pages, self.asked, self.links = list(pages), list[object](), list[str]()

    def url(self, path: str) -> str:
        return self.base_url + path

    def get(self, path: str, params: object, *_: object, body: str | None = None) -> Response:
        self.asked.append((path, params) if body is None else json.loads(body))
        content, text = Body(), self.pages.pop(0)
        if text in ABSENT:
            raise ABSENT[text](f"vendor.example/things says {text}")
        content.write(text.encode())
        link = self.links.pop(0) if self.links else None
        return Response(content, "https://vendor.example/things", "application/json", '"etag"', "today", None, link)


def page(*rows: int, total: int) -> str:
    return json.dumps({"rows": [{"n": row} for row in rows], "meta": {"total": total}}) + "  "


def fetch(*pages: str, by: paging.Pages = PAGES, links: tuple[str, ...] = (), request: Request = REQUEST) -> tuple[Any, Vendor]:
    vendor = Vendor(*pages)
    vendor.links += links
    return paging.fetch(vendor, request, by), vendor  # type: ignore[arg-type]


def queries(vendor: Vendor) -> list[dict[str, str]]:
    return [dict(asked[1]) for asked in vendor.asked]  # type: ignore[index]


def test_pages_are_joined_with_the_vendors_bytes() -> None:
    pages = (page(1, 2, total=3), page(3, total=3))
    response, vendor = fetch(*pages)
    assert response.body == f"[{pages[0]},{pages[1]}]".encode()
    assert [row["n"] for found in paging.read_pages(response.body, "it") for row in paging.read_rows(found, "rows", "it")] == [1, 2, 3]
    assert vendor.asked == [
        ("/things", (("a", "b"), ("offset", "0"), ("limit", "2"))),
        ("/things", (("a", "b"), ("offset", "2"), ("limit", "2"))),
    ]
    assert (response.etag, response.last_modified) == (None, None)  # they are those of one page


@pytest.mark.parametrize("by", [PAGES, paging.Cursor("meta.next", "cursor")])
def test_a_parameter_that_comes_several_times_is_sent_so_with_every_page(by: paging.Pages) -> None:
    symbols = (("symbol", "A"), ("symbol", "B"))
    pages = ('{"rows": [1], "meta": {"total": 2, "next": "x"}}', '{"rows": [2], "meta": {"total": 2}}')
    _, vendor = fetch(*pages, by=by, request=REQUEST._replace(params=symbols))
    assert [asked[1][:2] for asked in vendor.asked] == [symbols, symbols]  # type: ignore[index]


def test_a_list_that_is_null_is_empty() -> None:
    """A server in Go writes a list without elements so."""
    response, _ = fetch(page(1, 2, total=0), '{"rows": null}', by=PAGES._replace(total=None))
    assert [len(found["rows"]) for found in json.loads(response.body)] == [2]
    assert paging.read_rows({"a": {"rows": None}}, "a.rows", "it") == []
    with pytest.raises(BadDataError, match="no list rows"):
        paging.read_rows({"a": None}, "rows", "it")


def test_an_empty_list_is_one_page() -> None:
    response, _ = fetch(page(total=0))
    assert json.loads(response.body)[0]["rows"] == []


@pytest.mark.parametrize(
    ("pages", "error", "message"),
    [
        ((page(1, 2, total=3), page(3, total=4)), TemporaryError, "has 4 rows where it had 3"),
        ((page(1, 2, total=3), page(total=3)), TemporaryError, "ended after 2 of 3 rows"),
        ((page(1, 2, total=3), page(3, 4, total=3)), TemporaryError, "sent 4 rows where it says 3"),
        ((page(*range(100), total=100),), BadDataError, "or have more than 1,000 bytes"),
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


def test_without_a_total_a_list_ends_at_an_empty_page_and_not_at_a_short_one() -> None:
    by = paging.Offset("rows", 2, "page", "size", first_page=1)
    response, vendor = fetch(page(1, 2, total=0), page(3, total=0), page(4, total=0), page(total=0), by=by)
    assert [row["n"] for found in json.loads(response.body) for row in found["rows"]] == [1, 2, 3, 4]
    assert [query["page"] for query in queries(vendor)] == ["1", "2", "3", "4"]
    with pytest.raises(BadDataError, match="page 2 of /things has the same rows as the page before"):
        fetch(page(1, total=0), page(1, total=0), by=by)
    with pytest.raises(BadDataError, match="page 2 of /things has the same rows"):
        fetch(*(f'{{"rows": [1, 2], "request_id": {number}}}' for number in range(2)), by=PAGES._replace(total=None))


@pytest.mark.parametrize("by", [paging.Offset("", 1, "offset", "limit"), paging.NextLink()])
def test_a_list_ends_before_a_page_that_the_vendor_calls_empty(by: paging.Pages) -> None:
    response, _ = fetch("[1]", "no more rows (404)", by=by, links=("?page=2",))
    assert response.body == b"[[1]]"
    with pytest.raises(BadDataError, match=r"page 2 of /things does not exist: .*have the job's meanings call it empty"):
        fetch("[1]", "no page (404)", by=by, links=("?page=2",))
    for first, error in ABSENT.items():
        with pytest.raises(error):
            fetch(first, by=by)


def test_an_empty_page_before_the_total_is_half_a_list() -> None:
    with pytest.raises(TemporaryError, match="sent 2 rows where it says 3"):
        fetch(page(1, 2, total=3), "no more rows (404)")


def test_a_part_without_data_adds_no_page_to_the_others() -> None:
    parts = [(("year", str(year)),) for year in (2011, 2012, 2013)]
    by = paging.Cursor("next", "cursor")
    empty, full = "no more rows (404)", '{"rows": [1]}'
    vendor = Vendor(empty, full, empty)
    assert paging.fetch(vendor, REQUEST, by, parts).body == b'[{"rows": [1]}]'  # type: ignore[arg-type]
    with pytest.raises(NoDataError):
        paging.fetch(Vendor(empty, empty, empty), REQUEST, by, parts)  # type: ignore[arg-type]


def test_a_cursor_is_followed_and_may_not_lead_back() -> None:
    by = paging.Cursor("meta.next", "cursor")
    pages = ('{"meta": {"next": "x y"}}', '{"meta": {"next": 1.50}}', '{"meta": {"next": null}}')
    response, vendor = fetch(*pages, by=by)
    assert response.body == f"[{','.join(pages)}]".encode()
    assert [query.get("cursor") for query in queries(vendor)] == [None, "x y", "1.50"]
    with pytest.raises(BadDataError, match="page 2 of /things leads back to an earlier page"):
        fetch(pages[0], pages[0], by=by)


def test_false_ends_a_list_and_true_leads_nowhere() -> None:
    response, _ = fetch('{"next": "x"}', '{"next": false}', by=paging.Cursor("next", "cursor"))
    assert len(json.loads(response.body)) == 2
    for value in ("true", "[1]", '{"a": 1}'):
        with pytest.raises(BadDataError, match="has at next no text or number that leads to the next one"):
            fetch('{"next": VALUE}'.replace("VALUE", value), by=paging.Cursor("next", "cursor"))


def test_a_post_has_the_parameters_of_its_page_in_the_document() -> None:
    request = REQUEST._replace(params=(), body='{"fund": "A"}')
    _, vendor = fetch(page(1, 2, total=3), page(3, total=3), request=request)
    assert vendor.asked == [{"fund": "A", "offset": 0, "limit": 2}, {"fund": "A", "offset": 2, "limit": 2}]


@pytest.mark.parametrize("link", ["https://vendor.example/v1/things?after=%C3%A9", "/v1/things?after=%C3%A9", "?after=%C3%A9"])
def test_links_are_followed_from_the_page_and_from_the_header(link: str) -> None:
    _, vendor = fetch('{"next": "LINK"}'.replace("LINK", link), "{}", by=paging.NextLink("next"))
    _, other = fetch("[1]", "[]", by=paging.NextLink(), links=(link,))
    assert vendor.asked == other.asked == [("/things", (("a", "b"),)), ("/things", (("after", "\u00e9"),))]


@pytest.mark.parametrize("link", ["https://evil.example/v1/things", "http://vendor.example/v1/things", "/v2/things", "//evil.example/v1/x"])
def test_a_link_that_leaves_the_base_url_is_refused(link: str) -> None:
    with pytest.raises(BadDataError, match="which is not below --base-url"):
        fetch("[1]", by=paging.NextLink(), links=(link,))


def test_a_link_that_is_no_address_is_refused() -> None:
    with pytest.raises(BadDataError, match=r"leads to 'https://\[x/p', which is no address"):
        fetch("[1]", by=paging.NextLink(), links=("https://[x/p",))


def test_pages_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_PAGES", 1)
    with pytest.raises(BadDataError, match="the pages of /things are more than 1"):
        fetch('{"next": "x"}', "{}", by=paging.Cursor("next", "cursor"))
