"""Encodings in which a secret may appear in a text, and the decoding of escapes.

Texts are compared in lower case, so a secret in capitals is found too. The beginning of a secret reveals it, because a text may have been
cut: an encoding matches from its first half on, and from eight characters on. Escapes are those of URLs (RFC 3986), HTML, JSON and Python.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, quote_plus, unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_CHARS = 4  # a shorter secret cannot be masked without destroying text
MIN_CHARS_INSIDE_WORDS = 8  # a shorter secret is masked as a whole word only
MAX_DECODINGS = 3  # layers of escapes, one inside the other
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}  # unlike str.lower, keeps the number of characters
_ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|x([0-9a-f]{2})|([0-7]{3})|(.))", re.IGNORECASE | re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}


class Encoding(NamedTuple):
    """One encoding of a secret, in lower case. Its first `min_chars` characters reveal the secret. `is_word`: match whole words only."""

    text: str
    min_chars: int
    is_word: bool = False
    is_base64: bool = False


def encode(secret: str) -> Iterator[Encoding]:
    """Yield every encoding of a secret that is searched for; none of a secret shorter than MIN_CHARS."""
    import html  # noqa: PLC0415  only a process with a secret pays for it

    if len(secret) < MIN_CHARS:
        return
    plain, data = secret, secret.encode(errors="surrogateescape")
    once = quote(plain, safe="", errors="surrogateescape")
    texts = [plain, once, quote(plain, errors="surrogateescape"), quote_plus(plain, errors="surrogateescape"), quote(once, safe="")]
    texts += [json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1], repr(plain)[1:-1], html.escape(plain)]
    texts += [json.dumps(json.dumps(plain)[1:-1])[1:-1], data.hex()]
    for text in dict.fromkeys(map(to_lower, texts)):
        if len(text) < MIN_CHARS_INSIDE_WORDS:
            yield Encoding(text, len(text), is_word=True)
        else:
            yield Encoding(text, max(MIN_CHARS_INSIDE_WORDS, len(text) // 2))
    for text in dict.fromkeys(map(to_lower, _base64_cores(data))):
        if len(text) >= MIN_CHARS_INSIDE_WORDS:
            yield Encoding(text, max(MIN_CHARS_INSIDE_WORDS, len(text) // 2), is_base64=True)


def _base64_cores(data: bytes) -> Iterator[str]:
    """Yield the base64 characters that depend on the data alone, at each offset in a longer text, as after `user:`."""
    import base64  # noqa: PLC0415

    for offset in range(3):
        padded = bytes(offset) + data
        for encode_base64 in (base64.b64encode, base64.urlsafe_b64encode):
            core = encode_base64(padded).decode()[offset and offset + 1 : len(padded) * 8 // 6]
            yield core
            yield quote(core, safe="")


def to_lower(text: str) -> str:
    """Return the text with A-Z in lower case, as long as it was."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def decode(text: str) -> str:
    """Decode URL, HTML and backslash escapes, up to MAX_DECODINGS layers; return the same text if it has none."""
    for _ in range(MAX_DECODINGS):
        before = text
        if "\\" in text:
            text = _ESCAPE.sub(_decode_escape, text)
        if "%" in text:
            text = unquote(text, errors="replace")
        if "&" in text:
            import html  # noqa: PLC0415

            text = html.unescape(text)
        if text == before:
            break
    return text


def _decode_escape(match: re.Match[str]) -> str:
    if digits := match[1] or match[2]:
        return chr(int(digits, 16))
    return chr(int(match[3], 8)) if match[3] else _ESCAPED.get(match[4], match[4])
