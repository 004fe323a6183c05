r"""JSON whose numbers stay the text the vendor wrote: a float in between would change digits.

What the document holds is what is handed on. A key that an object has twice is refused, as whichever value were taken, the other would
be lost. Text arrives as a Python str as it was meant, also where it cannot be stored: NUL (`\u0000`) as "\0", half of a surrogate
pair (`\ud83d` alone) as that one code point, "\ud83d", which no UTF-8 has. They are the contract's to refuse, row by row.
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


BYTES_PER_OBJECT = 32  # of a document of figures; a denser one is none, and objects cost more memory than their bytes
SMALL = 1 << 20  # bytes; as many objects as fit into them do no harm
MOST_CELLS = 8 << 20  # of a table; rows that each have other names would make more than anyone sent
LONGEST_EXPONENT = 4  # characters: -308 is the last of a double
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]', re.DOTALL)
_PRIVATE_USE = range(0xE000, 0xF900)
_ONE_AT_A_TIME = threading.Lock()  # msgspec 0.22.0 builds what it knows of a Struct at its first decoder, and not safely in two threads


def decode(body: bytes, what: str, kind: Any = Any, form: str = "JSON", *, dense: int = BYTES_PER_OBJECT) -> Any:  # noqa: ANN401  JSON
    """The document, fractional numbers as text without exponents; as a msgspec type where one is given, which `form` names.

    Raises BadDataError naming `what` when it is no such document, has a key twice in one object, or has more than one object or array
    in `dense` bytes.
    """
    import msgspec  # noqa: PLC0415  describe decodes nothing

    if len(body) > SMALL and (objects := body.count(b"{") + body.count(b"[")) * dense > len(body):
        raise BadDataError(f"{what} has {objects:,} objects and arrays in {len(body):,} bytes, which no document of figures has")
    with _ONE_AT_A_TIME:
        decoder, mark = msgspec.json.Decoder(kind, float_hook=plain), ""
    try:
        try:
            document = decoder.decode(body)
        except msgspec.DecodeError:
            marked, mark = _marked(body)
            if not mark:
                raise
            document, body = decoder.decode(marked), marked
        _check_keys(body, document, what)
        return _unmarked(document, mark) if mark else document
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadDataError(f"{what} is not {form}: {error}; it begins {body[:60]!r}") from None


def is_closed(body: bytes) -> bool:
    """Whether this is one JSON object or array from its first bracket to its last: no beginning of one is."""
    import msgspec  # noqa: PLC0415  describe decodes nothing

    if body.lstrip()[:1] not in (b"{", b"["):
        return False
    try:
        msgspec.json.decode(_marked(body)[0], type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def plain(number: str) -> str:
    """A JSON number without exponent: 1.03e+06 is 1030000. What is none stays, for the contract to refuse.

    One beyond every figure stays, too: written out it would fill the memory.
    """
    _, exponential, exponent = number.lower().partition("e")
    try:
        return format(Decimal(number), "f") if exponential and len(exponent) <= LONGEST_EXPONENT else number
    except InvalidOperation:
        return number


def columns(rows: Sequence[dict[str, Any]], names: Sequence[str] = ()) -> Columns:
    """Rows as columns: `names` first, then any other in the order in which it first comes; None where a row has it not.

    Raises BadDataError where so many names would make a table that is far larger than what was sent.
    """
    found = dict.fromkeys(names) | dict.fromkeys(name for row in rows for name in row)
    if len(found) * len(rows) > MOST_CELLS:
        raise BadDataError(f"{len(rows):,} rows have {len(found):,} different names in all, which no table of figures has")
    return {name: [row.get(name) for row in rows] for name in found}


def _check_keys(body: bytes, document: object, what: str) -> None:
    """Raise BadDataError where an object has a key twice.

    A decoder keeps one of them. So the document, written again, has fewer colons than the body: each key has one, and those inside of
    text are in both, unless the body writes them as escapes. Only where the count differs are the keys themselves looked at.
    """
    import msgspec  # noqa: PLC0415  describe decodes nothing

    escaped = b"\\" in body and b"\\u003" in body  # a colon is \u003a
    if not escaped and body.count(b":") == msgspec.json.encode(document).count(b":"):
        return
    if path := next(_repeated_keys(body), None):
        raise BadDataError(f"{what} has the key {path[:200]} twice; expected each key once in its object, as a value would be lost")


def _repeated_keys(body: bytes) -> Iterator[str]:
    """The paths of keys that their objects had before. The body is JSON that a decoder has taken."""
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


def _marked(body: bytes) -> tuple[bytes, str]:
    """The body, each half of a surrogate pair as a mark and its four digits; no mark where there is none. The body has it nowhere else."""
    alone = {match[1] for match in _ESCAPE.finditer(body) if match[1]}
    if not alone:
        return body, ""
    text = body.lower()
    mark = next(chr(code) for code in _PRIVATE_USE if chr(code).encode() not in body and b"\\u%04x" % code not in text)
    return _ESCAPE.sub(lambda match: mark.encode() + match[1].lower() if match[1] else match[0], body), mark


def _unmarked(value: Any, mark: str) -> Any:  # noqa: ANN401  JSON
    """The value with each half of a surrogate pair in the place of its mark."""
    import msgspec  # noqa: PLC0415  describe decodes nothing

    if isinstance(value, str):
        return re.sub(f"{mark}(....)", lambda match: chr(int(match[1], 16)), value) if mark in value else value
    if isinstance(value, list):
        return [_unmarked(item, mark) for item in value]
    if isinstance(value, dict):
        return {_unmarked(key, mark): _unmarked(item, mark) for key, item in value.items()}
    if isinstance(value, msgspec.Raw):  # JSON still, to be decoded later
        return msgspec.Raw(bytes(value).replace(mark.encode(), b"\\u"))
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            setattr(value, name, _unmarked(getattr(value, name), mark))
    return value
