"""Values and lists in messages: quoted, escaped and cut, so that a message stays short whatever the vendor sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_SHOWN_CHARACTERS = 40  # of a value
MAX_SHOWN_ITEMS = 10  # of a list


def quote(text: str) -> str:
    """Quote a text of any content, with what cannot be printed escaped."""
    return repr(text) if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]!r}... ({len(text):,} characters)"


def truncate(text: str) -> str:
    """Return a value of its type without quotes, or quoted if it cannot be printed."""
    if not text.isprintable():
        return quote(text)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}... ({len(text):,} characters)"


def join_limited(items: Sequence[str], separator: str = ", ") -> str:
    """Join the first MAX_SHOWN_ITEMS items, and say how many more there are."""
    more = f"{separator}and {len(items) - MAX_SHOWN_ITEMS:,} more" if len(items) > MAX_SHOWN_ITEMS else ""
    return separator.join(items[:MAX_SHOWN_ITEMS]) + more
