"""Help to drop files: their content, a job that records, and a place with a lake and a drop."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from extract_dropped_files import delivery, runner, validation
from extract_dropped_files.source import Drop
from jobkit.commit_log import FOLDER
from jobkit.contracts import load_packaged
from jobkit.errors import BadDataError
from jobkit.lake import Lake

if TYPE_CHECKING:
    from collections.abc import Sequence

DATASET = "custodian_positions"
HEADER = "position_date,custodian,account,isin,quantity,price,market_value,currency\n"
KEY = f"{DATASET}/bank-2026-11-20.csv"
RULES = load_packaged(validation.PACKAGE, DATASET)
PARTITION = delivery.format_partition(RULES, ["Bank", "2026-11-20"])


def rows(count: int, quantity: str = "10") -> str:
    return "".join(f"2026-11-20,Bank,A{number},US0378331005,{quantity},1.5,15,USD\n" for number in range(count))


@dataclass
class Job:
    """The part of a job that the runner uses. It keeps the recorded outcomes."""

    name: str = "extract-dropped-files"
    version: str = "0"
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("test"))
    outcomes: list[tuple[str, str]] = field(default_factory=list)

    def record_partition(self, _dataset: str, partition: str, outcome: str, **_: object) -> None:
        self.outcomes.append((partition, outcome))

    def progress(self, *_: object) -> None: ...


@dataclass
class Place:
    """A lake and a drop."""

    url: str

    @property
    def drop(self) -> Drop:
        return Drop(f"{self.url}/drop")

    @property
    def lake(self) -> Lake:
        return Lake(f"{self.url}/lake")

    def put(self, key: str, text: str | bytes) -> None:
        self.drop.store.put(key, text.encode() if isinstance(text, str) else text)

    def run(self, key: str | None = None, *, allow_shrinking: bool = False) -> list[tuple[str, str]]:
        job = Job()
        runner.run(job, f"{self.url}/lake", f"{self.url}/drop", key, allow_shrinking=allow_shrinking)  # type: ignore[arg-type]
        return job.outcomes

    def refused(self, key: str | None = None) -> str:
        with pytest.raises(BadDataError) as error:
            self.run(key)
        return str(error.value)

    def list_keys(self) -> Sequence[str]:
        return list(self.drop.store.list_keys(""))

    def head(self, partition: str = PARTITION) -> Any:
        return self.lake.head(DATASET, partition)

    def contents(self) -> dict[str, bytes]:
        """Return all objects by key, commits without their time; not the log, in which a killed run leaves an entry."""
        found = {key: self.drop.store.get(key) for key in self.list_keys()}
        store = self.lake.store
        for key in (key for key in store.list_keys("") if f"/{FOLDER}/" not in key):
            content = store.get(key)
            if key.endswith(".json"):
                content = json.dumps({**json.loads(content), "known_at": None, "digest": None}).encode()
            found[f"lake/{key}"] = content
        return found
