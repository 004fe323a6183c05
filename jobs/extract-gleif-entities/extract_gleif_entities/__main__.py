"""Legal entities, their parents and their reporting exceptions, from the golden copy of GLEIF and its deltas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from jobkit import command, options

from extract_gleif_entities import source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from jobkit.command import Job

OPTIONS = [
    options.lake(),
    options.option(
        "--datasets",
        required=True,  # no schedule takes ten million records before a person asks for them
        type=click.Choice(tuple(source.KINDS)),
        multiple=True,
        help="A kind of records; repeat the option for more.",
    ),
    options.base_url(source.BASE_URL),
    options.retry_timeout(),
    options.replay(),
    options.allow_shrinking(),
    options.received_at(),
]


def run(
    job: Job,
    *,
    lake: str,
    datasets: Sequence[str],
    base_url: str,
    retry_timeout: float,
    replay: bool,
    allow_shrinking: bool,
    received_at: datetime | None,
) -> None:
    """Take the newest files to the lake, or parse again what it has."""
    from extract_gleif_entities import runner  # noqa: PLC0415  describe needs none of it

    names = tuple(dict.fromkeys(datasets))
    if replay:
        runner.replay(job, names, lake_url=lake, allow_shrinking=allow_shrinking)
    else:
        runner.run(job, names, lake_url=lake, base_url=base_url, retry_timeout=retry_timeout, received_at=received_at)


def check(job: Job, *, lake: str, datasets: Sequence[str], base_url: str, **_: Any) -> None:  # noqa: ANN401
    """Load the contracts, write to the lake, ask GLEIF."""
    from extract_gleif_entities import runner  # noqa: PLC0415

    runner.check(job, datasets, lake_url=lake, base_url=base_url)


def plan(job: Job, *, lake: str, datasets: Sequence[str], **_: Any) -> list[dict[str, Any]]:  # noqa: ANN401, ARG001
    """List the files that would be asked for."""
    from extract_gleif_entities import runner  # noqa: PLC0415

    return runner.plan(datasets, lake_url=lake)


main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)

if __name__ == "__main__":
    main()
