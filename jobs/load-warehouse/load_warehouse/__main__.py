"""The options and verbs of load-warehouse, which loads committed lake partitions into Postgres.

The table raw.<dataset> holds every version of a row, with known_from and known_to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from jobkit import command, options, secrets

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
]


def run(
    job: Job, *, lake: str, dataset: tuple[str, ...], partition: tuple[str, ...], warehouse: str, warehouse_password: str, workers: int
) -> None:
    """Load every commit that the warehouse does not hold yet."""
    from load_warehouse import runner  # noqa: PLC0415  psycopg and arro3 are slow to import and `describe` needs neither

    runner.run(job, lake, dataset, partition, warehouse, secrets.resolve(warehouse_password), workers)


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
    **_: Any,  # noqa: ANN401
) -> list[dict[str, Any]]:
    """List the partitions that `run` would load, each with its first and last commit."""
    from load_warehouse import runner  # noqa: PLC0415

    return runner.plan(lake, dataset, partition, warehouse, secrets.resolve(warehouse_password))


main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)

if __name__ == "__main__":
    main()
