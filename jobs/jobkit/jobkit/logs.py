"""Logs on stderr: JSON lines for machines, short lines and a progress bar for a terminal."""

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
_QUIET_S = 5.0


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """The fields given with an event through `extra`."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class JsonLines(logging.Formatter):
    """One JSON object a line: at, level, event, and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"at": at, "level": record.levelname.lower(), "event": record.getMessage(), **fields(record)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return redaction.to_json(line)


class Lines(logging.Formatter):
    """The event and its fields, as a person reads them."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, wiping a progress bar that may stand there."""
        told = " ".join(f"{key}={value}" for key, value in fields(record).items())
        line = f"{record.getMessage()}  {told}".rstrip()
        said = f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
        return f"\r\x1b[K{redaction.redact(said)}"


class Forward(logging.Handler):
    """Hands each record to whoever launched the job."""

    def __init__(self, take: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        """Nothing; passes the record on."""
        self._take(record)


def set_up(take: Callable[[logging.LogRecord], None]) -> logging.Logger:
    """The job's logger: to stderr, and to the launcher."""
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
    """Shows how far a job is: a bar on a terminal, a log line every few seconds elsewhere."""

    def __init__(self, log: logging.Logger) -> None:
        self._log, self._last_s = log, time.monotonic()

    def show(self, done: int, total: int, text: str) -> None:
        """Nothing; draws or logs."""
        if sys.stderr.isatty():
            filled = _BAR_WIDTH * done // max(total, 1)
            bar = "#" * filled + "." * (_BAR_WIDTH - filled)
            sys.stderr.write(f"\r\x1b[K[{bar}] {done}/{total} {text[:60]}" + ("\n" if done >= total else ""))
            sys.stderr.flush()
        elif time.monotonic() - self._last_s >= _QUIET_S:
            self._last_s = time.monotonic()
            self._log.info("progress", extra={"done": done, "total": total, "step": text})
