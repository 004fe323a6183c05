"""Measure on this machine. Each command prints its result, and with --write also writes it to docs/benchmarks.md."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click
from jobkit.errors import ExitCode
from jobkit.version import version_option

from jobs.catalogue import catalogue
from orchestration.deployments import register
from verification import machine
from verification.benchmarks import (
    as_of,
    builds,
    compare,
    extract,
    flow_overhead,
    growth,
    lake_marts,
    load,
    loaders,
    marts,
    page,
    partitions,
    publishing,
    recovery,
    reload,
    start,
    tools,
    valuation,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

TIMES = click.option("--times", type=click.IntRange(1), default=3, show_default=True, help="How often to measure, after a warm-up.")


@click.group()
@version_option()
@click.option("--write", is_flag=True, help="Also write the result to its section of docs/benchmarks.md.")
def main(*, write: bool) -> None:  # noqa: ARG001  `_report` reads it
    """Measure on this machine and print the result."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.STOPPED))  # ends the servers that the measurement started


def _warn_of_old_option(old: str, new: str, *, is_given: bool) -> None:
    if is_given:
        click.echo(f"bench: {old} is deprecated and will be removed in the next version; use {new}", err=True)


def _report(part: str, facts: str, lines: Iterable[str], *, about: str = "", words: str = "") -> None:
    """Print a section, and write it if asked. `facts` describe the machine before the measurement, when it was idle."""
    text = page.render_part(part, [facts, "", *lines], words=words)
    click.echo(text)
    bench = click.get_current_context().parent
    if bench and bench.params["write"]:
        page.write_part(part, text, about=about)


@main.command(name="load")
@click.option("--rows", type=click.IntRange(60_000), default=5_000_000, show_default=True, help="How many rows, in 60 partitions.")
@TIMES
@click.option("--tool", "names", multiple=True, help="Compare with this tool only; `none` for no tool. Repeatable. Default: all.")
@click.option("--peer", "old_names", multiple=True, hidden=True)
def load_command(rows: int, times: int, names: tuple[str, ...], old_names: tuple[str, ...]) -> None:
    """Compare load-warehouse with the server's own COPY of the same rows and with other tools."""
    _warn_of_old_option("--peer", "--tool", is_given=bool(old_names))
    names += old_names
    facts = machine.describe_machine()
    compared = [tool for tool in tools.TOOLS if not names or tool.name in names]
    _report("load", facts, load.page(load.measure(rows, times, compared=compared)))


@main.command(name="reload")
@click.option("--days", type=click.IntRange(600), default=1000, show_default=True, help="How many days the table has; one of them changes.")
@TIMES
def reload_command(days: int, times: int) -> None:
    """Measure loads of nothing new, of one changed day, of a million restated rows, and of concurrent partitions."""
    facts = machine.describe_machine()
    _report("reload", facts, reload.page(reload.measure(days, times)))


@main.command(name="loaders")
@click.option("--rows", type=click.IntRange(8_000), default=2_000_000, show_default=True, help="How many rows, in 8 partitions.")
@TIMES
def loaders_command(rows: int, times: int) -> None:
    """Measure 1, 2 and 4 loaders at a time, each with its share of the partitions, and what bounds them."""
    facts = machine.describe_machine()
    _report("loaders", facts, loaders.page(loaders.measure(rows, times)), words=f"--rows {rows} --times {times}")


@main.command(name="growth")
@click.option("--rows", type=click.IntRange(12_000), default=1_250_000, show_default=True, help="The smallest size.")
def growth_command(rows: int) -> None:
    """Measure load-warehouse with 1, 4 and 16 times the rows and the partitions: time per row, and memory."""
    facts = machine.describe_machine()
    _report("growth", facts, growth.page(growth.measure(rows)))


@main.command(name="partitions")
@click.option("--rows", type=click.IntRange(1_000), default=1_000_000, show_default=True, help="How many rows.")
@click.option("--sizes", type=int, multiple=True, default=(10, 200, 2_000), show_default=True, help="In how many partitions.")
def partitions_command(rows: int, sizes: tuple[int, ...]) -> None:
    """Measure loads, Iceberg tables and their readers with the same rows in few and in many partitions."""
    facts = machine.describe_machine()
    _report("partitions", facts, partitions.page(partitions.measure(rows, sizes)))


@main.command(name="extract")
@TIMES
def extract_command(times: int) -> None:
    """Compare extractors with simple scripts, and their request rate with the allowed rate."""
    facts = machine.describe_machine()
    _report("extract", facts, extract.page(*extract.measure(times)))


@main.command(name="publish")
@click.option("--rows", type=click.IntRange(20_000), default=5_000_000, show_default=True, help="How many rows the mart has.")
@TIMES
def publish_command(rows: int, times: int) -> None:
    """Compare the export of a mart to Parquet and to a site with a binary COPY to a client and with pandas."""
    facts = machine.describe_machine()
    _report("publish", facts, publishing.page(publishing.measure(rows, times)))


@main.command(name="start")
@click.option("--days", type=click.IntRange(2), default=1000, show_default=True, help="How many days the table has; one of them changes.")
@click.option("--rows", type=click.IntRange(1), default=4000, show_default=True, help="How many rows a day has.")
@click.option("--times", type=click.IntRange(1), default=9, show_default=True, help="How often to measure, after a warm-up.")
def start_command(days: int, rows: int, times: int) -> None:
    """Measure `describe` of every job, the imports of a run, and load-warehouse with little or nothing to load."""
    facts = machine.describe_machine()
    _report("start", facts, start.page(start.measure(days, rows, times, catalogue())))


@main.command()
@click.option("--pool", "kinds", type=click.Choice(sorted(register.JOB_VARIABLES)), multiple=True, default=["process"], show_default=True)
@click.option("--times", type=click.IntRange(3), default=10, show_default=True, help="How many steps to run, after a warm-up.")
def steps(kinds: tuple[str, ...], times: int) -> None:
    """Measure the seconds from the request of a step to the start of its job, and from its end to the flow."""
    facts = machine.describe_machine()
    _report("steps", facts, flow_overhead.steps(kinds, times))


@main.command()
@click.option("--runs", type=click.IntRange(1), default=10_000, show_default=True, help="How many runs the backfill has.")
@click.option("--seconds", type=click.FloatRange(0), default=1.0, show_default=True, help="How long each job sleeps.")
@click.option("--concurrency", type=click.IntRange(1, 100), default=8, show_default=True, help="How many runs are concurrent.")
@click.option("--at-once", type=click.IntRange(1, 100), hidden=True)
@click.option("--minutes", type=click.FloatRange(0.1), default=180.0, show_default=True, help="When to stop.")
def scale(runs: int, seconds: float, concurrency: int, at_once: int | None, minutes: float) -> None:
    """Measure a backfill of many runs of a job that sleeps: throughput, and the CPU and memory of Prefect's server."""
    _warn_of_old_option("--at-once", "--concurrency", is_given=at_once is not None)
    facts = machine.describe_machine()
    _report("scale", facts, flow_overhead.scale(runs=runs, seconds=seconds, concurrency=at_once or concurrency, minutes=minutes))


@main.command(name="marts")
@click.option(
    "--tickers",
    type=click.IntRange(10),
    default=2000,
    show_default=True,
    help="How many tickers the queries read; 2,000 have five million rows of prices.",
)
@click.option("--built", type=click.IntRange(10), default=2000, show_default=True, help="How many tickers the marts have.")
@click.option("--times", type=click.IntRange(3), default=7, show_default=True, help="How often to run each query.")
def marts_command(tickers: int, built: int, times: int) -> None:
    """Measure as-of queries, and building the marts in full and after one new day."""
    facts = machine.describe_machine()
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder, builds.this_build().run_demo_server(Path(folder)) as server:
        found = marts.measure(server, built=built, tickers=tickers, times=times)
    _report("marts", facts, marts.page(found))


@main.command(name="lake-marts")
@click.option("--tickers", type=click.IntRange(2), default=200, show_default=True, help="How many tickers the task builds.")
def lake_marts_command(tickers: int) -> None:
    """Measure a task of `finelt lake-marts`: CPU, memory and the size of what it reads and writes."""
    facts = machine.describe_machine()
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder, builds.this_build().run_demo_server(Path(folder)) as server:
        found = lake_marts.measure(server, tickers=tickers)
    _report("lake-marts", facts, lake_marts.page(found))


@main.command(name="recovery")
@click.option("--rows", type=click.IntRange(2_400), default=2_000_000, show_default=True, help="How many rows the warehouse has.")
@click.option("--objects", type=click.IntRange(1), default=5_000, show_default=True, help="How many objects of the lake are deleted.")
def recovery_command(rows: int, objects: int) -> None:
    """Measure the steps of docs/disaster-recovery.md: a warehouse from the lake and from a dump, a lake, Prefect."""
    facts = machine.describe_machine()
    _report("recovery", facts, recovery.page(recovery.measure(rows, objects)), words=f"--rows {rows} --objects {objects}")


@main.command(name="as-of")
@click.option("--tickers", type=click.IntRange(10), default=2000, show_default=True, help="2,000 have five million rows of prices.")
@click.option("--facts", type=click.IntRange(1000), default=100_000, show_default=True, help="How many facts.")
@TIMES
def as_of_command(tickers: int, facts: int, times: int) -> None:
    """Measure every as-of view against its mart, for one key and one day."""
    machine_facts = machine.describe_machine()
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder, builds.this_build().run_demo_server(Path(folder)) as server:
        found = as_of.measure(server, tickers=tickers, facts=facts, times=times)
    _report("as-of", machine_facts, as_of.page(found))


@main.command(name="valuation")
@click.option(
    "--facts", "sizes", type=click.IntRange(1000), multiple=True, default=[43_000, 100_000], show_default=True, help="How many facts."
)
@TIMES
def valuation_command(sizes: tuple[int, ...], times: int) -> None:
    """Measure as-of queries of valuations, by the number of facts."""
    facts = machine.describe_machine()
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder, builds.this_build().run_demo_server(Path(folder)) as server:
        found = valuation.measure(server, sizes=sizes, times=times)
    _report("valuation", facts, valuation.page(found))


@main.command(name="compare")
@click.argument("revision")
@click.option("--part", "parts", type=click.Choice(list(compare.PARTS)), multiple=True, help="Repeatable. Default: all.")
@click.option("--rows", type=click.IntRange(2000), default=1_000_000, show_default=True, help="Rows to load, to restate and to publish.")
@click.option("--tickers", type=click.IntRange(10), default=200, show_default=True, help="How many tickers the marts have, for ten years.")
@click.option("--facts", type=click.IntRange(100), default=170_000, show_default=True, help="How many facts the document has.")
@click.option(
    "--times", type=click.IntRange(0), default=3, show_default=True, help="How often to measure, after a warm-up; 0 counts the warm-up."
)
def compare_command(revision: str, parts: tuple[str, ...], rows: int, tickers: int, facts: int, times: int) -> None:
    """Measure this build and another commit in turn, on the same rows, each with its own code and environment."""
    both = [builds.this_build(), builds.prepare_build(revision)]
    size = compare.Size(rows, tickers, facts, times)
    for part in parts or compare.PARTS:
        machine_facts = machine.describe_machine()
        words = f"{revision} --part {part} --rows {rows} --tickers {tickers} --facts {facts} --times {times}"
        _report("compare", machine_facts, compare.page(compare.measure(part, both, size), both), about=part, words=words)


if __name__ == "__main__":
    main(prog_name="scripts/bench")
