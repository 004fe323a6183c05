"""Speaks Dagster Pipes (protocol 0.1) from a process that holds no Dagster: context and messages as the environment says.

Both variables are JSON, compressed with zlib, in base64. The context is a file (`path`) or inside (`data`); messages are lines of JSON in
a file (`path`) or on a stream (`stdio`). Source: the dagster-pipes library, which is the protocol's definition.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import sys
import zlib
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobkit import errors, redaction

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

CONTEXT, MESSAGES = "DAGSTER_PIPES_CONTEXT", "DAGSTER_PIPES_MESSAGES"
VERSION = {"__dagster_pipes_version": "0.1"}
SHOWN = ("rows", "committed", "unchanged", "quarantined", "elapsed_s", "peak_rss_bytes")


class Dagster:
    """The launcher of a Pipes process. Extras are option values; a partition that is a day, or a range of days, is --start and --end."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._context, self._channel, self._fault = dict[str, Any](), dict[str, Any](), None
        try:
            self._channel = _decoded(environ[MESSAGES]) if MESSAGES in environ else {}
            told = _decoded(environ[CONTEXT])
            self._context = json.loads(Path(told["path"]).read_text(encoding="utf-8")) if "path" in told else told["data"]
        except (OSError, ValueError, KeyError, zlib.error) as error:
            self._fault = f"{type(error).__name__}: {error}"

    def started(self) -> bool:
        """Always; Dagster now knows that we are there."""
        self._say("opened", {"extras": {}})
        return True

    def parameters(self) -> dict[str, object]:
        """Option values from the context. Raises MisconfiguredError when it cannot be read."""
        if self._fault:
            raise errors.MisconfiguredError(f"the context of Dagster Pipes cannot be read ({self._fault}); see {CONTEXT}")
        return {**_days(self._context), **(self._context.get("extras") or {})}

    def log(self, record: logging.LogRecord) -> None:
        """A line in Dagster's log of the run."""
        self._say("log", {"message": record.getMessage(), "level": record.levelname})

    def progress(self, done: int, total: int, text: str) -> None:
        """Nothing: Pipes has no word for it."""

    def cancelled(self) -> bool:
        """Never: a stop comes as SIGTERM."""
        return False

    def finished(self, receipt: dict[str, Any], exit_code: int, sentence: str) -> None:
        """The receipt as a message, a materialization of each asset in scope when all went well, and the end."""
        self._say("report_custom_message", {"payload": receipt})
        if exit_code == 0:
            for key in self._context.get("asset_keys") or []:
                self._say("report_asset_materialization", _materialization(key, receipt, sentence))
        failure: dict[str, Any] = {"message": sentence, "stack": [], "name": f"exit {exit_code}", "cause": None, "context": None}
        self._say("closed", {"exception": failure} if exit_code else {})

    def _say(self, method: str, params: dict[str, Any]) -> None:
        line = redaction.to_json({**VERSION, "method": method, "params": params}) + "\n"
        with contextlib.suppress(OSError):
            if "path" in self._channel:
                with Path(self._channel["path"]).open("a", encoding="utf-8") as file:
                    file.write(line)
            elif stream := self._channel.get("stdio") or self._channel.get("buffered_stdio"):
                to = sys.stdout if stream == "stdout" else sys.stderr
                to.write(line)
                to.flush()


def _decoded(text: str) -> dict[str, Any]:
    decoded = json.loads(zlib.decompress(base64.b64decode(text)))
    if not isinstance(decoded, dict):
        raise ValueError("not an object")  # noqa: TRY004  one kind of error for whoever reads it
    return decoded


def _days(context: dict[str, Any]) -> dict[str, object]:
    """The days that the context's partitions stand for; nothing where they are no days."""
    keys = context.get("partition_key_range") or {"start": context.get("partition_key"), "end": context.get("partition_key")}
    try:
        return {name: date.fromisoformat(keys[name]).isoformat() for name in ("start", "end")}
    except (TypeError, ValueError):
        return {}


def _materialization(key: str, receipt: dict[str, Any], sentence: str) -> dict[str, Any]:
    """An asset called as one of the receipt's datasets is told of that alone; others of everything. The version is that of the bytes."""
    partitions = [entry for entry in receipt["partitions"] if entry["dataset"] == key.rpartition("/")[2]] or receipt["partitions"]
    versions = sorted([entry["dataset"], entry["partition"], entry["sha256"]] for entry in partitions if entry.get("sha256"))
    shown = {"receipt": sentence, **{name: receipt[name] for name in SHOWN}, "rows": sum(entry["rows"] for entry in partitions)}
    return {
        "asset_key": key,
        "data_version": hashlib.sha256(json.dumps(versions).encode()).hexdigest() if versions else None,
        "metadata": {name: {"raw_value": value, "type": "__infer__"} for name, value in shown.items()},
    }
