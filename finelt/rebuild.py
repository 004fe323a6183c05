"""Rebuild a warehouse from the lake alone with the jobs that made the first one, then compare the two.

If it is interrupted, run it again: it goes on where it stopped. A table in the new database, `ops.rebuild`, says that the rebuild has
begun and from which lake; it is dropped at the end.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
import psycopg
from jobkit import secrets
from jobkit.errors import ExitCode, JobError
from jobkit.lake import Lake
from jobkit.version import version_option

from finelt.job_process import run_job
from finelt.job_roles import LOADER, TRANSFORMER
from finelt.table_digests import digest_tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobkit.receipt import Receipt

LOAD_COLUMNS = ("_load_id", "load_id", "loaded_at", "transform_id")  # they differ between two loads of the same data
HELP = """Rebuild a warehouse from the lake alone with the jobs that made the first one, then compare the two.

If it is interrupted, run it again: it goes on where it stopped. Write {job} in a URL or a reference for the name of the job that connects,
if each has its own role.
"""


class WarehousesDifferError(click.ClickException):
    """The warehouses are not equal."""

    exit_code = ExitCode.BAD_DATA


@click.command(help=HELP)
@version_option()
@click.option("--lake", metavar="URL", required=True, help="The lake: a directory, file:///path or s3://bucket/prefix.")
@click.option("--into", metavar="URL", required=True, help="An empty database: postgresql://user@host:port/database.")
@click.option("--warehouse", metavar="URL", help="The warehouse to compare with. Without it, nothing is compared.")
@click.option("--password", metavar="REF", default="env://WAREHOUSE_PASSWORD", show_default=True, help="Where the password of both is.")
@click.option("--workers", type=click.IntRange(1, 32), default=2, show_default=True, help="The number of partitions to load in parallel.")
def main(lake: str, into: str, warehouse: str | None, password: str, workers: int) -> None:
    """Load, transform, compare."""
    try:
        with _connect(into, password) as connection:
            _begin(connection, Lake(lake).store.url, into)
        for job, options in ((LOADER, ["--lake", lake, "--workers", str(workers)]), (TRANSFORMER, [])):
            receipt = run_job(job, [*options, "--warehouse", into, "--warehouse-password", password])
            report(job, receipt)
        with _connect(into, password) as connection:
            connection.execute("drop table if exists ops.rebuild")
        if warehouse:
            with _connect(into, password) as rebuilt, _connect(warehouse, password) as original:
                _compare(digest_tables(rebuilt, unlike=LOAD_COLUMNS), digest_tables(original, unlike=LOAD_COLUMNS))
    except JobError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)


def _connect(url: str, password: str) -> psycopg.Connection[Any]:
    """Connect as the job that reads raw tables and owns marts. Raises click.UsageError if the database cannot be reached."""
    url, password = (text.replace("{job}", TRANSFORMER) for text in (url, password))
    try:
        return psycopg.connect(url, password=secrets.resolve(password), autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise click.UsageError(f"{url} cannot be reached: {str(error).strip().splitlines()[-1]}") from None


def _begin(connection: psycopg.Connection[Any], lake: str, into: str) -> None:
    """Mark an empty database as one that is rebuilt from this lake, or go on with the rebuild that it is marked for.

    Raises click.UsageError if it has tables of another origin.
    """
    if connection.execute("select to_regclass('ops.rebuild') is not null").fetchone() == (True,):
        begun = connection.execute("select lake, begun_at::timestamptz(0)::text from ops.rebuild").fetchone()
        if begun is None or begun[0] != lake:
            raise click.UsageError(f"{into} was begun from the lake {begun and begun[0]}, not {lake}; give an empty database")
        click.echo(f"going on with the rebuild that began at {begun[1]}")
        return
    if digest_tables(connection):
        raise click.UsageError(f"{into} has tables in raw or marts, and no rebuild began there; give an empty database")
    with connection.transaction():
        if connection.execute("select to_regnamespace('ops') is null").fetchone() == (True,):
            connection.execute("create schema ops")  # IF NOT EXISTS would need the right to create schemas as well
        connection.execute("create table ops.rebuild (lake text not null, begun_at timestamptz not null default now())")
        connection.execute("insert into ops.rebuild (lake) values (%s)", [lake])


def report(job: str, receipt: Receipt) -> None:
    """Print what a job made, at which rate, and each commit that could not be loaded, whose own rows are missing."""
    counts = f"{receipt['committed']:,} made, {receipt['unchanged']:,} were made before"
    rows = sum(partition.get("rows_added", 0) for partition in receipt["partitions"])
    rate = f"; {rows:,} rows in {receipt['elapsed_s']:.0f} s, {rows / max(receipt['elapsed_s'], 0.001):,.0f} rows/s" if rows else ""
    click.echo(f"{job}: {counts}{rate}")
    for partition in receipt["partitions"]:
        for gap in partition.get("gaps", ()):
            click.echo(f"GAP     {partition['dataset']}/{partition['partition']}: {gap}")


def _compare(rebuilt: Mapping[str, Any], original: Mapping[str, Any]) -> None:
    """Print for each table whether it is the same. Raises WarehousesDifferError if any differs."""
    tables = sorted({*rebuilt, *original})
    different = [table for table in tables if rebuilt.get(table) != original.get(table)]
    for table in tables:
        rows = rebuilt.get(table, (0,))[0]
        click.echo(f"{'DIFFERS' if table in different else 'equal':8}{table}  {rows:,} rows")
    if different:
        raise WarehousesDifferError(f"{len(different)} of {len(tables)} tables differ: {', '.join(different)}")
