"""Report to Dagster Pipes (protocol 0.1) without its library.

Two variables say where the context is and where messages go. Both are JSON, compressed with zlib, in base64. The context is a file
(`path`) or inside the variable (`data`); messages are lines of JSON in a file (`path`) or on a stream (`stdio`). Source: the dagster-pipes
library, which defines the protocol.
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

    from jobkit.receipt import Receipt

CONTEXT, MESSAGES = "DAGSTER_PIPES_CONTEXT", "DAGSTER_PIPES_MESSAGES"
VERSION = {"__dagster_pipes_version": "0.1"}
REPORTED_FIELDS = ("rows", "committed", "unchanged", "quarantined", "elapsed_s", "peak_rss_bytes")


class Dagster:
    """The launcher of a Pipes process. Extras are option values; a partition that is a day, or a range of days, is --start and --end."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._context, self._channel, self._fault = dict[str, Any](), dict[str, Any](), None
        try:
            self._channel = _decode(environ[MESSAGES]) if MESSAGES in environ else {}
            source = _decode(environ[CONTEXT])
            self._context = json.loads(Path(source["path"]).read_text(encoding="utf-8")) if "path" in source else source["data"]
        except (OSError, ValueError, KeyError, zlib.error) as error:
            self._fault = f"{type(error).__name__}: {error}"

    def claim(self) -> bool:
        """Tell Dagster that the process is there; return True."""
        self._send("opened", {"extras": {}})
        return True

    def options(self) -> dict[str, object]:
        """Return the option values in the context. Raises MisconfiguredError when it cannot be read."""
        if self._fault:
            raise errors.MisconfiguredError(f"the context of Dagster Pipes cannot be read ({self._fault}); see {CONTEXT}")
        return {**_read_dates(self._context), **(self._context.get("extras") or {})}

    def log(self, record: logging.LogRecord) -> None:
        """Forward a record to Dagster's log of the run."""
        self._send("log", {"message": record.getMessage(), "level": record.levelname})

    def report_progress(self, done: int, total: int, text: str) -> None:
        """Do nothing: Pipes has no message for progress."""

    def report_end(self, receipt: Receipt, exit_code: int, summary: str) -> None:
        """Send the receipt, a materialization of each asset in scope when the job succeeded, and the closing message."""
        self._send("report_custom_message", {"payload": receipt})
        if exit_code == 0:
            for key in self._context.get("asset_keys") or []:
                self._send("report_asset_materialization", _build_materialization(key, receipt, summary))
        failure: dict[str, Any] = {"message": summary, "stack": [], "name": f"exit {exit_code}", "cause": None, "context": None}
        self._send("closed", {"exception": failure} if exit_code else {})

    def _send(self, method: str, params: dict[str, Any]) -> None:
        line = redaction.to_json({**VERSION, "method": method, "params": params}) + "\n"
        with contextlib.suppress(OSError):
            if "path" in self._channel:
                with Path(self._channel["path"]).open("a", encoding="utf-8") as file:
                    file.write(line)
            elif stream := self._channel.get("stdio") or self._channel.get("buffered_stdio"):
                to = sys.stdout if stream == "stdout" else sys.stderr
                to.write(line)
                to.flush()


def _decode(text: str) -> dict[str, Any]:
    decoded = json.loads(zlib.decompress(base64.b64decode(text)))
    if not isinstance(decoded, dict):
        raise ValueError("not an object")  # noqa: TRY004  the caller catches one kind of error
    return decoded


def _read_dates(context: dict[str, Any]) -> dict[str, object]:
    """Return --start and --end from the context's partition or range of partitions; empty if those are not days."""
    keys = context.get("partition_key_range") or {"start": context.get("partition_key"), "end": context.get("partition_key")}
    try:
        return {name: date.fromisoformat(keys[name]).isoformat() for name in ("start", "end")}
    except (TypeError, ValueError):
        return {}


def _build_materialization(key: str, receipt: Receipt, summary: str) -> dict[str, Any]:
    """Build the materialization of an asset: with the figures of the dataset of its name, else with all. Its version is a digest."""
    partitions = [entry for entry in receipt["partitions"] if entry["dataset"] == key.rpartition("/")[2]] or receipt["partitions"]
    versions = sorted([entry["dataset"], entry["partition"], entry["sha256"]] for entry in partitions if entry.get("sha256"))
    figures: Mapping[str, Any] = receipt
    shown = {"receipt": summary, **{name: figures[name] for name in REPORTED_FIELDS}, "rows": sum(entry["rows"] for entry in partitions)}
    return {
        "asset_key": key,
        "data_version": hashlib.sha256(json.dumps(versions).encode()).hexdigest() if versions else None,
        "metadata": {name: {"raw_value": value, "type": "__infer__"} for name, value in shown.items()},
    }
