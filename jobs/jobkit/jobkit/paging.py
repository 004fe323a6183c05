"""Fetch a list that a vendor sends in pages, completely, as one response.

The body of the response is a JSON array of the pages, each with the vendor's own bytes. It is never conditional: a first page that has not
changed says nothing about the others. Where every page says how many rows the whole list has, use `fetch`: if that number changes from one
page to the next, rows may have moved between the pages, so nothing is returned. Where a page says how to request the next one, use
`PagedClient`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit import lossless_json
from jobkit.body import Body
from jobkit.errors import BadDataError, TemporaryError
from jobkit.http import Client, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jobkit.lake import Source
    from jobkit.requests import Request

    Params = Sequence[tuple[str, str]]

MAX_PAGES = 10_000


class Paging(NamedTuple):
    """How a vendor's pages are requested and read.

    params: takes the number of rows received so far; returns the query parameters that request the next page.
    rows, total: the key of the list in a page, and the keys that lead to the number of rows of all pages.
    """

    params: Callable[[int], tuple[tuple[str, str], ...]]
    rows: str
    total: tuple[str, ...]


def fetch(client: Client, request: Request, paging: Paging, parts: Sequence[Params] = ((),)) -> Response:
    """Request all pages and return them as one response.

    `parts` are query parameters that each select a part of the list, for a vendor who does not send all of it at once.

    Raises TemporaryError (75) if the list ends early or changes between pages, BadDataError (65) for a page of another form and for pages
    that together are larger than the client's limit.
    """
    joined, first = Body(), None
    for part in parts:
        response = _fetch_part(client, request._replace(params=(*request.params, *part)), paging, joined)
        first = first or response
    if first is None:
        raise ValueError("a list has at least one part")
    joined.write(b"]")
    return first._replace(content=joined, etag=None, last_modified=None)


def _fetch_part(client: Client, request: Request, paging: Paging, joined: Body) -> Response:
    """Append the pages of one part to `joined`, and return its first response."""
    received, expected, first = 0, 0, None
    while first is None or received < expected:
        response = client.get(request.path, (*request.params, *paging.params(received)))
        page = response.body or b""
        count, total = _read_counts(page, paging, request.path)
        if first is not None and (total != expected or not count):
            found = f"has {total:,} rows where it had {expected:,}" if total != expected else f"ended after {received:,} of {total:,} rows"
            raise TemporaryError(f"the list at {request.path} {found}: it changed while its pages were read; try again later")
        if joined.size + len(page) > client.max_body_bytes:
            raise BadDataError(f"the pages of {request.path} have more than {client.max_body_bytes:,} bytes; request less at once")
        joined.write(b"," if joined.size else b"[")
        joined.write(page)
        first, expected, received = first or response, total, received + count
    if received != expected:
        raise TemporaryError(f"the list at {request.path} sent {received:,} rows where it says {expected:,}; try again later")
    return first


class PagedClient(Client):
    """A client that follows pages. `read_next` returns the parameters of the page after one, by its bytes; None if it is the last."""

    def __init__(self, base_url: str, *, read_next: Callable[[bytes], Params | None], **options: Any) -> None:  # noqa: ANN401  those of Client
        super().__init__(base_url, **options)
        self._read_next = read_next

    def get(self, path: str, params: Params = (), known: Source | None = None) -> Response:
        """Send a GET for each page and return the pages as one JSON array. Raises what Client.get raises.

        Raises BadDataError (65) if the pages lead in a circle, or are too many or too large together.
        """
        del known
        content, sent = Body(), set[tuple[tuple[str, str], ...]]()
        query = tuple(params)
        while True:
            sent.add(query)
            page = super().get(path, query)
            body = page.body or b""
            content.write(b"," + body if content.size else b"[" + body)
            following = self._read_next(body)
            if following is None:
                content.write(b"]")
                return page._replace(content=content, url=self.url(path, params), etag=None, last_modified=None)
            query = tuple((dict(params) | dict(following)).items())
            self._check(path, query, sent, content.size)

    def _check(self, path: str, query: tuple[tuple[str, str], ...], sent: set[tuple[tuple[str, str], ...]], size: int) -> None:
        if query in sent:
            raise BadDataError(f"page {len(sent)} of {path} leads back to an earlier page; check how the next page is read, in source.py")
        if len(sent) >= MAX_PAGES or size > self.max_body_bytes:
            raise BadDataError(
                f"{path} has more than {len(sent):,} pages or {size:,} bytes; expected at most {MAX_PAGES:,} and {self.max_body_bytes:,}: "
                "request less at once, or raise max_body_mib in the job's pyproject.toml"
            )


def read_pages(body: bytes, what: str) -> list[dict[str, Any]]:
    """Decode the pages of a response. A document that is no list counts as the only page. Raises BadDataError (65), which names `what`."""
    document = lossless_json.decode(body, what)
    pages = document if isinstance(document, list) else [document]
    if not all(isinstance(page, dict) for page in pages):
        raise BadDataError(f"{what} is not made of JSON objects; it begins {body[:60]!r}")
    return pages


def read_rows(page: dict[str, Any], name: str, what: str) -> list[dict[str, Any]]:
    """Return the list of rows in a page. Raises BadDataError (65), which names `what`, if there is none or if a row is no object."""
    rows = page.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadDataError(f"{what} has no list {name} of objects; its keys are {', '.join(page)[:100]}")
    return rows


def _read_counts(body: bytes, paging: Paging, path: str) -> tuple[int, int]:
    """Return the number of rows in a page and in all pages. The rows themselves are not decoded yet, which spares memory."""
    import msgspec  # noqa: PLC0415  describe decodes nothing

    what = f"a page of {path}"
    page = lossless_json.decode(body, what, dict[str, msgspec.Raw], "a JSON object")
    try:
        count = len(msgspec.json.decode(page.get(paging.rows, b""), type=list[msgspec.Raw]))
    except msgspec.DecodeError:
        raise BadDataError(f"{what} has no list {paging.rows}; its keys are {', '.join(page)[:100]}") from None
    total: Any = {name: msgspec.json.decode(value) for name, value in page.items() if name == paging.total[0]}
    for key in paging.total:
        total = total.get(key) if isinstance(total, dict) else None
    if not isinstance(total, int):
        raise BadDataError(f"{what} does not say how many rows there are in all; expected a number at {'.'.join(paging.total)}")
    return count, total
