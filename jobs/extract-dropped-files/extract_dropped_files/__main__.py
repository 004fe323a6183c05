"""Dropped files to the lake, each against the contract of its dataset; what is refused goes aside with the reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobkit import command, options

if TYPE_CHECKING:
    from jobkit.command import Job

OPTIONS = [
    options.lake(),
    options.storage("--drop", required=True, help="Where files wait as DATASET/NAME: a directory or s3://bucket/prefix."),
    options.option("--key", metavar="DATASET/NAME", help="The one file to take. Default: all that wait."),
    options.allow_shrinking(),
]


def run(job: Job, *, lake: str, drop: str, key: str | None, allow_shrinking: bool) -> None:
    """Take what was dropped. A file that is refused does not keep the others out."""
    from extract_dropped_files import work  # noqa: PLC0415  describe needs none of it

    work.run(job, lake, drop, key, allow_shrinking=allow_shrinking)


def check(job: Job, *, lake: str, drop: str, **_: Any) -> None:  # noqa: ANN401, ARG001
    """The contracts can be read, the drop and the lake listed."""
    from extract_dropped_files import work  # noqa: PLC0415

    work.check(lake, drop)


def plan(job: Job, *, lake: str, drop: str, key: str | None, **_: Any) -> list[dict[str, Any]]:  # noqa: ANN401, ARG001
    """The files that wait, the partition each would fill, and what the lake holds of it."""
    from extract_dropped_files import work  # noqa: PLC0415

    return work.plan(lake, drop, key)


main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)

if __name__ == "__main__":
    main()
