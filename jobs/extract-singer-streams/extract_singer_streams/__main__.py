"""Extract the streams of a Singer tap to the lake: quarantine, as-of history and exactly-once loading for any connector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from jobkit import command, options

if TYPE_CHECKING:
    from jobkit.command import Job

FILE = click.Path(exists=True, dir_okay=False)


OPTIONS = [
    options.lake(),
    options.option(
        "--connection",
        required=True,
        type=options.MatchingText(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "a name of letters, digits and . _ -"),
        help="The name of this connection: the partition connection=NAME has its rows and its state.",
    ),
    options.option("--tap", required=True, metavar="COMMAND", help="The tap, such as /tap/bin/tap-acme. It runs with its own Python."),
    options.option(
        "--stream", required=True, multiple=True, metavar="STREAM=DATASET", help="A stream and its dataset; repeat the option for more."
    ),
    options.option(
        "--contracts",
        type=click.Path(exists=True, file_okay=False),
        help="The folder with DATASET.odcs.yaml for each dataset. Default: the package of the job.",
    ),
    options.option("--tap-config", type=FILE, help="The tap's config, a JSON file without secrets."),
    options.option(
        "--tap-secrets",
        type=options.SecretReference(),
        metavar="REF",
        help="Reference to the secret part of the config: a JSON object on one line, which is merged into it.",
    ),
    options.option("--tap-catalog", type=FILE, help="The tap's catalog, a JSON file that selects streams and columns."),
    options.option("--full-refresh", is_flag=True, help="Run the tap without its state, and replace what the lake has of the streams."),
    options.allow_shrinking(),
]


def run(job: Job, *, full_refresh: bool, allow_shrinking: bool, **values: Any) -> None:  # noqa: ANN401
    """Run the tap and commit its streams, then its state."""
    from extract_singer_streams import runner  # noqa: PLC0415  describe needs none of it

    runner.run(job, runner.Connection(**values), full_refresh=full_refresh, allow_shrinking=allow_shrinking)


def check(job: Job, *, full_refresh: bool, allow_shrinking: bool, **values: Any) -> None:  # noqa: ANN401, ARG001
    """Load the contracts, test the lake, and let the tap list its streams."""
    from extract_singer_streams import runner  # noqa: PLC0415

    runner.check(job, runner.Connection(**values))


def plan(_job: Job, *, full_refresh: bool, allow_shrinking: bool, **values: Any) -> list[dict[str, Any]]:  # noqa: ANN401, ARG001
    """List the streams with their partitions and latest commits."""
    from extract_singer_streams import runner  # noqa: PLC0415

    return runner.plan(runner.Connection(**values))


main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)

if __name__ == "__main__":
    main()
