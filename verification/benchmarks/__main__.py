"""scripts/bench: each part measures on this machine, prints, and writes its part of docs/benchmarks.md. Nothing is asserted."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click
from jobkit.version import version_option

from orchestration.deployments import register
from verification.benchmarks import extract, flow_overhead, growth, load, machine, marts, page, peers, publishing, reload, start, valuation

if TYPE_CHECKING:
    from collections.abc import Iterable

TIMES = click.option("--times", type=click.IntRange(1), default=3, show_default=True, help="How often, after one that is not counted.")


@click.group()
@version_option()
def main() -> None:
    """Measure on this machine; prints, and writes its part of docs/benchmarks.md."""


def _write(part: str, facts: str, lines: Iterable[str]) -> None:
    """`facts` are of before the measurement, when the machine was idle."""
    click.echo(page.write_part(part, [facts, "", *lines]))


@main.command(name="load")
@click.option("--rows", type=click.IntRange(60_000), default=5_000_000, show_default=True, help="How many rows, in 60 partitions.")
@TIMES
@click.option("--peer", "names", multiple=True, help="Measure beside this peer alone; repeat it for more, or say none. Default: all.")
def load_command(rows: int, times: int, names: tuple[str, ...]) -> None:
    """load-warehouse from the lake to a keyed table, beside the server's own COPY of the same rows and beside its peers."""
    facts = machine.describe_machine()
    beside = [peer for peer in peers.PEERS if not names or peer.name in names]
    _write("load", facts, load.page(load.measure(rows, times, beside=beside)))


@main.command(name="reload")
@click.option("--days", type=click.IntRange(600), default=1000, show_default=True, help="How many days there are, one of which changes.")
@TIMES
def reload_command(days: int, times: int) -> None:
    """What nothing new, one changed day and a million restated rows cost, and partitions beside each other."""
    facts = machine.describe_machine()
    _write("reload", facts, reload.page(reload.measure(days, times)))


@main.command(name="growth")
@click.option("--rows", type=click.IntRange(12_000), default=1_250_000, show_default=True, help="The smallest size.")
def growth_command(rows: int) -> None:
    """load-warehouse with 1, 4 and 16 times the rows and the partitions: time a row, and memory."""
    facts = machine.describe_machine()
    _write("growth", facts, growth.page(growth.measure(rows)))


@main.command(name="extract")
@TIMES
def extract_command(times: int) -> None:
    """Documents of vendors to Parquet, beside plain ways to do it; and requests beside the rate that is allowed."""
    facts = machine.describe_machine()
    _write("extract", facts, extract.page(*extract.measure(times)))


@main.command(name="publish")
@click.option("--rows", type=click.IntRange(20_000), default=5_000_000, show_default=True, help="How many rows the mart has.")
@TIMES
def publish_command(rows: int, times: int) -> None:
    """A mart to Parquet and to a whole site, beside a binary COPY of its rows to a client and beside pandas."""
    facts = machine.describe_machine()
    _write("publish", facts, publishing.page(publishing.measure(rows, times)))


@main.command(name="start")
@click.option("--days", type=click.IntRange(2), default=1000, show_default=True, help="Among how many days one has changed.")
@click.option("--rows", type=click.IntRange(1), default=4000, show_default=True, help="How many rows a day has.")
@click.option("--times", type=click.IntRange(1), default=9, show_default=True, help="How often, after one that is not counted.")
def start_command(days: int, rows: int, times: int) -> None:
    """Describe of every job, what a run imports, and load-warehouse with little or nothing to do."""
    facts = machine.describe_machine()
    _write("start", facts, start.page(start.measure(days, rows, times)))


@main.command()
@click.option("--pool", "kinds", type=click.Choice(sorted(register.JOB_VARIABLES)), multiple=True, default=["process"], show_default=True)
@click.option("--times", type=click.IntRange(3), default=10, show_default=True, help="How many steps; the first is not counted.")
def steps(kinds: tuple[str, ...], times: int) -> None:
    """Seconds from asking for a step to its job's first line, and from its end to the flow's going on."""
    facts = machine.describe_machine()
    _write("steps", facts, flow_overhead.steps(kinds, times))


@main.command()
@click.option("--runs", type=click.IntRange(1), default=10_000, show_default=True, help="How many runs the backfill has.")
@click.option("--seconds", type=click.FloatRange(0), default=1.0, show_default=True, help="How long each job sleeps.")
@click.option("--at-once", type=click.IntRange(1, 100), default=8, show_default=True, help="How many run at a time.")
@click.option("--minutes", type=click.FloatRange(0.1), default=180.0, show_default=True, help="It stops by itself after so long.")
def scale(runs: int, seconds: float, at_once: int, minutes: float) -> None:
    """A backfill of many runs of a job that sleeps, on the process pool: throughput, and what the server takes."""
    facts = machine.describe_machine()
    _write("scale", facts, flow_overhead.scale(runs=runs, seconds=seconds, at_once=at_once, minutes=minutes))


@main.command(name="marts")
@click.option("--tickers", type=click.IntRange(10), default=2000, show_default=True, help="2,000 are five million rows of prices.")
@click.option("--built", type=click.IntRange(10), default=2000, show_default=True, help="As many tickers have marts.")
@click.option("--times", type=click.IntRange(3), default=7, show_default=True, help="How often each query is asked.")
def marts_command(tickers: int, built: int, times: int) -> None:
    """What asking as of a moment costs, and what building the marts costs in full and after one new day."""
    facts = machine.describe_machine()
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        found = marts.measure(Path(folder), built=built, tickers=tickers, times=times)
    _write("marts", facts, marts.page(found))


@main.command(name="valuation")
@click.option(
    "--facts", "sizes", type=click.IntRange(1000), multiple=True, default=[43_000, 100_000], show_default=True, help="How many facts."
)
@TIMES
def valuation_command(sizes: tuple[int, ...], times: int) -> None:
    """What asking for valuations as of a moment costs, by the number of facts."""
    facts = machine.describe_machine()
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        found = valuation.measure(Path(folder), sizes=sizes, times=times)
    _write("valuation", facts, valuation.page(found))


if __name__ == "__main__":
    main(prog_name="scripts/bench")
