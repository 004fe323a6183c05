"""Logs on stderr: JSON lines for machines, short lines and a progress bar for a terminal.

A JSON line has `at` (UTC, ISO 8601 with milliseconds), `level`, `event`, the fields of the event, and `traceback` for an exception.
Every line is redacted.
"""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobkit import redaction

if TYPE_CHECKING:
    from collections.abc import Callable

LOGGER = "finelt"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_BAR_WIDTH = 24
_LOG_EVERY_S = 5.0


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields that an event was logged with (`extra`)."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class JsonLines(logging.Formatter):
    """One JSON object per line: at, level, event, and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record as one line, redacted."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"at": at, "level": record.levelname.lower(), "event": record.getMessage(), **fields(record)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return redaction.to_json(line)


class Lines(logging.Formatter):
    """The event and its fields, for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record as one line, redacted, which overwrites a progress bar."""
        values = " ".join(f"{key}={value}" for key, value in fields(record).items())
        line = f"{record.getMessage()}  {values}".rstrip()
        text = f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
        return f"\r\x1b[K{redaction.redact(text)}"


class Forward(logging.Handler):
    """Forwards each record to the launcher."""

    def __init__(self, take: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        """Forward the record."""
        self._take(record)


def set_up(take: Callable[[logging.LogRecord], None]) -> logging.Logger:
    """Return the job's logger, which writes to stderr and calls `take` with each record for the launcher."""
    logger = logging.getLogger(LOGGER)
    logger.handlers.clear()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(Lines() if sys.stderr.isatty() else JsonLines())
    logger.addHandler(stream)
    logger.addHandler(Forward(take))
    return logger


class Progress:
    """Shows the progress of a job: a bar on a terminal, a log line every few seconds elsewhere."""

    def __init__(self, log: logging.Logger) -> None:
        self._log, self._last_s = log, time.monotonic()

    def show(self, done: int, total: int, text: str) -> None:
        """Draw the bar, or log a line if the last one is a few seconds old."""
        if sys.stderr.isatty():
            filled = _BAR_WIDTH * done // max(total, 1)
            bar = "#" * filled + "." * (_BAR_WIDTH - filled)
            sys.stderr.write(f"\r\x1b[K[{bar}] {done}/{total} {text[:60]}" + ("\n" if done >= total else ""))
            sys.stderr.flush()
        elif time.monotonic() - self._last_s >= _LOG_EVERY_S:
            self._last_s = time.monotonic()
            self._log.info("progress", extra={"done": done, "total": total, "step": text})
