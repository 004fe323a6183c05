"""Small lakes for tests of load-warehouse, and helpers that run the job on them."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from arro3.compute import cast
from arro3.core import Array, DataType, Table
from arro3.io import write_parquet
from jobkit import commits
from jobkit.lake import CommitDraft, Lake
from load_warehouse import runner
from load_warehouse.policy import LoadPolicy

from tests.forks import ForkedJob

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jobkit.lake import Commit
    from jobkit.receipt import Receipt

    from tests.fixtures_postgres import Warehouse

Row = dict[str, str | None]
PRICES = {
    "ticker": DataType.utf8(),
    "date": DataType.date32(),
    "close": DataType.decimal128(18, 6),
    "volume": DataType.int64(),
    "adjClose": DataType.float64(),
}
KEY, LEAF = ("ticker", "date"), "year(date)"
DATASET, PARTITION = "prices", "ticker=AAPL/year=2012"
DEFAULT_POLICY = LoadPolicy()
ALWAYS_SWAP = LoadPolicy(swap_rows=1)
NEVER_SWAP = LoadPolicy(swap_rows=10**9)


def parquet(rows: Sequence[Row], columns: dict[str, DataType] = PRICES) -> bytes:
    """Convert rows of text to a Parquet file of these types, with row numbers as an extractor writes them."""
    arrays = {name: cast(Array([row.get(name) for row in rows], type=DataType.utf8()), kind) for name, kind in columns.items()}
    numbers = Array([index + 1 for index in range(len(rows))], type=DataType.int32())
    file = io.BytesIO()
    write_parquet(Table.from_pydict({"_row_number": numbers, **arrays}), file, compression="zstd(3)")
    return file.getvalue()


def commit(
    lake: Path | str,
    rows: Sequence[Row],
    *,
    dataset: str = DATASET,
    partition: str = PARTITION,
    columns: dict[str, DataType] = PRICES,
    key: tuple[str, ...] = KEY,
    leaf: str = LEAF,
) -> Commit:
    """Commit rows as the next version of a partition."""
    writer = {"job": "test", "version": "0"}
    draft = CommitDraft(parquet(rows, columns), len(rows), None, 0, source=lambda: (), key=key, leaf=leaf, writer=writer)
    return Lake(str(lake)).commit(dataset, partition, draft)[0]


def rewrite_known_at(lake: Path | str, made: Commit, moment: str) -> Commit:
    """Rewrite a commit as if the writer's clock had shown this moment."""
    where, other = Lake(str(lake)), msgspec.structs.replace(made, known_at=moment)
    where.store.put(where.commit_key(made.dataset, made.partition, made.number), commits.encode(other))
    return other


def price(day: str, close: str = "1.500000", ticker: str = "AAPL", **more: str | None) -> Row:
    """Make a row of prices."""
    return {"ticker": ticker, "date": day, "close": close, "volume": "1000", "adjClose": "1.25", **more}


def days(count: int, start: date = date(2012, 1, 1), ticker: str = "AAPL") -> list[Row]:
    """Make rows of consecutive days; after each year the days start again with another ticker."""
    return [
        price((start + timedelta(days=index % 365)).isoformat(), f"{index}.5", f"{ticker}{index // 365}" if index >= 365 else ticker)
        for index in range(count)
    ]


@dataclass
class Recorder:
    """A job that keeps its outcomes and details."""

    outcomes: list[tuple[str, str, str]] = field(default_factory=list)
    details: list[dict[str, Any]] = field(default_factory=list)
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("finelt"))

    def record_partition(self, dataset: str, partition: str, outcome: str, **details: Any) -> None:
        """Keep an outcome."""
        self.outcomes.append((dataset, partition, outcome))
        self.details.append(details)

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Ignore progress."""


def load(
    lake: Path | str, warehouse: Warehouse, *, workers: int = 2, partitions: Sequence[str] = (), policy: LoadPolicy = DEFAULT_POLICY
) -> Recorder:
    """Run the job in this process on all of the lake, or on these partitions; return what it recorded."""
    job = Recorder()
    runner.run(job, str(lake), (), partitions, warehouse.url, warehouse.password, workers, policy)  # type: ignore[arg-type]
    return job


def arguments(lake: Path, warehouse: Warehouse, *more: str) -> list[str]:
    """Return the command line of the job, without its verb."""
    return ["--lake", str(lake), "--warehouse", warehouse.url, "--warehouse-password", warehouse.password_reference, *more]


def start(verb: str, *words: str) -> ForkedJob:
    """Run the job as a process, without options from the environment."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FINELT_")}
    return ForkedJob([sys.executable, "-m", "load_warehouse", verb, *words], environ)


def finish(process: ForkedJob) -> Receipt:
    """Wait for a started job and return its receipt, which contains the exit code."""
    with process:
        stdout, stderr = process.communicate(timeout=600)
    receipt: Receipt = json.loads(stdout)
    assert receipt["exit_code"] == process.returncode, stderr
    assert "Traceback" not in stderr, stderr
    return receipt


VERSIONS = """
select ticker, date::text, close::text, volume, "adjClose"::text, _row_number, known_from, known_to::text
from raw.prices order by 1, 2, 7
"""


def versions(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    """Return every version of every price with its times: everything that a rebuild must reproduce."""
    return warehouse.rows(VERSIONS)


def current(warehouse: Warehouse) -> dict[str, str]:
    """Return the current closes by day."""
    return dict(warehouse.rows("select date::text, close::text from raw.prices where known_to = 'infinity' order by 1"))  # type: ignore[arg-type]
