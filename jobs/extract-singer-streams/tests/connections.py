"""Help to run the bridge: a lake, a contract, a tap that sends given messages, and a job that records."""

from __future__ import annotations

import io
import json
import logging
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arro3.io import read_parquet
from extract_singer_streams import runner
from extract_singer_streams.runner import Connection
from jobkit.lake import STATE, Lake

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: {dataset}
version: 1.0.0
status: active
description: {{purpose: Orders., usage: For tests.}}
slaProperties:
  - {{property: frequency, value: 1, unit: d}}
  - {{property: latency, value: 5, unit: d}}
schema:
  - name: {dataset}
    physicalType: table
    description: One row per order.
    customProperties:
      - {{property: leaf, value: "hash(id, 1)"}}
      - {{property: classification, value: internal}}
      - {{property: licence, value: ask}}
      - {{property: redistribution, value: internal-use-only}}
      - {{property: newFields, value: evolve}}
      - {{property: newFieldType, value: string}}
      - {{property: maxBadRows, value: 0.5}}
    properties:
      - {{name: id, physicalName: Order Id, logicalType: integer, physicalType: long,
        required: true, primaryKey: true, primaryKeyPosition: 1}}
      - {{name: price, logicalType: number, physicalType: "decimal(18,6)", required: true, logicalTypeOptions: {{minimum: 0}}}}
"""
TAP = Path(__file__).with_name("example_tap.py")


def schema(*more: str, stream: str = "orders", key: tuple[str, ...] = ("Order Id",)) -> str:
    columns: dict[str, Any] = {name: {"type": ["null", "number"]} for name in ("Order Id", "price", *more)}
    return json.dumps({"type": "SCHEMA", "stream": stream, "schema": {"properties": columns}, "key_properties": key})


def record(number: int | None, price: str = "1.5", *, stream: str = "orders", version: int | None = None, **more: Any) -> str:
    content = {**({} if number is None else {"Order Id": number}), **({"price": "PRICE"} if price else {}), **more}
    body = json.dumps(content).replace('"PRICE"', price)  # a float would change its digits
    tail = "" if version is None else f', "version": {version}'
    return f'{{"type": "RECORD", "stream": "{stream}", "record": {body}{tail}}}'


def delete(number: int, **more: Any) -> str:
    return record(number, "", _sdc_deleted_at="2026-11-20T00:00:00Z", **more)


def state(value: object) -> str:
    return json.dumps({"type": "STATE", "value": value})


def activate(version: int, stream: str = "orders") -> str:
    return json.dumps({"type": "ACTIVATE_VERSION", "stream": stream, "version": version})


@dataclass
class Job:
    """The part of a job that the runner uses. It keeps the recorded outcomes."""

    name: str = "extract-singer-streams"
    version: str = "0"
    max_body_bytes: int = 1 << 20
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("finelt"))
    outcomes: list[tuple[str, str]] = field(default_factory=list)

    def record_partition(self, dataset: str, _partition: str, outcome: str, **_: object) -> None:
        self.outcomes.append((dataset, outcome))

    def progress(self, *_: object) -> None: ...


@dataclass
class Place:
    """A folder with a lake, contracts and a tap."""

    folder: Path
    streams: tuple[str, ...] = ("orders=acme_orders",)
    config: dict[str, Any] = field(default_factory=dict)
    secrets: str | None = None
    columns: str = ""

    @property
    def lake(self) -> Lake:
        return Lake(str(self.folder / "lake"))

    def connection(self, *lines: str, tap: str = "") -> Connection:
        contracts, config, messages = self.folder / "contracts", self.folder / "config.json", self.folder / "messages"
        contracts.mkdir(exist_ok=True)
        for word in self.streams:
            dataset = word.rpartition("=")[2]
            (contracts / f"{dataset}.odcs.yaml").write_text(CONTRACT.format(dataset=dataset) + self.columns)
        messages.write_text("".join(f"{line}\n" for line in lines))
        config.write_text(json.dumps({"messages": str(messages), **self.config}))
        command = tap or shlex.join([sys.executable, "-I", str(TAP)])
        return Connection(str(self.folder / "lake"), "acme", command, self.streams, str(contracts), str(config), self.secrets, None)

    def run(self, *lines: str, full_refresh: bool = False, allow_shrinking: bool = False, tap: str = "") -> list[tuple[str, str]]:
        job = Job()
        connection = self.connection(*lines, tap=tap)
        runner.run(job, connection, full_refresh=full_refresh, allow_shrinking=allow_shrinking)  # type: ignore[arg-type]
        return job.outcomes

    def head(self, dataset: str = "acme_orders") -> Any:
        return self.lake.head(dataset, "connection=acme")

    def rows(self, dataset: str = "acme_orders") -> dict[int, str]:
        """The valid rows: price by id."""
        table = read_parquet(io.BytesIO(self.lake.read(self.head(dataset).data))).read_all()
        return {number: str(price) for number, price in zip(*(table.column(name).to_pylist() for name in ("id", "price")), strict=True)}

    def state(self, dataset: str = "acme_orders") -> Any:
        """The tap's state that the latest commit has."""
        return json.loads(json.loads(self.head(dataset).writer[STATE])["state"])
