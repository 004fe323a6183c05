"""Records of a Singer tap in the warehouse: an update and a delete close rows, and every moment can be asked for what was known."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from extract_singer_streams import runner

from jobs.catalogue import REPOSITORY
from tests.warehouse.samples import load

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixtures_postgres import Warehouse

CONTRACTS = REPOSITORY / "jobs" / "extract-sec-filers" / "extract_sec_filers"
KEY = ["cik_str", "ticker"]
SCHEMA = {"type": "SCHEMA", "stream": "filers", "schema": {"properties": {"cik_str": {}, "ticker": {}, "title": {}}}, "key_properties": KEY}
VERSIONS = "select ticker, title, known_to = 'infinity' from raw.sec_filers order by ticker, known_from"
AS_OF = "select ticker, title from raw.sec_filers where known_from <= '{0}' and known_to > '{0}' order by ticker"


@dataclass
class Job:
    name: str = "extract-singer-streams"
    version: str = "0"
    max_body_bytes: int = 1 << 20
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("test"))

    def record_partition(self, *_: object, **__: object) -> None: ...

    def progress(self, *_: object) -> None: ...


def record(ticker: str, **more: str) -> dict[str, Any]:
    return {"type": "RECORD", "stream": "filers", "record": {"cik_str": 1, "ticker": ticker, **more}}


def extract(folder: Path, *messages: dict[str, Any]) -> None:
    sent = folder / "messages"
    sent.write_text("".join(f"{json.dumps(message)}\n" for message in (SCHEMA, *messages)))
    streams = ("filers=sec_filers",)
    connection = runner.Connection(
        str(folder / "lake"), "acme", f"sh -c 'cat {sent}'", streams, str(CONTRACTS), tap_config=None, tap_secrets=None, tap_catalog=None
    )
    runner.run(Job(), connection, full_refresh=False, allow_shrinking=False)  # type: ignore[arg-type]


def test_an_update_and_a_delete_are_history(tmp_path: Path, warehouse: Warehouse) -> None:
    extract(tmp_path, record("A", title="Alpha"), record("B", title="Beta"), record("C", title="Gamma"))
    load(tmp_path / "lake", warehouse)
    (before,) = warehouse.rows("select clock_timestamp()")[0]
    extract(tmp_path, record("A", title="Alpha Ltd"), record("B", _sdc_deleted_at="2026-11-20T00:00:00Z"))
    load(tmp_path / "lake", warehouse)
    assert warehouse.rows(VERSIONS) == [("A", "Alpha", False), ("A", "Alpha Ltd", True), ("B", "Beta", False), ("C", "Gamma", True)]
    assert warehouse.rows(AS_OF.format(before)) == [("A", "Alpha"), ("B", "Beta"), ("C", "Gamma")]
