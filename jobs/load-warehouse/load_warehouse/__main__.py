"""The options and verbs of load-warehouse, which loads committed lake partitions into Postgres.

The table raw.<dataset> holds every version of a row, with known_from and known_to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from jobkit import command, options, secrets
from jobkit.errors import UsageError

if TYPE_CHECKING:
    from jobkit.command import Job

OPTIONS = [
    options.lake(),
    options.option("--dataset", multiple=True, help="A dataset to load; repeat the option for more. Default: all datasets in the lake."),
    options.option(
        "--partition",
        multiple=True,
        help="A lake partition to load, such as year=2012; repeat the option for more. Default: all partitions.",
    ),
    options.warehouse(),
    options.warehouse_password(),
    options.option(
        "--workers", type=click.IntRange(1, 32), default=2, show_default=True, help="The number of partitions to load in parallel."
    ),
    options.option(
        "--reload",
        is_flag=True,
        help="Load all commits again of the datasets whose table has other types, another key or another leaf than their newest commit.",
    ),
    options.option("--forget-expired", is_flag=True, help="With --reload: lose the row versions whose commits have expired in the lake."),
]


def run(
    job: Job,
    *,
    lake: str,
    dataset: tuple[str, ...],
    partition: tuple[str, ...],
    warehouse: str,
    warehouse_password: str,
    workers: int,
    reload: bool,
    forget_expired: bool,
) -> None:
    """Load every commit that the warehouse does not hold yet, or reload tables."""
    # psycopg and arro3 are slow to import and `describe` needs neither
    from load_warehouse import reload as reloads  # noqa: PLC0415
    from load_warehouse import runner  # noqa: PLC0415

    password = secrets.resolve(warehouse_password)
    if reload:
        _check_reload(partition)
        reloads.run(job, lake, dataset, warehouse, password, workers, forget_expired=forget_expired)
    else:
        runner.run(job, lake, dataset, partition, warehouse, password, workers)


def _check_reload(partition: tuple[str, ...]) -> None:
    if partition:
        raise UsageError("--reload loads whole datasets again; leave out --partition")


def check(job: Job, *, lake: str, warehouse: str, warehouse_password: str, **_: Any) -> None:  # noqa: ANN401, ARG001
    """Check that the job can log in, has the rights to write its tables, and can list the lake."""
    from load_warehouse import runner  # noqa: PLC0415

    runner.check(lake, warehouse, secrets.resolve(warehouse_password))


def plan(
    job: Job,  # noqa: ARG001
    *,
    lake: str,
    dataset: tuple[str, ...],
    partition: tuple[str, ...],
    warehouse: str,
    warehouse_password: str,
    reload: bool,
    **_: Any,  # noqa: ANN401
) -> list[dict[str, Any]]:
    """List the partitions that `run` would load, each with its first and last commit, or the tables that it would reload."""
    from load_warehouse import reload as reloads  # noqa: PLC0415
    from load_warehouse import runner  # noqa: PLC0415

    password = secrets.resolve(warehouse_password)
    if reload:
        _check_reload(partition)
        return reloads.plan(lake, dataset, warehouse, password)
    return runner.plan(lake, dataset, partition, warehouse, password)


main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)

if __name__ == "__main__":
    main()
