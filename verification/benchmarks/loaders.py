"""Measure 1, 2 and 4 loaders at a time, each with its share of the same new partitions: CPU, WAL, and what the server waits for."""

from __future__ import annotations

import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from verification.benchmarks import measurement
from verification.benchmarks.measurement import Measurement
from verification.benchmarks.reload import environment
from verification.benchmarks.samples import DATASET, Days, open_committer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event

    from orchestration.local.postgres import Postgres
    from verification.benchmarks.reload import Environment

PARTITIONS, DAYS = 8, 20
COUNTS = (1, 2, 4)
ACTIVITY = """
select case when wait_event like 'WAL%' then 'WAL' else coalesce(wait_event_type, 'none') end
from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() and state = 'active'
"""
WAITS = {"none": "working", "Client": "the loader", "Lock": "locks", "WAL": "WAL", "IO": "files"}  # as Postgres and as the page name them


class LoadersResult(NamedTuple):
    """The runs of each number of loaders, and how often their statements were seen working or waiting, over all runs."""

    rows: int
    runs: dict[int, list[Measurement]]
    seen: dict[int, Counter[str]]


def measure(rows: int, times: int) -> LoadersResult:
    """Load with each number of loaders in turn. Raises RuntimeError if the table has other rows than expected."""
    symbols = rows // PARTITIONS // DAYS
    total = symbols * DAYS * PARTITIONS
    seen: dict[int, Counter[str]] = {count: Counter() for count in COUNTS}
    with environment() as one:
        partitions = [f"month=2020-{number:02}" for number in range(1, PARTITIONS + 1)]
        with open_committer(one.server, str(one.lake)) as commit:
            for partition in partitions:
                commit(partition, Days(f"{partition.removeprefix('month=')}-01", DAYS, symbols))
        found = measurement.run_in_turns(
            {str(count): partial(_load, one, partitions, count, seen[count]) for count in COUNTS},
            times,
            lambda _: one.must(f"select count(*), count(distinct _load_id) from raw.{DATASET}", (total, PARTITIONS)),
        )
    return LoadersResult(total, {int(count): runs for count, runs in found.items()}, seen)


def _load(one: Environment, partitions: list[str], count: int, seen: Counter[str]) -> Measurement:
    """Run so many loaders at a time into an empty warehouse, each with one connection for rows."""
    one.empty()
    where = ["--lake", str(one.lake), "--warehouse", one.server.url, "--warehouse-password", one.server.password_reference]
    shares = [[word for partition in partitions[number::count] for word in ("--partition", partition)] for number in range(count)]
    commands = [[sys.executable, "-m", "load_warehouse", "run", *where, "--workers", "1", *share] for share in shares]
    before = one.admin.execute(b"select pg_current_wal_lsn()::text").fetchone()
    cpu_s, started_s = measurement.server_cpu_s(one.server), time.perf_counter()
    with (
        measurement.run_in_background(lambda stopping: _watch(one.server, seen, stopping)),
        ThreadPoolExecutor(count) as pool,
    ):
        runs = list(pool.map(measurement.run_process, commands))
        wall_s = time.perf_counter() - started_s
    wrote = one.admin.execute(b"select pg_wal_lsn_diff(pg_current_wal_lsn(), %s) / 1e6", before).fetchone()
    return Measurement(
        wall_s,
        sum(run.cpu_s for run in runs),
        measurement.server_cpu_s(one.server) - cpu_s,
        sum(run.peak_mib for run in runs),
        float(wrote[0]) if wrote else 0.0,
    )


def _watch(server: Postgres, seen: Counter[str], stopping: Event) -> None:
    with psycopg.connect(server.url, password=server.password, autocommit=True) as watcher:
        while not stopping.wait(measurement.SAMPLE_INTERVAL_S):
            seen.update(row[0] for row in watcher.execute(ACTIVITY.encode()).fetchall())


def page(found: LoadersResult) -> Iterator[str]:
    """Yield a table of medians, and one of what the server's statements did."""
    one = measurement.median(found.runs[1])
    yield f"{found.rows:,} rows in {PARTITIONS} new partitions of one dataset, each with a leaf of its own; loaders of one worker"
    yield "each, started together. Medians."
    yield ""
    yield "| loaders | seconds | relative to 1 | CPU s of all loaders | server CPU s | relative to 1 | WAL MB | MiB of all loaders |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for count, runs in found.runs.items():
        middle = measurement.median(runs)
        cells = [f"{middle.wall_s:.2f}", f"{middle.wall_s / one.wall_s:.2f}", f"{middle.cpu_s:.2f}", f"{middle.server_cpu_s:.2f}"]
        cells += [f"{middle.server_cpu_s / (one.server_cpu_s or 1):.2f}", f"{middle.wal_mb:.0f}", f"{middle.peak_mib:.0f}"]
        yield f"| {count} | {' | '.join(cells)} |"
    yield ""
    yield "What the statements of the loaders were seen doing, of 100 looks at them:"
    yield ""
    yield f"| loaders | {' | '.join(['working', *(f'waiting for {name}' for name in [*WAITS.values()][1:]), 'waiting for other things'])} |"
    yield f"| ---: |{' ---: |' * (len(WAITS) + 1)}"
    for count, seen in found.seen.items():
        looks = seen.total() or 1
        cells = [f"{100 * seen[wait] / looks:.0f}" for wait in WAITS]
        yield f"| {count} | {' | '.join([*cells, f'{100 * sum(seen[wait] for wait in seen.keys() - WAITS) / looks:.0f}'])} |"
