"""The secrets that this process knows, in every encoding that is searched for.

The registry belongs to the process; any thread may add to it while others read.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from jobkit.redaction.encodings import MIN_CHARS, encode

if TYPE_CHECKING:
    from jobkit.redaction.encodings import Encoding

__all__ = ["MIN_CHARS", "list_encodings", "list_sent_encodings", "protect"]

_encodings: tuple[Encoding, ...] = ()
_sent_encodings: tuple[Encoding, ...] = ()
_registering = threading.Lock()


def protect(secret: str, *, sent: bool = False) -> None:
    """Mask this secret from now on. `sent`: it is sent to a vendor, and a response that contains it is refused (see `holds_secret`)."""
    global _encodings, _sent_encodings  # noqa: PLW0603  what the process knows is the process's
    new = tuple(encode(secret))
    with _registering:
        _encodings = tuple(sorted({*_encodings, *new}, key=lambda encoding: -len(encoding.text)))
        if sent:
            _sent_encodings = tuple(dict.fromkeys((*_sent_encodings, *(encoding for encoding in new if not encoding.is_word))))


def list_encodings() -> tuple[Encoding, ...]:
    """Return the encodings of all secrets, the longest first: one may be the beginning of another."""
    return _encodings


def list_sent_encodings() -> tuple[Encoding, ...]:
    """Return the encodings of the secrets that are sent to a vendor, without those that match whole words only."""
    return _sent_encodings
