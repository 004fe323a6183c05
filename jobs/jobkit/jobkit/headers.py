"""Parsers of a response's header fields. No value raises an error; one that cannot be parsed counts as absent."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+\-]+/[a-z0-9!#$&^_.+\-]+")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", re.ASCII)
_SECONDS = re.compile(r"[0-9]+")
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


def parse_content_range(value: str | None) -> tuple[int, int, int] | None:
    """Return first and last byte of a part, and the size of the whole (RFC 9110, 14.4); None if the field does not say all three."""
    match = _CONTENT_RANGE.fullmatch(value or "")
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def parse_validator(value: str | None) -> str | None:
    """Return an ETag or Last-Modified that can be sent back unchanged: printable ASCII of reasonable length; None for others."""
    return value if value and _VALIDATOR.fullmatch(value) else None


def is_sendable(value: str) -> bool:
    """Whether a value can be sent in a header field: printable ASCII without a space at either end."""
    return value.isascii() and value.isprintable() and value == value.strip()
