r"""Texts that Arrow and Postgres can store, and an escape for those that they cannot.

Neither stores half of a surrogate pair, and Postgres stores no NUL (https://www.postgresql.org/docs/current/datatype-character.html).
"""

from __future__ import annotations

import re

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_ESCAPED = re.compile("[\0\ud800-\udfff]|\\\\(?=u)")


def is_storable(text: str) -> bool:
    """Whether a text column can store the text."""
    return "\0" not in text if text.isascii() else not _UNSTORABLE.search(text)


def escape_text(text: str) -> str:
    r"""Write what cannot be stored as \uXXXX, and a backslash before a u as \u005c. `unescape_text` reverses it."""
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def unescape_text(text: str) -> str:
    """Return the text that `escape_text` was given."""
    return re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), text)
