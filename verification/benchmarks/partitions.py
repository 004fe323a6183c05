"""Measure the same rows in few and in many partitions: what merging small files would gain for the loader and for Iceberg readers."""

from __future__ import annotations

import sys
from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple

from verification.benchmarks import measurement
from verification.benchmarks.reload import environment
from verification.benchmarks.samples import DATASET, Days, open_committer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from verification.benchmarks.measurement import Measurement

FIRST = date(1998, 1, 1)
PAGE = 1000  # keys in a response of S3
READ = """
import sys
from pathlib import Path
import duckdb, duckdb_extension_avro, duckdb_extension_iceberg
from pyiceberg.catalog import load_catalog
duck = duckdb.connect(config={"allow_unsigned_extensions": "true", "threads": 1})
for package in (duckdb_extension_avro, duckdb_extension_iceberg):
    (extension,) = Path(str(package.__file__)).parent.rglob("*.duckdb_extension")
    duck.execute(f"load '{extension}'")
table = load_catalog("finelt", type="sql", uri=f"sqlite:///{sys.argv[1]}/iceberg/catalog.db").load_table(sys.argv[2])
assert duck.execute(f"select count(*) from iceberg_scan('{table.metadata_location}') where symbol >= ''").fetchone() == (int(sys.argv[3]),)
"""


class PartitionsResult(NamedTuple):
    """One number of partitions: the first load, a load that finds nothing new, the registration, and a query of all rows in DuckDB."""

    rows: int
    partitions: int
    keys: int
    metadata_mb: float
    first: Measurement
    again: Measurement
    registration: Measurement
    query: Measurement


def measure(rows: int, sizes: tuple[int, ...]) -> list[PartitionsResult]:
    """Measure so many rows in each number of partitions, one a day."""
    return [_measure(rows, size) for size in sizes]


def _measure(rows: int, partitions: int) -> PartitionsResult:
    with environment() as one:
        symbols = rows // partitions
        with open_committer(one.server, str(one.lake)) as commit:
            for number in range(partitions):
                day = (FIRST + timedelta(days=number)).isoformat()
                commit(f"date={day}", Days(day, 1, symbols))
        first, again = one.load(), one.load()
        registration = measurement.run_process([sys.executable, "-m", "register_iceberg_tables", "run", "--lake", str(one.lake)])
        words = [str(one.lake), f"raw.{DATASET}", str(symbols * partitions)]
        query = measurement.run_process([sys.executable, "-c", READ, *words])
        keys = sum(path.is_file() for path in (one.lake / "raw" / DATASET).rglob("*") if "_log" not in path.parts)
        return PartitionsResult(symbols * partitions, partitions, keys, _metadata_mb(one.lake), first, again, registration, query)


def _metadata_mb(lake: Path) -> float:
    return sum(path.stat().st_size for path in (lake / "iceberg").rglob("*") if path.is_file()) / 1e6


def page(found: list[PartitionsResult]) -> Iterator[str]:
    """Yield a table: CPU seconds, those of the server included, so that other programs of the machine matter less."""
    yield "One run each, in CPU seconds. A partition is a day with one file; a leaf is a month. The query is DuckDB's, of one column."
    yield ""
    yield "| partitions | rows | pages of a full listing | load | a load of nothing new | registration | Iceberg metadata, MB | query |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for one in found:
        seconds = [one.first.cpu_s + one.first.server_cpu_s, one.again.cpu_s + one.again.server_cpu_s, one.registration.cpu_s]
        load, again, registration = (f"{value:.2f}" for value in seconds)
        cells = [f"{one.partitions:,}", f"{one.rows:,}", f"{-(-one.keys // PAGE):,}", load, again, registration]
        yield f"| {' | '.join([*cells, f'{one.metadata_mb:.1f}', f'{one.query.cpu_s:.2f}'])} |"
