"""transform-warehouse: the marts, built and tested by dbt inside Postgres; unchanged when nothing they are made of changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobkit import command, options

from transform_warehouse.moment import Moment

if TYPE_CHECKING:
    from datetime import datetime

    from jobkit.command import Job

DOCS = "index.html"
SCHEMAS = ("staging", "intermediate", "marts", "as_of", "as_of_internal", "ops")
OPTIONS = [
    options.warehouse(),
    options.warehouse_password(),
    options.option("--project", metavar="PATH", help="The dbt project; in a checkout its dbt folder is found without."),
    options.option("--as-of", type=Moment(), metavar="TIMESTAMP", help="Build from the rows that were known then, not now."),
    options.place("--docs", help=f"A directory or s3://bucket/prefix to write the project's documentation to, as {DOCS}."),
]


def run(job: Job, *, warehouse: str, warehouse_password: str, project: str | None, as_of: datetime | None, docs: str | None) -> None:
    """Build and test the marts."""
    from tempfile import TemporaryDirectory  # noqa: PLC0415  describe needs none of it

    from jobkit import secrets, store  # noqa: PLC0415

    from transform_warehouse import books, lineage, moment  # noqa: PLC0415
    from transform_warehouse import project as projects  # noqa: PLC0415

    root, password = projects.find(project), secrets.resolve(warehouse_password)
    shelf = store.open_store(docs) if docs else None
    with books.opened(warehouse, password) as book:
        moment.check_passed(book, as_of)
        book.wait_for_turn(job.log)
        made_of = book.fingerprint(projects.fingerprint(root), as_of)
        if book.is_current(made_of, projects.marts(root)) and (shelf is None or shelf.exists(DOCS)):
            for mart in projects.marts(root):
                job.outcome(f"marts.{mart}", "all", "unchanged")
            return
        shape = book.shape(projects.fingerprint(root), as_of)
        from transform_warehouse import as_of as as_of_views  # noqa: PLC0415
        from transform_warehouse import dbt  # noqa: PLC0415  two seconds to import

        dbt.name_warehouse(warehouse, password)
        database = book.rows("select current_database() as name")[0]["name"]
        manifest = projects.manifest(root, database=database)
        made = book.transform(job.run_id, made_of, as_of, shape, lineage.models(manifest))
        with TemporaryDirectory(ignore_cleanup_errors=True) as scratch, made as changes_only:
            job.log.info("building", extra={"project": root, "as_of": as_of, "changes_only": changes_only})
            place: dict[str, Any] = {"project": root, "scratch": Path(scratch), "manifest": manifest}
            changed = lineage.select_changed(manifest, book.new_datasets(), book.tables()) if changes_only else None
            models = dbt.build(job, book, as_of=as_of.isoformat() if as_of else None, changed=changed, **place)
            compiled = {name: getattr(node, "compiled_code", None) or "" for name, node in manifest.nodes.items()}
            found = lineage.describe(manifest, compiled, book.tables())
            book.record_lineage(job.run_id, lineage.merge(book.last_lineage(), found) if changes_only else found)
            if as_of is None and not changes_only:  # only then are the models compiled for all rows
                sources = [(source.schema, source.identifier) for source in manifest.sources.values()]
                as_of_views.refresh(book, job.log, models, sources, database)
            if shelf is not None:
                shelf.put(DOCS, dbt.docs(**place), "text/html")


def check(
    _job: Job, *, warehouse: str, warehouse_password: str, project: str | None, as_of: datetime | None, docs: str | None, **_unused: object
) -> None:
    """Project, credentials, the moment asked for, and the rights to read raw tables and to make marts."""
    from jobkit import secrets, store  # noqa: PLC0415
    from jobkit.errors import MisconfiguredError  # noqa: PLC0415

    from transform_warehouse import books, moment  # noqa: PLC0415
    from transform_warehouse import project as projects  # noqa: PLC0415

    projects.find(project)
    if docs:
        store.open_store(docs).exists(DOCS)
    with books.opened(warehouse, secrets.resolve(warehouse_password)) as book:
        moment.check_passed(book, as_of)
        if missing := book.missing_right(SCHEMAS):
            raise MisconfiguredError(f"{books.where_is(warehouse)}: the job's user lacks {missing}; grant it, as scripts/roles does")


def plan(
    _job: Job, *, warehouse: str, warehouse_password: str, project: str | None, as_of: datetime | None, **_unused: object
) -> list[dict[str, Any]]:
    """Each mart, and whether it would be built."""
    from jobkit import secrets  # noqa: PLC0415

    from transform_warehouse import books, moment  # noqa: PLC0415
    from transform_warehouse import project as projects  # noqa: PLC0415

    root = projects.find(project)
    with books.opened(warehouse, secrets.resolve(warehouse_password)) as book:
        moment.check_passed(book, as_of)
        current = book.is_current(book.fingerprint(projects.fingerprint(root), as_of), projects.marts(root))
    return [{"dataset": f"marts.{mart}", "action": "none" if current else "build"} for mart in projects.marts(root)]


main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)

if __name__ == "__main__":
    main()
