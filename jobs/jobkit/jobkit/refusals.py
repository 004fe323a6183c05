"""Responses of vendors that are not data: tables of what they mean, tests for their form, and how they are quoted.

The status says too little: SEC answers both an exceeded rate and a missing contact with 403, Tiingo writes a spent allowance into a 200.
Each extractor has a table of what its vendor's responses mean, with sources; the first entry that matches counts. The client's own rules
(GENERAL) apply to all other responses.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from jobkit import redaction

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["temporary", "refused", "missing", "empty"]
EXIT_CODE_OF: dict[Kind, int] = {"temporary": 75, "refused": 77, "missing": 2, "empty": 0}
MAX_QUOTED_CHARS = 160
EXCERPT_BYTES = 64 << 10  # read of a response without data; a refusal is shorter
MAX_SENTENCE_BYTES = 2 << 10
_MARKUP = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)|<[^<>]*>", re.DOTALL | re.IGNORECASE)
_TEMPORARY = re.compile(
    r"rate[ -]limit|request rate|rate (?:was |is )?exceeded|too many requests|limit (?:has been |was |is )?(?:exceeded|reached)"
    r"|exceeded [^.]{0,60}\blimit|maintenance|temporar(?:y|ily)|unavailable|overloaded|try again (?:later|in)|request allocation",
    re.IGNORECASE,
)
_RATE = re.compile(r"rate[ -]limit|request rate|rate (?:was |is )?exceeded|too many requests|exceeded [^.]{0,60}\brequest", re.IGNORECASE)
_ERROR_KEYS = ("detail", "details", "error", "errors", "message", "error_message", "title")
_DELIMITERS = re.compile(r"[,;\t|]")


class Meaning(NamedTuple):
    """What a response means that has this status and whose text matches the pattern `says`, ignoring case.

    What is "missing" does not exist. What is "empty" has no data for this question, and its partitions are skipped.

    `wait_s` is how long to wait before the next request if the vendor says so in its documentation only. `source` is where this is
    documented or was observed, `seen` when (YYYY-MM or YYYY-MM-DD).
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
    ("404 or 410", "the vendor does not have it", 2),
    ("408, 425, 429 or 5xx", "temporary; Retry-After, or else RateLimit-Reset, is honoured", 75),
    ("200 with a web page, a sentence, a temporary error or no body in place of data", "temporary: a limit or maintenance", 75),
    ("another 2xx or 3xx", "temporary: not a response to this request", 75),
    ("200 with data that are incomplete or damaged", "temporary", 75),
    ("200 with other data than requested", "bad data", 65),
)  # what holds for every vendor if its own table has no entry


def find_meaning(meanings: Sequence[Meaning], status: int, text: str) -> Meaning | None:
    """Return the first entry of the table that matches a response, None if none does."""
    return next((entry for entry in meanings if entry.status == status and re.search(entry.says, text, re.IGNORECASE)), None)


def extract_text(body: bytes) -> str:
    """Return the text of a response as one line, without tags, scripts and control characters."""
    import html  # noqa: PLC0415  most runs see no refusal

    text = body.decode("utf-8", "replace")
    if is_page(body):
        text = html.unescape(_MARKUP.sub(" ", text))
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def quote(text: str) -> str:
    """Return the beginning of a text, redacted before it is cut: a cut could leave the beginning of a secret."""
    text = redaction.redact(text)
    return text if len(text) <= MAX_QUOTED_CHARS else text[: MAX_QUOTED_CHARS - 1].rstrip() + "…"


def is_page(body: bytes) -> bool:
    """Whether a body is a web page or another markup, by its first character. A filing of EDGAR is SGML, and data."""
    text = body.removeprefix(b"\xef\xbb\xbf").lstrip()
    return text[:1] == b"<" and not text.startswith(b"<SEC-DOCUMENT>")


def is_sentence(body: bytes, *, json: bool) -> bool:
    """Whether a body is a short text for people in place of data: no JSON, no delimited columns, not binary. `json`: JSON was requested."""
    try:
        text = body.decode("utf-8-sig").strip() if len(body) <= MAX_SENTENCE_BYTES else ""
    except UnicodeDecodeError:
        return False
    if not text or " " not in text or text[0] in '{["' or not all(line.isprintable() for line in text.splitlines()):
        return False
    return json or not ("\n" in text or _DELIMITERS.search(text)) or bool("\n" not in text and _TEMPORARY.search(text))


def mentions_rate(text: str) -> bool:
    """Whether a refusal mentions the rate of requests, which makes it temporary."""
    return _RATE.search(text) is not None


def is_temporary_error(body: bytes) -> bool:
    """Whether a body is a short JSON object whose error message mentions a limit or maintenance."""
    import json  # noqa: PLC0415  most runs see no refusal

    if len(body) > MAX_SENTENCE_BYTES or not body.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return False
    try:
        document = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return False
    return any(_TEMPORARY.search(str(document[key])) for key in _ERROR_KEYS if key in document)
