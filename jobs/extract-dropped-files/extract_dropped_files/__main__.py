"""Extract dropped files to the lake, each against the contract of its folder. A refused file is moved away with the reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobkit import command, options

if TYPE_CHECKING:
    from jobkit.command import Job

OPTIONS = [
    options.lake(),
    options.storage("--drop", required=True, help="Where files wait as DATASET/NAME: a directory or s3://bucket/prefix."),
    options.option("--key", metavar="DATASET/NAME", help="The file to take. Default: all files that wait."),
    options.allow_shrinking(),
]


def run(job: Job, *, lake: str, drop: str, key: str | None, allow_shrinking: bool) -> None:
    """Take the dropped files. A refused file does not stop the others."""
    from extract_dropped_files import runner  # noqa: PLC0415  describe needs none of it

    runner.run(job, lake, drop, key, allow_shrinking=allow_shrinking)


def check(job: Job, *, lake: str, drop: str, **_: Any) -> None:  # noqa: ANN401, ARG001
    """Load the contracts, list the drop and the lake."""
    from extract_dropped_files import runner  # noqa: PLC0415

    runner.check(lake, drop)


def plan(job: Job, *, lake: str, drop: str, key: str | None, **_: Any) -> list[dict[str, Any]]:  # noqa: ANN401, ARG001
    """List the files that wait, the partitions that each would fill, and their latest commits."""
    from extract_dropped_files import runner  # noqa: PLC0415

    return runner.plan(lake, drop, key)


main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)

if __name__ == "__main__":
    main()
