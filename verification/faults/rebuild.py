"""scripts/rebuild: a warehouse from the lake alone, by the same jobs that made the first one; then both are compared."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click
import psycopg
from jobkit import secrets
from jobkit.errors import JobError

from verification.faults import sandbox

if TYPE_CHECKING:
    from collections.abc import Sequence

ONCE = ("_load_id", "load_id", "loaded_at", "transform_id")  # what differs between two loads of the same


class Different(click.ClickException):
    """The warehouses are not equal."""

    exit_code = 65


@click.command(help=__doc__ + " `{job}` in a URL or a reference is the name of the job that connects, where each has a role of its own.")
@click.option("--lake", metavar="URL", required=True, help="The lake: a directory, file:///path or s3://bucket/prefix.")
@click.option("--into", metavar="URL", required=True, help="An empty database: postgresql://user@host:port/database.")
@click.option("--warehouse", metavar="URL", help="The warehouse to compare it with; without, nothing is compared.")
@click.option("--password", metavar="REF", default="env://WAREHOUSE_PASSWORD", show_default=True, help="Where the password of both is.")
def main(lake: str, into: str, warehouse: str | None, password: str) -> None:
    """Load, transform, compare."""
    try:
        with _connected(into, password) as connection:
            if sandbox.tables(connection):
                raise click.UsageError(f"{into} has tables in raw or marts; give an empty database")
        for job, options in (("load-warehouse", ["--lake", lake]), ("transform-warehouse", [])):
            done = sandbox.run(job, [*options, "--warehouse", into, "--warehouse-password", password], **os.environ)
            if done.code:
                sys.stderr.write(f"{done.receipt['error'] if done.receipt else done.stderr.strip().splitlines()[-1]}\n")
                sys.exit(done.code)
            click.echo(f"{job}: {done.receipt and done.receipt['committed']} made")
            _report_gaps(done)
        if warehouse:
            with _connected(into, password) as made, _connected(warehouse, password) as there:
                _compare(sandbox.tables(made, unlike=ONCE), sandbox.tables(there, unlike=ONCE))
    except JobError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


def _connected(url: str, password: str) -> psycopg.Connection[Any]:
    """A connection, as the job that reads raw tables and owns marts. Raises click.UsageError where there is none."""
    url, password = (text.replace("{job}", "transform-warehouse") for text in (url, password))
    try:
        return psycopg.connect(url, password=secrets.resolve(password), autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise click.UsageError(f"{url} cannot be reached: {str(error).strip().splitlines()[-1]}") from None


def _report_gaps(done: sandbox.Ended) -> None:
    """Say which commits could not be loaded: what only they had is missing from the history."""
    for partition in (done.receipt or {}).get("partitions", ()):
        for gap in partition.get("gaps", ()):
            click.echo(f"GAP     {partition['dataset']}/{partition['partition']}: {gap}")


def _compare(made: sandbox.State, there: sandbox.State) -> None:
    """Say of each table whether it is the same. Raises Different where one is not."""
    different: Sequence[str] = sorted(table for table in {*made, *there} if made.get(table) != there.get(table))
    for table in sorted({*made, *there}):
        rows = made.get(table, (0,))[0]
        click.echo(f"{'DIFFERS' if table in different else 'equal':8}{table}  {rows:,} rows")
    if different:
        raise Different(f"{len(different)} of {len({*made, *there})} tables differ: {', '.join(different)}")


if __name__ == "__main__":
    main(prog_name="scripts/rebuild")
