"""Fetch a list that a vendor sends in pages, completely, as one response.

The body of the response is a JSON array of the pages, each with the vendor's own bytes. It is never conditional: a first page that has not
changed says nothing about the others. How pages are requested is one of these; each `rows`, `key` and `total` leads to a value in a page by
keys and points, such as meta.count:

    Offset    by the number of rows received so far, or by the number of the page
    Cursor    by a text of the page before
    NextLink  by the address of the next page, in the page or in the header Link
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urljoin, urlsplit

from jobkit import lossless_json, requests
from jobkit.errors import BadDataError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jobkit.body import Body
    from jobkit.http import Client, Response
    from jobkit.requests import Request

    Params = Sequence[tuple[str, str]]

MAX_PAGES = 10_000


class Offset(NamedTuple):
    """Pages of at most `size` rows, of which `limit` is the parameter. `rows` leads to the list in a page; empty if the page is the list.

    `param` takes the number of rows before the page, or with `first_page` the number of the page, counted from there. With `total`, the
    number of all rows, a list that changes between two pages is refused. Without it the list ends at an empty page, not at a short one: a
    vendor may send fewer rows than were asked for.
    """

    rows: str
    size: int
    param: str
    limit: str
    first_page: int | None = None
    total: str | None = None

    def read_position(self, pages: int, received: int) -> int:
        """Return what `param` is after so many pages and rows."""
        return received if self.first_page is None else self.first_page + pages


class Cursor(NamedTuple):
    """Pages that each have at `key` what the next request sends as `param`; null, false, empty or absent in the last page."""

    key: str
    param: str


class NextLink(NamedTuple):
    """Pages that each have at `key` the address of the next one; without a key it is in the header Link, as rel="next" (RFC 8288)."""

    key: str | None = None


Pages = Offset | Cursor | NextLink


def fetch(client: Client, request: Request, pages: Pages, parts: Sequence[Params] = ((),)) -> Response:
    """Request all pages and return them as one response.

    `parts` are query parameters that each select a part of the list, for a vendor who does not send all of it at once.

    A list or a part ends before a page of which the vendor's table of refusals says that it is empty.

    Raises NoDataError (2) if no part has data, TemporaryError (75) if the list ends early or changes between pages, BadDataError (65) for a
    page of another form, for a later page that does not exist, for pages that lead in a circle, and for pages that are too many or together
    larger than the client's limit.
    """
    from jobkit.body import Body  # noqa: PLC0415  describe fetches nothing
    from jobkit.http import NoDataError  # noqa: PLC0415

    joined, first, absence = Body(), None, None
    for part in parts:
        selected = request._replace(params=(*request.params, *part))
        try:
            response = (
                _fetch_counted(client, selected, pages, joined) if isinstance(pages, Offset) else _follow(client, selected, pages, joined)
            )
        except NoDataError as error:
            absence = error
        else:
            first = first or response
    if first is None:
        raise absence or ValueError("a list has at least one part")
    joined.write(b"]")
    return first._replace(content=joined, etag=None, last_modified=None)


def join(client: Client, responses: Iterable[Response], path: str) -> Response:
    """Return responses, at least one, as one: a JSON array of their documents, with the address of the first.

    Raises BadDataError (65) if they are too many or together larger than the client's limit.
    """
    from jobkit.body import Body  # noqa: PLC0415  describe fetches nothing

    joined, first = Body(), None
    for number, response in enumerate(responses):
        _append(client, joined, response.body or b"", path, number)
        first = first or response
    if first is None:
        raise ValueError("a list has at least one part")
    joined.write(b"]")
    return first._replace(content=joined, etag=None, last_modified=None)


def _fetch_counted(client: Client, request: Request, pages: Offset, joined: Body) -> Response:
    """Append the pages of one part to `joined`, and return its first response."""
    received, expected, first, number, previous = 0, None, None, 0, b""
    while first is None or expected is None or received < expected:
        position = {pages.param: pages.read_position(number, received), pages.limit: pages.size}
        response = _fetch_page(client, _add(request, position), request.path, number)
        if response is None:
            break
        page = response.body or b""
        rows, count, total = _read_counts(page, pages, request.path)
        if first is not None and pages.total and (total != expected or not count):
            found = f"has {total:,} rows where it had {expected:,}" if total != expected else f"ended after {received:,} of {total:,} rows"
            raise TemporaryError(f"the list at {request.path} {found}: it changed while its pages were read; try again later")
        if first is None or count:
            if count and rows == previous:
                raise BadDataError(
                    f"page {number + 1} of {request.path} has the same rows as the page before; does the vendor count otherwise?"
                )
            _append(client, joined, page, request.path, number)
        first, expected, received, number, previous = first or response, total, received + count, number + 1, rows
        if not count:
            break
    if pages.total and received != expected:
        raise TemporaryError(f"the list at {request.path} sent {received:,} rows where it says {expected:,}; try again later")
    assert first  # noqa: S101  a first page that is none raises an error
    return first


def _follow(client: Client, request: Request, pages: Cursor | NextLink, joined: Body) -> Response:
    """Append the pages of one part to `joined`, each as the one before says, and return the first response."""
    sent: set[Request] = set()
    following, first = request, None
    while following not in sent:
        sent.add(following)
        response = _fetch_page(client, following, request.path, len(sent) - 1)
        if response is None:
            break
        page = response.body or b""
        _append(client, joined, page, request.path, len(sent) - 1)
        first = first or response
        found = response.next_link if pages == NextLink() else _read(page, str(pages.key), f"a page of {request.path}")
        if found in (None, "") or found is False:
            break
        if isinstance(found, bool | list | dict):
            raise BadDataError(
                f"a page of {request.path} has at {pages.key} no text or number that leads to the next one: {str(found)[:60]}"
            )
        following = _add(request, {pages.param: found}) if isinstance(pages, Cursor) else _locate(client, following, str(found))
    else:
        raise BadDataError(f"page {len(sent)} of {request.path} leads back to an earlier page; check how the next page is read")
    assert first  # noqa: S101  a first page that is none raises an error
    return first


def _fetch_page(client: Client, request: Request, path: str, pages: int) -> Response | None:
    """Return the page after so many others; None, never for the first, if the vendor has no data for it: the others are the list."""
    from jobkit.http import NoDataError, ResourceNotFoundError  # noqa: PLC0415  describe fetches nothing

    try:
        return requests.fetch(client, request, None)
    except ResourceNotFoundError as error:
        if pages == 0:
            raise
        if isinstance(error, NoDataError):
            return None
        raise BadDataError(
            f"page {pages + 1} of {path} does not exist: {error}; if the vendor ends a list so, have the job's meanings call it empty"
        ) from None


def _add(request: Request, more: Mapping[str, Any]) -> Request:
    """Return the request with more parameters: in the JSON document of a POST, else in the query. A parameter that is there is replaced."""
    if request.body is not None:
        return request._replace(body=json.dumps({**json.loads(request.body), **more}))
    others = tuple(param for param in request.params if param[0] not in more)  # a name may come several times
    return request._replace(params=others + tuple((name, str(value)) for name, value in more.items()))


def _locate(client: Client, request: Request, link: str) -> Request:
    """Return the request of an address in a page. Raises BadDataError if it is not below the base URL: the credentials belong there."""
    try:
        base, target = urlsplit(client.base_url), urlsplit(urljoin(client.url(request.path), link))
    except ValueError:
        raise BadDataError(f"a page of {request.path} leads to {link[:60]!r}, which is no address") from None
    if (target.scheme, target.netloc) != (base.scheme, base.netloc) or not target.path.startswith(f"{base.path}/"):
        raise BadDataError(
            f"a page of {request.path} leads to {target.scheme}://{target.hostname}{target.path}, which is not below --base-url"
        )
    return request._replace(path=target.path.removeprefix(base.path), params=tuple(parse_qsl(target.query, keep_blank_values=True)))


def _append(client: Client, joined: Body, page: bytes, path: str, pages: int) -> None:
    """Append a page. Raises BadDataError if there are too many, or if they are too large together."""
    if pages >= MAX_PAGES or joined.size + len(page) > client.max_body_bytes:
        raise BadDataError(
            f"the pages of {path} are more than {MAX_PAGES:,} or have more than {client.max_body_bytes:,} bytes; request less at once, or "
            "raise max_body_mib in the job's pyproject.toml"
        )
    joined.write(b"," if joined.size else b"[")
    joined.write(page)


def read_pages(body: bytes, what: str) -> list[dict[str, Any]]:
    """Decode the pages of a response. A document that is no list counts as the only page. Raises BadDataError (65), which names `what`."""
    document = lossless_json.decode(body, what)
    pages = document if isinstance(document, list) else [document]
    if not all(isinstance(page, dict) for page in pages):
        raise BadDataError(f"{what} is not made of JSON objects; it begins {body[:60]!r}")
    return pages


def read_rows(page: dict[str, Any], name: str, what: str) -> list[dict[str, Any]]:
    """Return the list of rows in a page; null is an empty list, as some servers write it.

    Raises BadDataError (65), which names `what`, if there is none or if a row is no object.
    """
    rows: Any = page
    for key in name.split("."):
        rows = rows.get(key, "") if isinstance(rows, dict) else ""
    rows = [] if rows is None else rows
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadDataError(f"{what} has no list {name} of objects; its keys are {', '.join(page)[:100]}")
    return rows


def _read_counts(body: bytes, pages: Offset, path: str) -> tuple[bytes, int, int | None]:
    """Return the rows of a page, their number and, if it says so, that of all pages. The rows are not decoded, which spares memory."""
    import msgspec  # noqa: PLC0415  describe decodes nothing

    what = f"a page of {path}"
    rows = _find(body, pages.rows, what) or b""
    try:
        count = len(msgspec.json.decode(rows, type=list[msgspec.Raw] | None) or ())
    except msgspec.DecodeError:
        raise BadDataError(f"{what} has no list {pages.rows}; it begins {body[:60]!r}") from None
    total = _read(body, pages.total, what) if pages.total else None
    if pages.total and not isinstance(total, int):
        raise BadDataError(f"{what} does not say how many rows there are in all; expected a number at {pages.total}")
    return rows, count, total


def _read(body: bytes, key: str, what: str) -> Any:  # noqa: ANN401  JSON
    """Return the value at a key of a page; None if there is none."""
    found = _find(body, key, what)
    return None if found is None else lossless_json.decode(found, what)


def _find(body: bytes, key: str, what: str) -> bytes | None:
    """Return the JSON at a key of a page; None if there is none, the page for an empty key. Raises BadDataError for a page of no object."""
    import msgspec  # noqa: PLC0415  describe decodes nothing

    found: bytes | None = body
    for number, step in enumerate(key.split(".") if key else ()):
        try:
            value = lossless_json.decode(found or b"", what, dict[str, msgspec.Raw], "a JSON object").get(step)
        except BadDataError:
            if number == 0:
                raise
            value = None
        found = None if value is None else bytes(value)
        if found is None:
            break
    return found
