"""Mask known secrets and credentials in URLs in texts and JSON documents."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from jobkit.redaction.encodings import MIN_CHARS_INSIDE_WORDS, decode, to_lower
from jobkit.redaction.known_secrets import list_encodings
from jobkit.redaction.url_credentials import MASK, mask_urls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jobkit.redaction.encodings import Encoding

__all__ = ["MASK", "clean", "redact", "to_json"]

_BASE64 = frozenset("abcdefghijklmnopqrstuvwxyz0123456789+/=_-")
_BREAK = r"(?:\s|\\[nrt])*"
_SPACE = re.compile(r"\s+|\\[nrt]")


def redact(text: str) -> str:
    """Return the text with every known secret and every credential in a URL masked; the same text if there is none.

    A secret that shows only after decoding, and the beginning of a secret, are masked in the decoded text.
    """
    masked = _mask_complete(mask_urls(text))
    decoded = decode(masked)
    redacted = _mask_beginnings(_mask_split(_mask_complete(mask_urls(decoded))))
    return masked if redacted == decoded else redacted


def clean(document: Any) -> Any:  # noqa: ANN401  JSON, or what `str` makes of it
    """Return a JSON document with every text redacted, keys included; the same document if there is nothing to mask."""
    text = json.dumps(document, default=str)
    return document if redact(text) == text else _clean(document)


def to_json(document: object, *, indent: int | None = None, sort_keys: bool = False, compact: bool = False) -> str:
    """Return the document as redacted JSON, the form for every sink."""
    options: dict[str, Any] = {"indent": indent, "sort_keys": sort_keys, "separators": (",", ":") if compact else None, "default": str}
    text = json.dumps(document, **options)
    return text if redact(text) == text else json.dumps(_clean(document), **options)


def _clean(value: Any) -> Any:  # noqa: ANN401
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {redact(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    return redact(str(value))


def _mask_complete(text: str) -> str:
    """Mask complete secrets."""
    lower = to_lower(text)
    for encoding in list_encodings():
        if encoding.text in lower:
            text = MASK.join(_split_between(text, [*_find_matches(encoding, lower, len(encoding.text))]))
            lower = to_lower(text)
    return text


def _mask_beginnings(text: str) -> str:
    """Mask the beginnings of secrets, each as far as it continues: a text that was cut may end inside a secret."""
    lower = to_lower(text)
    for encoding in list_encodings():
        if not encoding.is_word and encoding.text[: encoding.min_chars] in lower:
            text = MASK.join(_split_between(text, [*_find_matches(encoding, lower, encoding.min_chars)]))
            lower = to_lower(text)
    return text


def _mask_split(text: str) -> str:
    """Mask secrets that are split by line breaks or spaces."""
    encodings = list_encodings()
    joined = to_lower(_SPACE.sub("", text)) if encodings else ""
    for encoding in encodings:
        bare = _SPACE.sub("", encoding.text)
        if len(bare) >= MIN_CHARS_INSIDE_WORDS and bare in joined:
            text = re.sub(_BREAK.join(map(re.escape, bare)), MASK, text, flags=re.IGNORECASE)
    return text


def _find_matches(encoding: Encoding, lower: str, min_chars: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each occurrence of an encoding, of at least `min_chars` characters."""
    end = 0
    while (start := lower.find(encoding.text[:min_chars], end)) >= 0:
        end = start + min_chars
        while end < len(lower) and end - start < len(encoding.text) and lower[end] == encoding.text[end - start]:
            end += 1
        if encoding.is_base64:
            start, end = _extend_base64(lower, start, end)
        if not encoding.is_word or _is_whole_word(lower, start, end):
            yield start, end


def _split_between(text: str, matches: Iterable[tuple[int, int]]) -> Iterator[str]:
    """Yield the parts of a text before, between and after the matches."""
    last = 0
    for start, end in matches:
        yield text[last:start]
        last = end
    yield text[last:]


def _extend_base64(lower: str, start: int, end: int) -> tuple[int, int]:
    """Extend a match to all base64 characters around it."""
    while start and lower[start - 1] in _BASE64:
        start -= 1
    while end < len(lower) and lower[end] in _BASE64:
        end += 1
    return start, end


def _is_whole_word(lower: str, start: int, end: int) -> bool:
    return not (start and lower[start - 1].isalnum()) and not (end < len(lower) and lower[end].isalnum())
