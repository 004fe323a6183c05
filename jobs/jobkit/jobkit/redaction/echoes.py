"""Find, in data from outside, the secrets that were sent there.

A response may be hundreds of megabytes, so it is searched in chunks, first as bytes, and decoded only if it contains escapes.
"""

from __future__ import annotations

from jobkit.redaction.encodings import decode, to_lower
from jobkit.redaction.known_secrets import list_sent_encodings

CHUNK_BYTES = 1 << 20


def holds_secret(data: bytes | memoryview) -> bool:
    """Whether data from outside contains a secret that was sent there, plain or encoded for a URL, JSON, HTML, base64 or hex."""
    scanner = _Scanner()
    return scanner.has_needles and any(scanner.feed(bytes(data[start : start + CHUNK_BYTES])) for start in range(0, len(data), CHUNK_BYTES))


class _Scanner:
    """Searches a stream of chunks; a secret may begin in one and end in the next."""

    def __init__(self) -> None:
        self._texts = [encoding.text[: encoding.min_chars] for encoding in list_sent_encodings()]
        self._needles = [text.encode() for text in self._texts]
        self._overlap = 6 * max((len(text) for text in self._texts), default=0)  # JSON writes one character in six
        self._previous = b""

    @property
    def has_needles(self) -> bool:
        """Whether there is anything to search for."""
        return bool(self._needles)

    def feed(self, chunk: bytes) -> bool:
        """Search the next chunk together with the end of the previous one; return whether a secret is in them."""
        data = self._previous + chunk
        self._previous = data[-self._overlap :]
        lower = data.lower()
        if any(needle in lower for needle in self._needles):
            return True
        if not any(sign in data for sign in (b"\\", b"%", b"&")):
            return False
        decoded = to_lower(decode(data.decode("latin-1")))
        return any(text in decoded for text in self._texts)
