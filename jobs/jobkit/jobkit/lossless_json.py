r"""Decode JSON without loss: fractional numbers stay the text that the vendor wrote, because a float would change digits.

An object with a repeated key is refused: one of the two values would be lost. Text that cannot be stored is decoded as it was meant:
NUL (`\u0000`) as "\0", half of a surrogate pair (`\ud83d` alone) as that code point, which UTF-8 cannot encode. The contract refuses
such text row by row. Source: RFC 8259.
"""

from __future__ import annotations

import json
import re
import threading
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jobkit.contracts import Columns


MIN_BYTES_PER_OBJECT = 32  # an object costs more memory than its bytes; no document of figures is denser
SMALL_BYTES = 1 << 20  # in a document this small, any number of objects is harmless
MAX_CELLS = 8 << 20  # of a table; rows with different names make a table larger than the document
MAX_EXPONENT_CHARS = 4  # -308 is the smallest exponent of a double
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]', re.DOTALL)
_PRIVATE_USE = range(0xE000, 0xF900)
_BUILDING = threading.Lock()  # msgspec 0.22.0 analyses a Struct at its first decoder, and two threads may not do so at once


def decode(body: bytes, what: str, kind: Any = Any, form: str = "JSON", *, dense: int = MIN_BYTES_PER_OBJECT) -> Any:  # noqa: ANN401  JSON
    """Decode a document, with fractional numbers as text without exponents. `kind` is a msgspec type, which `form` names in messages.

    Raises BadDataError (65), which names `what`, if it is no such document, has a repeated key, or has on average more than one object or
    array in `dense` bytes.
    """
    import msgspec  # noqa: PLC0415  describe decodes nothing

    if len(body) > SMALL_BYTES and (objects := body.count(b"{") + body.count(b"[")) * dense > len(body):
        raise BadDataError(f"{what} has {objects:,} objects and arrays in {len(body):,} bytes, which no document of figures has")
    with _BUILDING:
        decoder, mark = msgspec.json.Decoder(kind, float_hook=expand_exponent), ""
    try:
        try:
            document = decoder.decode(body)
        except msgspec.DecodeError:
            marked, mark = _mark_surrogates(body)
            if not mark:
                raise
            document, body = decoder.decode(marked), marked
        _check_keys(body, document, what)
        return _restore_surrogates(document, mark) if mark else document
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadDataError(f"{what} is not {form}: {error}; it begins {body[:60]!r}") from None


def is_closed(body: bytes) -> bool:
    """Whether a body is one complete JSON object or array. The beginning of a document never is."""
    import msgspec  # noqa: PLC0415  describe decodes nothing

    if body.lstrip()[:1] not in (b"{", b"["):
        return False
    try:
        msgspec.json.decode(_mark_surrogates(body)[0], type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def expand_exponent(number: str) -> str:
    """Return a JSON number without exponent: 1.03e+06 is 1030000.

    Other text is unchanged, for the contract to refuse, and so is a number whose digits would fill the memory.
    """
    _, exponential, exponent = number.lower().partition("e")
    try:
        return format(Decimal(number), "f") if exponential and len(exponent) <= MAX_EXPONENT_CHARS else number
    except InvalidOperation:
        return number


def build_columns(rows: Sequence[dict[str, Any]], names: Sequence[str] = ()) -> Columns:
    """Return rows as columns: first `names`, then the other names in order of appearance; None if a row lacks a name.

    Raises BadDataError (65) if the table would have more than MAX_CELLS.
    """
    columns = dict.fromkeys(names) | dict.fromkeys(name for row in rows for name in row)
    if len(columns) * len(rows) > MAX_CELLS:
        raise BadDataError(f"{len(rows):,} rows have {len(columns):,} different names in all, which no table of figures has")
    return {name: [row.get(name) for row in rows] for name in columns}


def _check_keys(body: bytes, document: object, what: str) -> None:
    """Raise BadDataError if an object has a repeated key.

    The decoder keeps one of the values. So the encoded document has fewer colons than the body: each key has one, and colons in text are
    in both, unless the body writes them as escapes. Only if the counts differ are the keys compared, which is slow.
    """
    import msgspec  # noqa: PLC0415  describe decodes nothing

    escaped = b"\\" in body and b"\\u003" in body  # a colon is \u003a
    if not escaped and body.count(b":") == msgspec.json.encode(document).count(b":"):
        return
    if path := next(_find_repeated_keys(body), None):
        raise BadDataError(f"{what} has the key {path[:200]} twice; expected each key once in its object, as a value would be lost")


def _find_repeated_keys(body: bytes) -> Iterator[str]:
    """Yield the paths of repeated keys. The body is valid JSON."""
    path: list[str | int] = []  # a key or an index for each open object or array
    known: list[set[str] | None] = []  # the keys of each open object, None for an array
    key = ""
    for match in _TOKEN.finditer(body):
        token = match[0]
        if token in (b"{", b"["):
            known.append(set() if token == b"{" else None)
            path.append("" if token == b"{" else 0)
        elif token in (b"}", b"]"):
            known.pop()
            path.pop()
        elif token == b",":
            if known and known[-1] is None:
                path[-1] = int(path[-1]) + 1
        elif token == b":":
            keys, path[-1] = known[-1] or set(), key
            if key in keys:
                yield "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
            keys.add(key)
            known[-1] = keys
        elif known and known[-1] is not None:
            key = json.loads(token) if b"\\" in token else str(token[1:-1], "utf-8")


def _mark_surrogates(body: bytes) -> tuple[bytes, str]:
    """Replace each half of a surrogate pair by a mark and its four digits. Return the body and the mark; an empty one if there is none."""
    alone = {match[1] for match in _ESCAPE.finditer(body) if match[1]}
    if not alone:
        return body, ""
    text = body.lower()
    mark = next(chr(code) for code in _PRIVATE_USE if chr(code).encode() not in body and b"\\u%04x" % code not in text)
    return _ESCAPE.sub(lambda match: mark.encode() + match[1].lower() if match[1] else match[0], body), mark


def _restore_surrogates(value: Any, mark: str) -> Any:  # noqa: ANN401  JSON
    """Return the value with each mark replaced by its half of a surrogate pair."""
    import msgspec  # noqa: PLC0415  describe decodes nothing

    if isinstance(value, str):
        return re.sub(f"{mark}(....)", lambda match: chr(int(match[1], 16)), value) if mark in value else value
    if isinstance(value, list):
        return [_restore_surrogates(item, mark) for item in value]
    if isinstance(value, dict):
        return {_restore_surrogates(key, mark): _restore_surrogates(item, mark) for key, item in value.items()}
    if isinstance(value, msgspec.Raw):  # JSON still, to be decoded later
        return msgspec.Raw(bytes(value).replace(mark.encode(), b"\\u"))
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            setattr(value, name, _restore_surrogates(getattr(value, name), mark))
    return value
