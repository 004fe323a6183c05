"""What vendors answer besides data: tables of their refusals, and how a refusal is quoted.

A status says too little: SEC refuses a rate with the 403 of a missing name, Tiingo writes a spent allowance into a 200. Each extractor
lists what its vendor says and what that means, with its source; the first line that fits counts. The client's own rules follow.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from jobkit import redaction

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["temporary", "refused", "missing"]
EXIT_CODE_OF: dict[Kind, int] = {"temporary": 75, "refused": 77, "missing": 2}
QUOTED_CHARACTERS = 160
READ_BYTES = 64 << 10  # of an answer that holds no data; a refusal is shorter
SENTENCE_BYTES = 2 << 10
_NO_TEXT = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)|<[^<>]*>", re.DOTALL | re.IGNORECASE)
_PASSING = re.compile(
    r"rate[ -]limit|request rate|rate (?:was |is )?exceeded|too many requests|limit (?:has been |was |is )?(?:exceeded|reached)"
    r"|exceeded [^.]{0,60}\blimit|maintenance|temporar(?:y|ily)|unavailable|overloaded|try again (?:later|in)|request allocation",
    re.IGNORECASE,
)
_RATE = re.compile(r"rate[ -]limit|request rate|rate (?:was |is )?exceeded|too many requests|exceeded [^.]{0,60}\brequest", re.IGNORECASE)
_ERROR_KEYS = ("detail", "details", "error", "errors", "message", "error_message", "title")
_DELIMITERS = re.compile(r"[,;\t|]")


class Meaning(NamedTuple):
    """What an answer means: one with this status whose text the pattern `says` is found in, case ignored.

    `wait_s` is how long the vendor wants to be left alone, where it says so only in its documentation. `source` is where this is
    written or was seen, `seen` when (YYYY-MM or YYYY-MM-DD).
    """

    status: int
    says: str
    means: Kind
    source: str
    seen: str
    wait_s: float | None = None


GENERAL: tuple[tuple[str, str, int], ...] = (
    ("401 or 403 that speaks of a rate or of too many requests", "temporary", 75),
    ("401 or 403 otherwise", "refused: check the token, the contact and what the plan includes", 77),
    ("404 or 410", "no such thing at the vendor", 2),
    ("408, 425, 429 or 5xx", "temporary; Retry-After is honoured", 75),
    ("200 with a web page, a sentence, an error that passes or nothing in place of data", "temporary: a limit or maintenance", 75),
    ("another 2xx or 3xx", "temporary: not an answer to what was asked", 75),
    ("200 with data that are cut short or damaged on the way", "temporary", 75),
    ("200 with other data than were asked for", "bad data", 65),
)  # what holds for every vendor where its own table says nothing


def find(meanings: Sequence[Meaning], status: int, text: str) -> Meaning | None:
    """The first line of the table that fits an answer."""
    return next((one for one in meanings if one.status == status and re.search(one.says, text, re.IGNORECASE)), None)


def text_of(body: bytes) -> str:
    """The words of an answer, without tags, scripts and control characters, as one line."""
    import html  # noqa: PLC0415  few runs are refused anything

    text = body.decode("utf-8", "replace")
    if is_page(body):
        text = html.unescape(_NO_TEXT.sub(" ", text))
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def quote(text: str) -> str:
    """The beginning of what was said, without secrets: they are masked first, as the beginning of one could be left."""
    text = redaction.redact(text)
    return text if len(text) <= QUOTED_CHARACTERS else text[: QUOTED_CHARACTERS - 1].rstrip() + "…"


def is_page(body: bytes) -> bool:
    """Whether this is markup for people (or XML), by its first character."""
    return body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<"


def is_sentence(body: bytes, *, json: bool) -> bool:
    """Whether this is a short text for people where data were asked for: no JSON, no delimited columns, nothing binary."""
    try:
        text = body.decode("utf-8-sig").strip() if len(body) <= SENTENCE_BYTES else ""
    except UnicodeDecodeError:
        return False
    if not text or " " not in text or text[0] in '{["' or not all(line.isprintable() for line in text.splitlines()):
        return False
    return json or not ("\n" in text or _DELIMITERS.search(text)) or bool("\n" not in text and _PASSING.search(text))


def speaks_of_rate(text: str) -> bool:
    """Whether a refusal is for asking too often, which passes."""
    return _RATE.search(text) is not None


def is_passing_error(body: bytes) -> bool:
    """Whether this is a short JSON object whose own error speaks of a limit or of maintenance."""
    import json  # noqa: PLC0415  few runs are refused anything

    if len(body) > SENTENCE_BYTES or not body.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return False
    try:
        found = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return False
    return any(_PASSING.search(str(found[key])) for key in _ERROR_KEYS if key in found)
