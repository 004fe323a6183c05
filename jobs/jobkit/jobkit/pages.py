"""A client for vendors who send a result in pages: it fetches all pages of a request and returns them as one JSON array.

The bytes of each page stay as the vendor sent them. Such a response is never conditional: a first page that has not changed says nothing
about the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobkit.body import Body
from jobkit.errors import BadDataError
from jobkit.http import Client, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jobkit.lake import Source

    Params = Sequence[tuple[str, str]]

MAX_PAGES = 10_000


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
