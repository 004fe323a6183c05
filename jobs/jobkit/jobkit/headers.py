"""What the header fields of an answer say. No value, however odd, raises anything: what cannot be read says nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+\-]+/[a-z0-9!#$&^_.+\-]+")
_SECONDS = re.compile(r"[0-9]+")
_VALIDATOR = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,1022}[\x21-\x7e])?")


def media_type(value: str | None) -> str:
    """The media type of a Content-Type, lower case and without parameters; empty where there is none (RFC 9110, 8.3.1)."""
    found = (value or "").partition(";")[0].strip(" \t").lower()
    return found if _MEDIA_TYPE.fullmatch(found) else ""


def is_json(media: str) -> bool:
    """Whether a media type is JSON, alone or as the suffix of another (RFC 6839)."""
    return media == "application/json" or media.endswith("+json")


def codings(value: str | None) -> tuple[str, ...]:
    """The content codings in the order in which they were applied, lower case; `identity` is none (RFC 9110, 8.4)."""
    found = (word.strip(" \t").lower() for word in (value or "").split(","))
    return tuple(word for word in found if word not in ("", "identity"))


def date(value: str | None) -> datetime | None:
    """A moment in UTC, as Date and Retry-After write it; None where it is no date that a calendar has."""
    try:
        found = parsedate_to_datetime(value or "")
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def seconds(value: str | None) -> float | None:
    """A number of seconds in ASCII digits, infinite where there are too many; None for anything else."""
    text = (value or "").strip(" \t")
    return float(text) if _SECONDS.fullmatch(text) else None


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait from now: the field holds seconds or an HTTP date (RFC 9110, 10.2.3)."""
    if (wait_s := seconds(value)) is not None:
        return wait_s
    moment = date(value)
    return None if moment is None else max(0.0, (moment - now).total_seconds())


def validator(value: str | None) -> str | None:
    """An ETag or Last-Modified that can be sent back as it came: printable ASCII of reasonable length. Others are not used."""
    return value if value and _VALIDATOR.fullmatch(value) else None


def is_sendable(value: str) -> bool:
    """Whether a value can be sent in a header field: printable ASCII that neither begins nor ends with a space."""
    return value.isascii() and value.isprintable() and value == value.strip()
