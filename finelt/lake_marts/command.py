"""`finelt lake-marts`: build the marts of prices, returns and valuations outside Postgres, on the machines of a Ray cluster."""

from __future__ import annotations

import logging
import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from jobkit.errors import BadDataError, MisconfiguredError, TemporaryError, UsageError
from jobkit.lake import Lake
from jobkit.version import version_option

from finelt.dbt import describe_login
from finelt.job_errors import exit_on_job_error
from finelt.job_roles import PASSWORD_OPTION, TRANSFORMER, WAREHOUSE_OPTION, connect
from finelt.lake_marts import tables
from finelt.lake_marts.builder import build_group
from finelt.lake_marts.definitions import read_definitions
from finelt.lake_marts.groups import group_tickers
from finelt.lake_marts.model import MARTS, SECURITIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import psycopg

    from finelt.lake_marts.model import Built, Definitions, Prices


@click.command()
@version_option()
@click.option("--lake", metavar="URL", required=True, help="The lake: a directory, file:///path or s3://bucket/prefix.")
@WAREHOUSE_OPTION
@PASSWORD_OPTION
@click.option(
    "--catalog", default="sqlite", show_default=True, help="The catalogue of register-iceberg-tables: sqlite, sqlite:////path or glue."
)
@click.option("--cluster", metavar="ADDRESS", help="A Ray cluster, such as ray://head:10001. Default: processes of this machine.")
@click.option("--processes", type=click.IntRange(1, 256), default=2, show_default=True, help="Without --cluster: how many.")
@click.option("--tickers", type=click.IntRange(1, 100_000), default=200, show_default=True, help="How many tickers a task builds.")
def main(lake: str, warehouse: str | None, password: str, catalog: str, cluster: str | None, processes: int, tickers: int) -> None:
    """Build the marts of prices, returns and valuations outside Postgres, and write them as Iceberg tables.

    The rows are those of transform-warehouse: dbt compiles the same models, and the small tables that they join come from the warehouse.
    """
    with exit_on_job_error("lake-marts"):
        if warehouse is None:
            raise UsageError("--warehouse is missing; the small tables come from it: postgresql://{job}@host:5432/warehouse")
        store = Lake(lake).store
        opened = tables.open_catalog(store, catalog)
        prices = tables.find_prices(opened)
        with connect(warehouse, password, TRANSFORMER, autocommit=True) as connection:
            definitions = read_definitions(connection, {**os.environ, **_describe_login(connection.info)}, prices.commits)
        groups = list(group_tickers(_read_owners(definitions), tickers))
        folder = store.uri(f"{tables.FOLDER}/{tables.MARTS}")
        with _run_ray(cluster, processes):
            built = list(_build(groups, definitions, prices, f"{folder}/_files/{uuid.uuid4()}"))
        for mart in MARTS:
            files = [done.files[mart] for done in built if mart in done.files]
            tables.replace_mart(opened, f"{folder}/{mart}", mart, files, {"finelt.prices-snapshot": str(prices.snapshot)})
            click.echo(f"marts.{mart}: {sum(done.rows[mart] for done in built):,} rows in {len(files):,} files")


def _read_owners(definitions: Definitions) -> list[tuple[str, str]]:
    """Return the pairs of ticker and security."""
    table = definitions.tables[SECURITIES]
    ticker, security = (list(table.columns).index(name) for name in ("ticker", "security_id"))
    return [(str(row[ticker]), str(row[security])) for row in table.rows]


def _describe_login(info: psycopg.ConnectionInfo) -> dict[str, str]:
    """Return the environment in which dbt logs in as a connection did."""
    login = {"host": info.host, "port": str(info.port), "user": info.user, "dbname": info.dbname}
    return describe_login(info.get_parameters() | login, info.password)


@contextmanager
def _run_ray(cluster: str | None, processes: int) -> Iterator[None]:
    """Connect to a cluster, or start one of processes of this machine. Raises MisconfiguredError if the cluster does not answer."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it would report to its makers
    factory = logging.getLogRecordFactory()  # ray replaces it, so that every later record of this process would have a field of its own
    import ray  # noqa: PLC0415  slow

    where: dict[str, Any] = {"address": cluster} if cluster else {"num_cpus": processes, "include_dashboard": False}
    try:
        try:
            ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError) as error:
            raise MisconfiguredError(f"the Ray cluster {cluster} cannot be reached: {error}; correct --cluster") from None
        yield
    finally:
        ray.shutdown()
        logging.setLogRecordFactory(factory)


def _build(groups: Sequence[Sequence[str]], definitions: Definitions, prices: Prices, folder: str) -> Iterator[Built]:
    """Build the groups on the cluster and yield what each task wrote.

    Raises BadDataError if a group cannot be built, TemporaryError if its machine was lost more often than it is repeated.
    """
    import ray  # noqa: PLC0415

    task, shared = ray.remote(max_retries=3)(build_group), ray.put(definitions)
    waiting = {task.remote(group, shared, prices, folder): group for group in groups}
    for done in range(1, len(groups) + 1):
        (ready,), _ = ray.wait(list(waiting))
        group = waiting.pop(ready)
        try:
            yield ray.get(ready)
        except ray.exceptions.RayTaskError as error:
            cause = str(error.cause).partition("\n")[0]
            raise BadDataError(f"the marts of {group[0]} to {group[-1]} cannot be built: {cause}; no mart was replaced") from None
        except ray.exceptions.RayError as error:
            cause = str(error).partition("\n")[0]
            raise TemporaryError(f"the marts of {group[0]} to {group[-1]} were not built: {cause}; run this again") from None
        click.echo(f"{done:,} of {len(groups):,} groups of tickers built", err=True)
