"""Parsers of a response's header fields. No value raises an error; one that cannot be parsed counts as absent."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+\-]+/[a-z0-9!#$&^_.+\-]+")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", re.ASCII)
_LINK = re.compile(r'<([^<>]*)>((?:[^,"]|"(?:[^"\\]|\\.)*+")*+)')  # the target, and the parameters up to a comma outside quotes
_PARAMETER = re.compile(r';\s*([^\s=;"]+)(?:\s*=\s*("(?:[^"\\]|\\.)*+"|[^\s;"]*))?')
_SECONDS = re.compile(r"[0-9]+")
_MAX_RESET_S = 86_400  # a larger number is a date in seconds since 1970, as some vendors write
_VALIDATOR = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,1022}[\x21-\x7e])?")


def parse_media_type(value: str | None) -> str:
    """Return the media type of a Content-Type, lower case and without parameters; empty if there is none (RFC 9110, 8.3.1)."""
    media = (value or "").partition(";")[0].strip(" \t").lower()
    return media if _MEDIA_TYPE.fullmatch(media) else ""


def is_json(media: str) -> bool:
    """Whether a media type is JSON, alone or as the suffix of another (RFC 6839)."""
    return media == "application/json" or media.endswith("+json")


def parse_codings(value: str | None) -> tuple[str, ...]:
    """Return the content codings in the order in which they were applied, lower case, without `identity` (RFC 9110, 8.4)."""
    words = (word.strip(" \t").lower() for word in (value or "").split(","))
    return tuple(word for word in words if word not in ("", "identity"))


def parse_date(value: str | None) -> datetime | None:
    """Parse a moment of Date or Retry-After, in UTC; None if it is not a date."""
    try:
        moment = parsedate_to_datetime(value or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def parse_seconds(value: str | None) -> float | None:
    """Parse a number of seconds in ASCII digits, infinite if there are too many digits; None for anything else."""
    text = (value or "").strip(" \t")
    return float(text) if _SECONDS.fullmatch(text) else None


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds to wait from `now`. The field has seconds or an HTTP date (RFC 9110, 10.2.3)."""
    if (wait_s := parse_seconds(value)) is not None:
        return wait_s
    moment = parse_date(value)
    return None if moment is None else max(0.0, (moment - now).total_seconds())


def parse_reset(fields: Mapping[str, str], *, is_refused: bool) -> float | None:
    """Return the seconds until a vendor's limit of requests is reset; None if it says nothing of that, or still accepts some.

    A response that `is_refused` need not say that none remain. The fields are those of the IETF's draft "RateLimit header fields for
    HTTP" up to version 7 (RateLimit-Remaining, RateLimit-Reset), and of later ones (RateLimit: "name";r=0;t=30).
    """
    rest, reset_s = parse_seconds(fields.get("ratelimit-remaining")), parse_seconds(fields.get("ratelimit-reset"))
    parameters = dict(re.findall(r";\s*([rt])=([0-9]{1,9})", fields.get("ratelimit") or ""))
    rest = rest if rest is not None else parse_seconds(parameters.get("r"))
    reset_s = reset_s if reset_s is not None else parse_seconds(parameters.get("t"))
    return reset_s if reset_s is not None and reset_s <= _MAX_RESET_S and (is_refused or rest == 0) else None


def parse_content_range(value: str | None) -> tuple[int, int, int] | None:
    """Return first and last byte of a part, and the size of the whole (RFC 9110, 14.4); None if the field does not say all three."""
    match = _CONTENT_RANGE.fullmatch(value or "")
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def parse_next_link(value: str | None) -> str | None:
    """Return the target of the first link with the relation next; None if there is none (RFC 8288, 3).

    Hand-written: httpx2 2.16.2 takes `rel="next last"` and `rel="Next"` for other relations, and cuts a quoted title at its commas and
    semicolons, so that a list would end after its first page; so do httpx 0.28.1 and requests 2.34.2.
    """
    for target, parameters in _LINK.findall(value or ""):
        relations = [text for name, text in _PARAMETER.findall(parameters) if name.lower() == "rel"]
        if relations and "next" in relations[0].strip('"').lower().split():  # any further rel is ignored
            return str(target).strip()
    return None


def parse_validator(value: str | None) -> str | None:
    """Return an ETag or Last-Modified that can be sent back unchanged: printable ASCII of reasonable length; None for others."""
    return value if value and _VALIDATOR.fullmatch(value) else None


def is_sendable(value: str) -> bool:
    """Whether a value can be sent in a header field: printable ASCII without a space at either end."""
    return value.isascii() and value.isprintable() and value == value.strip()
