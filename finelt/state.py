"""Show what the warehouse holds of each dataset, from the loader's ledger: up to which day, how much, and when it was loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from jobkit.version import version_option
from psycopg.rows import dict_row

from finelt import stacks
from jobs.catalogue import LAKE, catalogue

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    import psycopg

LOADED = """
with heads as (
    select distinct on (dataset, "partition") * from raw._ledger order by dataset, "partition", "commit" desc
)
select
    heads.dataset,
    null::date as last_day,
    max(heads."partition") as newest_partition,
    count(*) as partitions,
    sum(heads."rows")::bigint as "rows",
    max(heads.known_at) as committed_at,
    max(heads.loaded_at) as loaded_at
from heads
group by heads.dataset
order by heads.dataset
"""
EXISTS = "select to_regclass(%s) is not null"
LAST_DAYS = "select dataset, last_date from marts.fct_freshness"


def read_state(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    """Return a row for each loaded dataset, with its source. The last day is known once the marts are built."""
    has_ledger, has_marts = (connection.execute(EXISTS, [table]).fetchone() == (True,) for table in ("raw._ledger", "marts.fct_freshness"))
    if not has_ledger:
        return []
    sources = {name.removeprefix(LAKE): spec.vendor for spec in catalogue() for name in spec.writes if name.startswith(LAKE)}
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(LOADED).fetchall()
        days = {row["dataset"]: row["last_date"] for row in cursor.execute(LAST_DAYS).fetchall()} if has_marts else {}
    return [{"source": sources.get(row["dataset"], ""), **row, "last_day": days.get(row["dataset"])} for row in rows]


@click.command()
@version_option()
@stacks.DIRECTORY
@stacks.COMPOSE
@stacks.JSON
def main(directory: Path, *, is_compose: bool, as_json: bool) -> None:
    """Show what is loaded up to when, for each source: the last day with rows, the newest partition, and when it was committed and loaded.

    The demo need not run. Times are in UTC.
    """
    with stacks.open_warehouse(directory, is_compose=is_compose) as connection:
        rows = read_state(connection)
    columns: dict[str, Callable[[Any], str]] = {
        "source": str,
        "dataset": str,
        "last_day": str,
        "newest_partition": str,
        "partitions": "{:,}".format,
        "rows": "{:,}".format,
        "committed_at": _format_moment,
        "loaded_at": _format_moment,
    }
    stacks.print_rows(rows, as_json=as_json, columns=columns, empty="nothing is loaded yet")


def _format_moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
