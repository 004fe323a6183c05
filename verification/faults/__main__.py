"""scripts/faults: measure the scorecard with real jobs, a real Postgres, files and an S3 emulator, all on the loopback interface."""

from __future__ import annotations

import random
import sys
import time

import click
from jobkit.version import version_option

from verification import machine
from verification.faults import page, scorecard, trials
from verification.faults.sandbox import open_sandbox


@click.command(help=__doc__)
@version_option()
@click.argument("names", nargs=-1, type=click.Choice(list(scorecard.FAULTS)), metavar="[ROW]...")
@click.option("--less", is_flag=True, help="Few trials of each, as in the tests. The page is not written.")
@click.option("--seeds", type=click.IntRange(1), help="Trials per failpoint and job; the default is 20.")
@click.option("--seed", type=int, default=8, show_default=True, help="Seed of the random choices.")
def main(names: tuple[str, ...], *, less: bool, seeds: int | None, seed: int) -> None:
    """Measure the named rows, or all."""
    counts = trials.REDUCED_COUNTS if less else trials.FULL_COUNTS
    if seeds:
        counts = counts._replace(seeds=seeds, stops=seeds)
    failed = False
    with open_sandbox() as sandbox:
        for name in names or scorecard.FAULTS:
            started = time.monotonic()
            fault = scorecard.FAULTS[name]
            row = fault.measure(sandbox, counts, random.Random(seed))  # noqa: S311  the same moments every time
            failed |= bool(row.violations)
            elapsed_s = time.monotonic() - started
            verdict = "FAILED" if row.violations else "holds"
            click.echo(f"{verdict}  {name}: {row.trials:,} trials, {row.result} ({elapsed_s:.0f} s)")
            for violation in row.violations:
                click.echo(f"        {violation}")
            if not less:
                page.write(name, fault.description, row, seed, machine.describe_machine())
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(prog_name="scripts/faults")
