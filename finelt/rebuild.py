"""Rebuild a warehouse from the lake alone with the jobs that made the first one, then compare the two."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import psycopg
from jobkit import secrets
from jobkit.errors import ExitCode, JobError
from jobkit.version import version_option

from finelt.table_digests import digest_tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobkit.receipt import Receipt

LOAD_COLUMNS = ("_load_id", "load_id", "loaded_at", "transform_id")  # they differ between two loads of the same data
LOADER, TRANSFORMER = "load-warehouse", "transform-warehouse"


class WarehousesDifferError(click.ClickException):
    """The warehouses are not equal."""

    exit_code = ExitCode.BAD_DATA


@click.command(help=f"{__doc__} Write {{job}} in a URL or a reference for the name of the job that connects, if each has its own role.")
@version_option()
@click.option("--lake", metavar="URL", required=True, help="The lake: a directory, file:///path or s3://bucket/prefix.")
@click.option("--into", metavar="URL", required=True, help="An empty database: postgresql://user@host:port/database.")
@click.option("--warehouse", metavar="URL", help="The warehouse to compare with. Without it, nothing is compared.")
@click.option("--password", metavar="REF", default="env://WAREHOUSE_PASSWORD", show_default=True, help="Where the password of both is.")
def main(lake: str, into: str, warehouse: str | None, password: str) -> None:
    """Load, transform, compare."""
    try:
        with _connect(into, password) as connection:
            if digest_tables(connection):
                raise click.UsageError(f"{into} has tables in raw or marts; give an empty database")
        for job, options in ((LOADER, ["--lake", lake]), (TRANSFORMER, [])):
            receipt = _run_job(job, [*options, "--warehouse", into, "--warehouse-password", password])
            click.echo(f"{job}: {receipt['committed']} made")
            _report_gaps(receipt)
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


def _run_job(job: str, options: Sequence[str]) -> Receipt:
    """Run a job and return its receipt. Exit with the job's error and exit code if it fails."""
    command = [sys.executable, "-m", job.replace("-", "_"), "run", *(option.replace("{job}", job) for option in options)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own job
    receipt: Receipt | None = json.loads(process.stdout) if process.stdout.strip() else None
    if process.returncode or receipt is None:
        log_tail = (process.stderr.strip().splitlines() or [f"{job} left no receipt"])[-1]
        click.echo(receipt["error"] if receipt else log_tail, err=True)
        sys.exit(process.returncode or ExitCode.BUG)
    return receipt


def _report_gaps(receipt: Receipt) -> None:
    """Print each commit that could not be loaded. Rows that only this commit had are missing from the history."""
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
