"""Streams that redact what is written to them, for stdout and stderr."""

from __future__ import annotations

import io
import sys
import threading
from typing import TYPE_CHECKING, Any

from jobkit.redaction.masking import redact

if TYPE_CHECKING:
    from typing import TextIO


def redact_streams() -> None:
    """Redact stdout and stderr of this process from now on, tracebacks of threads and warnings of libraries included."""
    if not isinstance(sys.stdout, RedactedStream):
        sys.stdout = RedactedStream(sys.stdout)
    if not isinstance(sys.stderr, RedactedStream):
        sys.stderr = RedactedStream(sys.stderr)


class RedactedStream(io.TextIOBase):
    """A text stream that writes complete lines, redacted, to another stream. An incomplete line is written on flush."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream, self._incomplete, self._lock = stream, "", threading.RLock()

    def write(self, text: str) -> int:
        """Write the complete lines; keep the rest for the next call."""
        if not isinstance(text, str):
            raise TypeError(f"a text stream takes str, not {type(text).__name__}")
        with self._lock:
            whole, end, rest = (self._incomplete + text).rpartition("\n")
            self._incomplete = rest
            if end:
                self._stream.write(redact(whole) + end)
        return len(text)

    def flush(self) -> None:
        """Write an incomplete line and flush the other stream."""
        with self._lock:
            rest, self._incomplete = self._incomplete, ""
            if rest:
                self._stream.write(redact(rest))
            self._stream.flush()

    def writable(self) -> bool:
        """Return True."""
        return True

    @property
    def buffer(self) -> _ByteStream:
        """A binary stream whose bytes are decoded (UTF-8) and redacted as text."""
        return _ByteStream(self)

    def isatty(self) -> bool:
        """Whether the other stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the file descriptor of the other stream."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # read-only, as io.TextIOWrapper has it
        """The encoding of the other stream."""
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """How the other stream handles characters that it cannot encode."""
        return self._stream.errors


class _ByteStream(io.RawIOBase):
    """A binary stream that writes to a text stream."""

    def __init__(self, stream: RedactedStream) -> None:
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
        """Write an incomplete line and flush the other stream."""
        self._stream.flush()
