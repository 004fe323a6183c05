"""Decide whether a response has the requested data, and which error it is otherwise.

The vendor's own table of refusals counts first, then the rules of `refusals.GENERAL`. The errors and their exit codes:

    ResourceNotFoundError  2   404, 410: the vendor does not have it
    NoDataError            2   what the vendor's table calls empty; no error for an extractor
    UsageError             2   another 4xx
    BadDataError          65   200 with data of another media type
    RetryableError        75   408, 425, 429, 5xx, other 2xx and 3xx, and pages, sentences and temporary errors in place of data
    AuthError             77   401 and 403, unless they mention the rate of requests
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jobkit import body as bodies
from jobkit import headers, refusals
from jobkit.body import RetryableError
from jobkit.errors import AuthError, BadDataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx2

    from jobkit.body import Body
    from jobkit.refusals import Meaning


class ResourceNotFoundError(UsageError):
    """The vendor does not have the requested resource (404, 410)."""


class NoDataError(ResourceNotFoundError):
    """The vendor has no data for this question, says its own table of meanings. An extractor skips the partitions."""


def format_address(response: httpx2.Response) -> str:
    """Return host and path of a response's URL, for messages; the query may hold a secret."""
    return f"{response.url.host}{response.url.path}"


def check_status(response: httpx2.Response, accept: Sequence[str], meanings: Sequence[Meaning]) -> None:
    """Raise the error of a response unless it has status 200 and one of the accepted media types."""
    status, where = response.status_code, format_address(response)
    media = headers.parse_media_type(response.headers.get("content-type"))
    if status == 200 and media in accept:  # noqa: PLR2004
        return
    excerpt = bodies.read_excerpt(response, refusals.EXCERPT_BYTES)
    text = refusals.extract_text(excerpt)
    quoted = refusals.quote(text)
    wait_s = headers.parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
    wait_s = headers.parse_reset(response.headers, is_refused=True) if wait_s is None and status == 429 else wait_s  # noqa: PLR2004
    _check_meanings(meanings, status, text, where, wait_s)
    if status in (401, 403):
        if refusals.mentions_rate(text):
            raise _rate_error(where, status, quoted, wait_s)
        raise _auth_error(where, status, quoted)
    if status in (404, 410):
        raise ResourceNotFoundError(f"{where} does not exist ({status}): {quoted}")
    if status in (408, 425, 429) or status >= 500:  # noqa: PLR2004
        raise RetryableError(f"{where} is busy ({status}): {quoted}; try again later", wait_s)
    if status < 400 and status != 200:  # noqa: PLR2004
        raise RetryableError(f"{where} answered {status} where 200 was expected; try again later, or look at the address", wait_s)
    if status != 200:  # noqa: PLR2004
        raise UsageError(f"{where} does not accept the request ({status}): {quoted}")
    problem = f"{where} answered 200 with {media or 'no media type'} where {' or '.join(accept)} was expected"
    if refusals.is_page(excerpt) or refusals.is_sentence(excerpt, json=False) or refusals.is_temporary_error(excerpt):
        raise RetryableError(f"{problem}, perhaps for maintenance or a limit: {quoted}; try again later", wait_s)
    raise BadDataError(f"{problem}; look at the address and at what the vendor changed")


def check_content(response: httpx2.Response, content: Body, media: str, meanings: Sequence[Meaning]) -> None:
    """Raise an error if the body of an accepted response is empty, or holds a message in place of data."""
    where = format_address(response)
    if content.size == 0:
        _check_meanings(meanings, 200, "", where, None)
        raise RetryableError(f"{where} answered 200 with nothing at all; try again later")
    excerpt = content.read(refusals.EXCERPT_BYTES)
    if content.size < refusals.EXCERPT_BYTES and meanings:
        _check_meanings(meanings, 200, refusals.extract_text(excerpt), where, None)
    is_markup = refusals.is_page(excerpt) and not media.endswith(("xml", "html"))
    if is_markup or refusals.is_sentence(excerpt, json=headers.is_json(media)) or refusals.is_temporary_error(excerpt):
        quoted = refusals.quote(refusals.extract_text(excerpt))
        raise RetryableError(f"{where} answered 200 with words in place of data, maintenance or a limit perhaps: {quoted}; try again later")


def _check_meanings(meanings: Sequence[Meaning], status: int, text: str, where: str, wait_s: float | None) -> None:
    """Raise the error that the vendor's own table says for a response; return if the table has no entry."""
    meaning = refusals.find_meaning(meanings, status, text)
    if meaning is None:
        return
    quoted = refusals.quote(text)
    if meaning.means == "temporary":
        raise _rate_error(where, status, quoted, meaning.wait_s if wait_s is None else wait_s)
    if meaning.means == "empty":
        raise NoDataError(f"{where} has no data ({status}): {quoted}")
    if meaning.means == "missing":
        raise ResourceNotFoundError(f"{where} does not exist ({status}): {quoted}")
    raise _auth_error(where, status, quoted)


def _rate_error(where: str, status: int, quoted: str, wait_s: float | None) -> RetryableError:
    return RetryableError(f"{where} asks us to wait ({status}): {quoted}; try again later", wait_s)


def _auth_error(where: str, status: int, quoted: str) -> AuthError:
    return AuthError(f"{where} refuses us ({status}): {quoted}; check the token, the contact and what the plan includes")
