"""Redaction of everything that leaves a process: output, logs, reports and commits, without known secrets and credentials in URLs.

Every sink writes the result of `redact` or `to_json`, so a secret is masked wherever it appears: in a vendor's error, a traceback, an
ETag. A secret is found in plain text and encoded for URLs, JSON, HTML, base64 and hex, in upper or lower case, cut after its first
half, and split over lines. The decision and its limits: docs/decisions/0013-secret-redaction.md.

Hand-written: the libraries for this mask log records or known patterns; they know neither the process's own secrets nor their encodings.
"""

from __future__ import annotations

import io
import json
import re
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TextIO

MASK = "***"
LEAST_CHARS = 4  # a shorter secret cannot be masked without destroying text
ANYWHERE_CHARS = 8  # from here on a secret is masked inside of words too
CHUNK_BYTES = 1 << 20
DECODINGS = 3  # encoded so often in a row and still found

_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}  # no character becomes two, as with str.lower
_BASE64 = frozenset("abcdefghijklmnopqrstuvwxyz0123456789+/=_-")
_ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|x([0-9a-f]{2})|([0-7]{3})|(.))", re.IGNORECASE | re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
_BREAK = r"(?:\s|\\[nrt])*"
_SPACE = re.compile(r"\s+|\\[nrt]")
_WORDS = r"passw|passphrase|passfile|pwd|secret|token|api[_\-]?key|access[_\-]?key|signature|credential|authorization"
_CREDENTIAL = rf"(?:[\w.\-]*(?:{_WORDS})[\w.\-]*|pass|key|sig|auth|options)"
_USERINFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.\-]*:)?//(?P<user>[^\s/?#\"'<>]*)@", re.IGNORECASE)
_SLASHED = re.compile(r"(?P<scheme>[a-z][a-z0-9+.\-]*:)//(?P<user>[^\s/?#@:\"'<>]*:(?!\d*[/?#])[^\s@\"'<>]*)@", re.IGNORECASE)
_QUERY = re.compile(rf"([?&;]{_CREDENTIAL}=)[^&#;\s\"'<>]+", re.IGNORECASE)
_PAIR = re.compile(r"(\b(?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&;,\"'\\]+)", re.IGNORECASE)
_SCHEMES = r"(?:(?:basic|bearer|token|digest)\s+)?"
_HEADER = re.compile(rf"(\bauthorization['\"]?\s*[:=]\s*)(?:b(?=['\"]))?['\"]?{_SCHEMES}[^\s,'\"]+", re.IGNORECASE)
_NAMED = re.compile(r"PASSW|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|AUTH_STRING|PRIVATE_KEY|CREDENTIALS", re.IGNORECASE)
_PLACES = re.compile(r"(?:_FILE|_PATH|_URI|_URL|_ARN|_SOCK|_NAME|_DIR)$", re.IGNORECASE)
_HEADERS = re.compile(r"OTEL_EXPORTER_OTLP_(?:\w+_)?HEADERS")


class Form(NamedTuple):
    """One encoding of a secret, in lower case. Its first `least` characters are enough to reveal it. `word`: match whole words only."""

    text: str
    least: int
    word: bool = False
    base64: bool = False


_forms: tuple[Form, ...] = ()
_sent: tuple[Form, ...] = ()  # the forms of secrets that are sent to a vendor, which may send them back
_registering = threading.Lock()


def protect(secret: str, *, sent: bool = False) -> None:
    """Mask this secret from now on. `sent`: it is sent to a vendor, and a response that contains it is refused (see `holds_secret`)."""
    global _forms, _sent  # noqa: PLW0603  what the process knows is the process's
    made = tuple(_forms_of(secret))
    with _registering:
        _forms = tuple(sorted({*_forms, *made}, key=lambda form: -len(form.text)))
        if sent:
            _sent = tuple(dict.fromkeys((*_sent, *(form for form in made if not form.word))))


def protect_environment(environ: Mapping[str, str]) -> None:
    """Mask the credentials in the environment: in variables with such names, in URLs, and in headers for telemetry."""
    for name, value in environ.items():
        for secret in _credentials(name, value):
            if len(secret) >= ANYWHERE_CHARS:
                protect(secret)


def redact(text: str) -> str:
    """Return the text with every known secret and every credential in a URL masked; the same text where there is none.

    A secret that shows only after decoding, and the beginning of a secret, are masked in the decoded text.
    """
    masked = _mask_whole(mask_urls(text))
    flat = _decoded(masked)
    found = _mask_cut(_mask_broken(_mask_whole(mask_urls(flat))))
    return masked if found == flat else found


def mask_urls(text: str) -> str:
    """Return the text without credentials in URLs, connection strings and Authorization headers, known or not."""
    if "//" in text and "@" in text:
        text = _SLASHED.sub(_without_user, _USERINFO.sub(_without_user, text))
    lower = _lower(text)
    if "=" in text:
        text = _QUERY.sub(rf"\1{MASK}", text)
        text = _PAIR.sub(rf"\1{MASK}", text) if "password" in lower else text
    return _HEADER.sub(rf"\1{MASK}", text) if "authorization" in lower else text


def clean(document: Any) -> Any:  # noqa: ANN401  JSON, or what `str` makes of it
    """Return a JSON document with every text redacted, keys included; the same document where there is nothing to mask."""
    text = json.dumps(document, default=str)
    return document if redact(text) == text else _clean(document)


def to_json(document: object, *, indent: int | None = None, sort_keys: bool = False, compact: bool = False) -> str:
    """Return the document as redacted JSON, the form for every sink."""
    how: dict[str, Any] = {"indent": indent, "sort_keys": sort_keys, "separators": (",", ":") if compact else None, "default": str}
    text = json.dumps(document, **how)
    return text if redact(text) == text else json.dumps(_clean(document), **how)


def holds_secret(data: bytes | memoryview) -> bool:
    """Whether data from outside contains a secret that was sent there, plain or encoded for a URL, JSON, HTML, base64 or hex."""
    scan = Scan()
    return any(scan.feed(bytes(data[start : start + CHUNK_BYTES])) for start in range(0, len(data), CHUNK_BYTES))


class Scan:
    """Searches a stream for secrets that were sent, across pieces of any size."""

    def __init__(self) -> None:
        self._forms, self._rest = [form.text[: form.least] for form in _sent], b""
        self._overlap = 6 * max((len(text) for text in self._forms), default=0)  # JSON writes one character in six
        self._needles = [text.encode() for text in self._forms]

    def feed(self, piece: bytes) -> bool:
        """Search the next piece; return whether a secret is in it, or in the end of the previous one and it."""
        if not self._needles:
            return False
        seen = self._rest + piece
        self._rest = seen[-self._overlap :]
        lower = seen.lower()
        if any(needle in lower for needle in self._needles):
            return True
        if not any(sign in seen for sign in (b"\\", b"%", b"&")):
            return False
        flat = _lower(_decoded(seen.decode("latin-1")))
        return any(text in flat for text in self._forms)


class Redacted(io.TextIOBase):
    """A text stream that writes complete lines, redacted, to another stream. An incomplete line is written on flush."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream, self._held, self._writing = stream, "", threading.RLock()

    def write(self, text: str) -> int:
        """Write the complete lines, keep the rest."""
        if not isinstance(text, str):
            raise TypeError(f"a text stream takes str, not {type(text).__name__}")
        with self._writing:
            whole, end, rest = (self._held + text).rpartition("\n")
            self._held = rest
            if end:
                self._stream.write(redact(whole) + end)
        return len(text)

    def flush(self) -> None:
        """Write the rest and flush the stream below."""
        with self._writing:
            rest, self._held = self._held, ""
            if rest:
                self._stream.write(redact(rest))
            self._stream.flush()

    def writable(self) -> bool:
        """Return True."""
        return True

    @property
    def buffer(self) -> _Bytes:
        """A binary stream whose bytes are decoded and redacted as text."""
        return _Bytes(self)

    def isatty(self) -> bool:
        """The value of the stream below."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The value of the stream below."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # read-only, as io.TextIOWrapper has it
        """The value of the stream below."""
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """The value of the stream below."""
        return self._stream.errors


class _Bytes(io.RawIOBase):
    """A binary stream that writes to a text stream."""

    def __init__(self, stream: Redacted) -> None:
        super().__init__()
        self._stream = stream

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401  whatever holds bytes
        """Decode the bytes and write them as text."""
        self._stream.write(bytes(data).decode(errors="replace"))
        return len(data)

    def flush(self) -> None:
        """Write the rest and flush the stream below."""
        self._stream.flush()


def cover_streams() -> None:
    """Redact stdout and stderr of this process from now on, tracebacks of threads and warnings of libraries included."""
    if not isinstance(sys.stdout, Redacted):
        sys.stdout = Redacted(sys.stdout)
    if not isinstance(sys.stderr, Redacted):
        sys.stderr = Redacted(sys.stderr)


def _clean(value: Any) -> Any:  # noqa: ANN401
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {redact(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    return redact(str(value))


def _forms_of(secret: str) -> Iterator[Form]:
    """Yield every encoding of a secret that is searched for."""
    import html  # noqa: PLC0415  only a process with a secret pays for it

    if len(secret) < LEAST_CHARS:
        return
    plain, data = secret, secret.encode(errors="surrogateescape")
    once = quote(plain, safe="", errors="surrogateescape")
    written = [plain, once, quote(plain, errors="surrogateescape"), quote_plus(plain, errors="surrogateescape"), quote(once, safe="")]
    written += [json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1], repr(plain)[1:-1], html.escape(plain)]
    written += [json.dumps(json.dumps(plain)[1:-1])[1:-1], data.hex()]
    for text in dict.fromkeys(map(_lower, written)):
        if len(text) < ANYWHERE_CHARS:
            yield Form(text, len(text), word=True)
        else:
            yield Form(text, max(ANYWHERE_CHARS, len(text) // 2))
    for text in dict.fromkeys(map(_lower, _base64_cores(data))):
        if len(text) >= ANYWHERE_CHARS:
            yield Form(text, max(ANYWHERE_CHARS, len(text) // 2), base64=True)


def _base64_cores(data: bytes) -> Iterator[str]:
    """Yield the base64 characters that depend on the data alone, at each offset in a longer text, as after `user:`."""
    import base64  # noqa: PLC0415

    for offset in range(3):
        padded = bytes(offset) + data
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            core = encode(padded).decode()[offset and offset + 1 : len(padded) * 8 // 6]
            yield core
            yield quote(core, safe="")


def _lower(text: str) -> str:
    return text.lower() if text.isascii() else text.translate(_LOWER)


def _mask_whole(text: str) -> str:
    """Mask complete secrets, longer encodings first: one may be the beginning of another."""
    lower = _lower(text)
    for form in _forms:
        if form.text in lower:
            text = MASK.join(_between(text, [*_matches(form, lower, len(form.text))]))
            lower = _lower(text)
    return text


def _mask_cut(text: str) -> str:
    """Mask the beginnings of secrets, each as far as it continues: a text that was cut may end inside a secret."""
    lower = _lower(text)
    for form in _forms:
        if not form.word and form.text[: form.least] in lower:
            text = MASK.join(_between(text, [*_matches(form, lower, form.least)]))
            lower = _lower(text)
    return text


def _matches(form: Form, lower: str, least: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each occurrence of a form, of at least `least` characters."""
    end = 0
    while (start := lower.find(form.text[:least], end)) >= 0:
        end = start + least
        while end < len(lower) and end - start < len(form.text) and lower[end] == form.text[end - start]:
            end += 1
        if form.base64:
            start, end = _whole_run(lower, start, end)
        if not form.word or _stands_alone(lower, start, end):
            yield start, end


def _between(text: str, matches: Iterable[tuple[int, int]]) -> Iterator[str]:
    """Yield the parts of a text before, between and after the matches."""
    last = 0
    for start, end in matches:
        yield text[last:start]
        last = end
    yield text[last:]


def _whole_run(lower: str, start: int, end: int) -> tuple[int, int]:
    """Extend a match to all base64 characters around it."""
    while start and lower[start - 1] in _BASE64:
        start -= 1
    while end < len(lower) and lower[end] in _BASE64:
        end += 1
    return start, end


def _stands_alone(lower: str, start: int, end: int) -> bool:
    return not (start and lower[start - 1].isalnum()) and not (end < len(lower) and lower[end].isalnum())


def _mask_broken(text: str) -> str:
    """Mask secrets that are split by line breaks or spaces."""
    forms = _forms
    pressed = _lower(_SPACE.sub("", text)) if forms else ""
    for form in forms:
        bare = _SPACE.sub("", form.text)
        if len(bare) >= ANYWHERE_CHARS and bare in pressed:
            text = re.sub(_BREAK.join(map(re.escape, bare)), MASK, text, flags=re.IGNORECASE)
    return text


def _without_user(found: re.Match[str]) -> str:
    """Keep a database's user, which is useful and no secret; mask all before the host in other URLs."""
    scheme, user = found["scheme"] or "", found["user"]
    if scheme.lower().startswith("postgres"):
        name, colon, _ = user.partition(":")
        return f"{scheme}//{name}{colon and ':' + MASK}@"
    return f"{scheme}//{MASK}@"


def _decoded(text: str) -> str:
    """Decode URL, HTML and backslash escapes; return the same text where it has none."""
    for _ in range(DECODINGS):
        before = text
        if "\\" in text:
            text = _ESCAPE.sub(_unescaped, text)
        if "%" in text:
            text = unquote(text, errors="replace")
        if "&" in text:
            import html  # noqa: PLC0415

            text = html.unescape(text)
        if text == before:
            break
    return text


def _unescaped(found: re.Match[str]) -> str:
    if digits := found[1] or found[2]:
        return chr(int(digits, 16))
    return chr(int(found[3], 8)) if found[3] else _ESCAPED.get(found[4], found[4])


def _credentials(name: str, value: str) -> Iterable[str]:
    """The credentials in a variable; none in one that names the place of a credential."""
    if _HEADERS.fullmatch(name):
        return [part for pair in value.split(",") for part in _schemed(unquote_plus(pair.partition("=")[2].strip()))]
    if "://" in value:
        try:
            parts = urlsplit(value)
            return [unquote(parts.password)] if parts.password else []
        except ValueError:
            return []
    if _NAMED.search(name) and not _PLACES.search(name) and not value.startswith("/"):
        return [value.strip(), *([value.strip().partition(":")[2]] if "AUTH_STRING" in name.upper() else [])]
    return []


def _schemed(value: str) -> list[str]:
    """A header's value, and the part after its scheme, as in `Bearer TOKEN`."""
    return [value, value.rpartition(" ")[2]]
