"""scripts/faults: the scorecard. Real jobs, a real Postgres, real files, an S3 emulator; all on the loopback, and it stops by itself."""

from __future__ import annotations

import random
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from orchestration.local import postgres
from verification.benchmarks import machine
from verification.faults import page, scorecard
from verification.faults.sandbox import Stage
from verification.sample_vendors import server

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice(list(scorecard.ROWS)), metavar="[ROW]...")
@click.option("--less", is_flag=True, help="A few of each, as the tests do; the page is left alone.")
@click.option("--seeds", type=click.IntRange(1), help="Moments of each step and job, in place of twenty.")
@click.option("--seed", type=int, default=8, show_default=True, help="Another one takes other moments.")
def main(names: tuple[str, ...], *, less: bool, seeds: int | None, seed: int) -> None:
    """Measure the rows named, or all."""
    much = scorecard.LESS if less else scorecard.ALL
    if seeds:
        much = much._replace(seeds=seeds, stops=seeds)
    failed = False
    with stage() as place:
        for name in names or scorecard.ROWS:
            began = time.monotonic()
            row = scorecard.ROWS[name](place, much, random.Random(seed))  # noqa: S311  the same moments every time
            failed |= bool(row.wrong)
            click.echo(
                f"{'FAILED' if row.wrong else 'holds'}  {name}: {row.trials:,} trials, {row.seen} ({time.monotonic() - began:.0f} s)"
            )
            for sentence in row.wrong:
                click.echo(f"        {sentence}")
            if not less:
                page.write(name, row, seed, machine.facts())
    sys.exit(1 if failed else 0)


@contextmanager
def stage() -> Iterator[Stage]:
    """A place for jobs, gone with the block."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        with postgres.run_server(home / "postgres") as warehouse, server.serving() as vendors:
            yield Stage(home, warehouse, vendors)
        postgres.remove(home / "postgres")


if __name__ == "__main__":
    main(prog_name="scripts/faults")
