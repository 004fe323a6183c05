"""Show in which formats a lake and a warehouse are stored, and what an upgrade would migrate; with --apply, migrate it.

The jobs do this by themselves when they first write there. This command shows it beforehand, or does it at a time of your choice. Commits
of the lake are never rewritten: each version of finelt reads those of every older one.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import psycopg
from jobkit import formats, migrations, postgres
from jobkit.version import version_option

from finelt.job_errors import exit_on_job_error
from finelt.job_roles import LOADER, PASSWORD_OPTION, TRANSFORMER, WAREHOUSE_OPTION, connect
from finelt.lake_location import open_lake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobkit.lake import Lake
    from jobkit.migrations import Migration, Schema

OWNERS = {migrations.RAW: LOADER, migrations.OPS: TRANSFORMER}


class Upgrade(NamedTuple):
    """What there is to migrate in a schema: its format and the pending migrations."""

    schema: Schema
    format: int
    pending: tuple[Migration, ...]


def count_formats(lake: Lake) -> Counter[int]:
    """Count the commits of a lake by format. Raises NewerFormatError or DamagedError for one that this version cannot read."""
    counts: Counter[int] = Counter()
    for dataset in lake.datasets():
        for partition, number in lake.iter_commit_numbers(dataset):
            key = lake.commit_key(dataset, partition, number)
            try:
                written = json.loads(lake.store.get(key)).get("format", 1)
            except (ValueError, AttributeError):
                written = None
            counts[formats.check_format(lake.store.uri(key), written, formats.COMMIT)] += 1
    return counts


def list_without_log(lake: Lake) -> list[str]:
    """List the datasets with commits but without a log, as versions up to 0.2.0 left them."""
    return [name for name in lake.datasets() if not lake.log.find_last(name) and next(lake.iter_commit_numbers(name), None)]


def begin_log(lake: Lake, dataset: str) -> None:
    """Begin the log of a dataset by announcing its newest commit again, so that loaders need not list the dataset any more."""
    newest = lake.find_newest_commit(dataset)
    partition, number = (newest.partition, newest.number) if newest else next(lake.iter_latest_numbers(dataset))
    lake.log.announce(dataset, partition, number)


def plan_upgrades(warehouse: str, password: str) -> Iterator[Upgrade]:
    """Yield what is to be migrated in each schema that exists. `{job}` in URL and password stands for the job that owns the schema.

    Raises NewerFormatError for a schema that a newer version migrated.
    """
    for schema, owner in OWNERS.items():
        with connect(warehouse, password, owner) as connection:
            execute = partial(_fetch_tuples, connection)
            if execute(f"select to_regnamespace({postgres.quote_text(schema.name)}) is not null")[0][0]:
                current = migrations.check_schema(execute, schema, _describe(connection))
                yield Upgrade(schema, current, migrations.list_pending(schema, current))


def apply_upgrade(upgrade: Upgrade, warehouse: str, password: str) -> tuple[Migration, ...]:
    """Migrate a schema as the job that owns it. Return the migrations that were pending until then."""
    with connect(warehouse, password, OWNERS[upgrade.schema]) as connection:
        return migrations.migrate(partial(_fetch_tuples, connection), upgrade.schema, _describe(connection))


def _describe(connection: psycopg.Connection[Any]) -> str:
    return f"the warehouse {connection.info.host}:{connection.info.port}/{connection.info.dbname}"


def _fetch_tuples(connection: psycopg.Connection[Any], statement: str) -> list[tuple[Any, ...]]:
    try:
        cursor = connection.execute(statement.encode())
    except psycopg.Error as error:
        raise postgres.translate_error(_describe(connection), str(error), error.sqlstate) or error from None
    return cursor.fetchall() if cursor.description else []


@click.command(help=__doc__)
@version_option()
@click.option("--lake", metavar="URL", envvar="FINELT_LAKE", help="The lake: a directory or s3://bucket/prefix.")
@WAREHOUSE_OPTION
@PASSWORD_OPTION
@click.option("--apply", "is_applied", is_flag=True, help="Do what is pending. Without it, nothing is changed.")
def main(lake: str | None, warehouse: str | None, password: str, *, is_applied: bool) -> None:
    """Print the formats of lake and warehouse."""
    if not (lake or warehouse):
        raise click.UsageError("name --lake, --warehouse or both")
    with exit_on_job_error("upgrade"):
        upgrades = list(plan_upgrades(warehouse, password)) if warehouse else []  # refuses a newer warehouse before the lake changes
        if lake:
            _upgrade_lake(open_lake(lake), is_applied=is_applied)
        for upgrade in upgrades:
            name = f"warehouse {upgrade.schema.name}"
            if not upgrade.pending:
                click.echo(f"{name:15} format {upgrade.format}, the newest")
                continue
            click.echo(f"{name:15} format {upgrade.format}, to be migrated to {upgrade.schema.format}")
            done = apply_upgrade(upgrade, warehouse, password) if is_applied and warehouse else ()
            for migration in upgrade.pending:
                verb = "migrated" if migration in done else "was migrated meanwhile" if is_applied else "pending"
                click.echo(f"{'':15} {migration.number} {migration.title}: {verb}")
        if not is_applied:
            click.echo("nothing was changed; --apply does what is pending, and so does the next run of each job that writes there")


def _upgrade_lake(lake: Lake, *, is_applied: bool) -> None:
    for number, count in sorted(count_formats(lake).items()):
        click.echo(f"lake            {count:,} commits of format {number}; they are read as they are")
    for dataset in list_without_log(lake):
        if is_applied:
            begin_log(lake, dataset)
        click.echo(f"{'':15} the log of {dataset}: {'begun' if is_applied else 'pending'}")
