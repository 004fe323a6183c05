"""The options and verbs of register-iceberg-tables, with which any engine reads datasets and marts as Iceberg tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobkit import command, options

if TYPE_CHECKING:
    from jobkit.command import Job

NAMESPACE = options.MatchingText(r"[a-z][a-z0-9_]{0,62}", "a namespace such as raw")
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
        "--namespace", default="raw", show_default=True, type=NAMESPACE, help="The namespace of the datasets, a database in Glue."
    ),
    options.storage("--site", help="The site of publish-marts, to register its marts as well: a directory or s3://bucket/prefix."),
    options.option("--site-namespace", default="published", show_default=True, type=NAMESPACE, help="The namespace of the marts."),
]


def run(job: Job, *, lake: str, dataset: tuple[str, ...], catalog: str, namespace: str, site: str | None, site_namespace: str) -> None:
    """Register every commit, and every version of a mart, that the tables do not have yet."""
    from register_iceberg_tables import runner  # noqa: PLC0415  pyiceberg is slow to import and `describe` does not need it

    runner.run(job, lake, dataset, catalog, namespace, site, site_namespace)


def check(job: Job, *, lake: str, catalog: str, namespace: str, site: str | None, **_: Any) -> None:  # noqa: ANN401, ARG001
    """Check that the catalogue can be opened and listed, and the lake and the site too."""
    from register_iceberg_tables import runner  # noqa: PLC0415

    runner.check(lake, catalog, namespace, site)


def plan(
    job: Job,  # noqa: ARG001
    *,
    lake: str,
    dataset: tuple[str, ...],
    catalog: str,
    namespace: str,
    site: str | None,
    site_namespace: str,
) -> list[dict[str, Any]]:
    """List the snapshots that `run` would add, each with its commits or its version."""
    from register_iceberg_tables import runner  # noqa: PLC0415

    return runner.plan(lake, dataset, catalog, namespace, site, site_namespace)


main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)

if __name__ == "__main__":
    main()
