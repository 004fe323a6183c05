"""Names of columns: which of a vendor's names are stored unchanged, and how the others are replaced.

A plain name has 1 to 63 characters (the limit of Postgres) of A-Z, a-z, 0-9, space and _ . % / ( ) -, begins with a letter or digit and
does not end in a space. Names that begin with an underscore are finelt's. Every other name is replaced by one derived from it alone, so
that a column has the same name in every partition and on every machine.
"""

from __future__ import annotations

import hashlib
import re

LONGEST = 63
SYSTEM = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")  # every Postgres table has them
ROW_NUMBER = "_row_number"  # of a row among those read, from 1
OURS = (ROW_NUMBER, "_load_id", "known_from", "known_to")  # the extractors and the loader add them
RESERVED = frozenset({*SYSTEM, *OURS})
_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _.%/()-]{0,61}[A-Za-z0-9_.%/()-])?")
_OTHER = re.compile(r"[^A-Za-z0-9_.%/()-]+")
_SHOWN, _DIGITS = 40, 12
RULE = "1 to 63 letters, digits, spaces and _ . % / ( ) -, the first a letter or digit, and none that the warehouse uses itself"


def is_plain(name: str) -> bool:
    """Whether a name is stored unchanged."""
    return _PLAIN.fullmatch(name) is not None and name not in RESERVED


def safe(name: str) -> str:
    """Return a plain name unchanged, and another one as its plain characters and a digest: `a"b` is `a_b~bbbcd1d7cd24`.

    No plain name contains a tilde, so a replaced name never equals a plain one.
    """
    if is_plain(name):
        return name
    shown = _OTHER.sub("_", name).strip("_")[:_SHOWN] or "column"
    return f"{shown}~{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:_DIGITS]}"


def shown(name: str) -> str:
    """Return a vendor's name for a message: quoted, and cut if it is long."""
    return repr(name) if len(name) <= _SHOWN else f"{name[:_SHOWN]!r}..."
