"""Measure loads of 4 and 16 times the rows and the partitions: time per row, and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from verification.benchmarks import measurement
from verification.benchmarks.reload import environment
from verification.benchmarks.samples import DATASET, Days, open_committer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from verification.benchmarks.measurement import Measurement
    from verification.benchmarks.reload import Environment

TIMES = (1, 4, 16)
MONTHS = 12


class GrowthResult(NamedTuple):
    """One size: its first load, and a rerun that finds nothing new."""

    rows: int
    partitions: int
    first: Measurement
    again: Measurement


def measure(rows: int, factors: tuple[int, ...] = TIMES) -> dict[str, list[GrowthResult]]:
    """Measure each size. `rows` is the smallest, which the others have `factors` times."""
    symbols = rows // MONTHS // 20
    taller = [(symbols * times, 1) for times in factors]
    more = [(symbols, times) for times in factors]
    return {"rows, in 12 partitions": [_grown(*size) for size in taller], "partitions of the same size": [_grown(*size) for size in more]}


def _grown(symbols: int, years: int) -> GrowthResult:
    with environment() as one:
        partitions = list(_months(years))
        with open_committer(one.server, str(one.lake)) as commit:
            for partition in partitions:
                commit(f"month={partition}", Days(f"{partition}-01", 20, symbols))
        rows = symbols * 20 * len(partitions)
        return GrowthResult(rows, len(partitions), _loaded(one, rows), _loaded(one, rows))


def _loaded(one: Environment, rows: int) -> Measurement:
    found = one.load()
    one.must(f"select count(*) from raw.{DATASET}", (rows,))
    return found


def _months(years: int) -> Iterator[str]:
    for year in range(2000, 2000 + years):
        yield from (f"{year}-{month:02}" for month in range(1, MONTHS + 1))


def page(found: dict[str, list[GrowthResult]]) -> Iterator[str]:
    """Yield a table and a chart."""
    yield "One run each. The rerun finds nothing new."
    yield ""
    yield "| growth of | rows | partitions | seconds | µs per row | relative to the smallest | MiB | rerun, s | rerun, ms per partition |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, sizes in found.items():
        smallest = sizes[0].first.wall_s / sizes[0].rows
        for size in sizes:
            a_row = size.first.wall_s / size.rows
            cells = [f"{size.rows:,}", f"{size.partitions:,}", f"{size.first.wall_s:.2f}", f"{a_row * 1e6:.2f}", f"{a_row / smallest:.2f}"]
            cells += [f"{size.first.peak_mib:.0f}", f"{size.again.wall_s:.2f}", f"{size.again.wall_s / size.partitions * 1000:.1f}"]
            yield f"| {name} | {' | '.join(cells)} |"
    rates = {f"{size.rows:,} rows in {size.partitions}": size.rows / size.first.wall_s / 1000 for sizes in found.values() for size in sizes}
    yield from measurement.format_chart("Rows loaded", "thousands per second", rates)
