"""The options and verbs of register-iceberg-tables, with which any engine reads the lake as Iceberg tables raw.<dataset>."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobkit import command, options

if TYPE_CHECKING:
    from jobkit.command import Job

OPTIONS = [
    options.lake(),
    options.option(
        "--dataset", multiple=True, help="A dataset to register; repeat the option for more. Default: all datasets in the lake."
    ),
    options.option(
        "--catalog",
        default="sqlite",
        show_default=True,
        type=options.MatchingText(r"glue|sqlite(:///.+)?", "a catalogue: sqlite, sqlite:///path or glue"),
        help="The catalogue of the tables: sqlite is iceberg/catalog.db in a lake that is a directory, glue is that of the AWS account.",
    ),
    options.option(
        "--namespace",
        default="raw",
        show_default=True,
        type=options.MatchingText(r"[a-z][a-z0-9_]{0,62}", "a namespace such as raw"),
        help="The namespace of the tables, which Glue calls a database.",
    ),
]


def run(job: Job, *, lake: str, dataset: tuple[str, ...], catalog: str, namespace: str) -> None:
    """Register every commit that the tables do not have yet."""
    from register_iceberg_tables import runner  # noqa: PLC0415  pyiceberg is slow to import and `describe` does not need it

    runner.run(job, lake, dataset, catalog, namespace)


def check(job: Job, *, lake: str, catalog: str, namespace: str, **_: Any) -> None:  # noqa: ANN401, ARG001
    """Check that the catalogue can be opened and listed, and the lake too."""
    from register_iceberg_tables import runner  # noqa: PLC0415

    runner.check(lake, catalog, namespace)


def plan(job: Job, *, lake: str, dataset: tuple[str, ...], catalog: str, namespace: str) -> list[dict[str, Any]]:  # noqa: ARG001
    """List the snapshots that `run` would add, each with its commits."""
    from register_iceberg_tables import runner  # noqa: PLC0415

    return runner.plan(lake, dataset, catalog, namespace)


main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)

if __name__ == "__main__":
    main()
