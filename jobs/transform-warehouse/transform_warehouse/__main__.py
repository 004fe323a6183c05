"""transform-warehouse: build and test the marts with dbt inside Postgres; unchanged if nothing they are made of changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobkit import command, options

from transform_warehouse.moment import MomentType

if TYPE_CHECKING:
    from datetime import datetime

    from jobkit.command import Job

DOCS_FILE = "index.html"
SCHEMAS = ("staging", "intermediate", "marts", "as_of", "as_of_internal", "ops")
OPTIONS = [
    options.warehouse(),
    options.warehouse_password(),
    options.option("--project", metavar="PATH", help="The folder of the dbt project. Default in a checkout: its dbt folder."),
    options.option("--as-of", type=MomentType(), metavar="TIMESTAMP", help="Build from the rows that were known then, not now."),
    options.storage("--docs", help=f"A directory or s3://bucket/prefix to write the project's documentation to, as {DOCS_FILE}."),
]


def run(job: Job, *, warehouse: str, warehouse_password: str, project: str | None, as_of: datetime | None, docs: str | None) -> None:
    """Build and test the marts."""
    import gc  # noqa: PLC0415  describe needs none of it
    from tempfile import TemporaryDirectory  # noqa: PLC0415

    from jobkit import secrets, stores  # noqa: PLC0415

    from transform_warehouse import field_lineage, lineage, manifest_cache  # noqa: PLC0415
    from transform_warehouse.build_log import open_build_log  # noqa: PLC0415
    from transform_warehouse.freshness import record_late_datasets  # noqa: PLC0415
    from transform_warehouse.moment import check_moment_passed  # noqa: PLC0415
    from transform_warehouse.project import compute_fingerprint, find_project, list_marts  # noqa: PLC0415

    root, password = find_project(project), secrets.resolve(warehouse_password)
    marts, project_fingerprint = list_marts(root), compute_fingerprint(root)
    docs_store = stores.open_store(docs) if docs else None
    with open_build_log(warehouse, password) as build_log:
        build_log.check_formats()
        check_moment_passed(build_log, as_of)
        build_log.acquire_lock(job.log)
        fingerprint = build_log.compute_fingerprint(project_fingerprint, as_of)
        if build_log.is_current(fingerprint, marts) and (docs_store is None or docs_store.exists(DOCS_FILE)):
            for mart in marts:
                job.record_partition(f"marts.{mart}", "all", "unchanged")
            record_late_datasets(job, build_log)
            return
        signature = build_log.compute_signature(project_fingerprint, as_of)
        gc.disable()  # dbt's many modules and the manifest live until the job ends: search them for garbage neither now nor later
        from transform_warehouse import as_of as as_of_views  # noqa: PLC0415
        from transform_warehouse import dbt  # noqa: PLC0415  two seconds to import

        dbt.export_dbt_env(warehouse, password)
        database = build_log.execute("select current_database() as name")[0]["name"]
        manifest = manifest_cache.load_manifest(root, database=database)
        gc.freeze()
        gc.enable()
        transform = build_log.record_transform(job.run_id, fingerprint, as_of, signature, lineage.find_models(manifest))
        with TemporaryDirectory(ignore_cleanup_errors=True) as scratch, transform as changes_only:
            job.log.info("building", extra={"project": root, "as_of": as_of, "changes_only": changes_only})
            folders: dict[str, Any] = {"project": root, "scratch": Path(scratch), "manifest": manifest}
            changed = None
            if changes_only:
                changed = lineage.select_changed(manifest, build_log.fetch_new_datasets(), build_log.fetch_relations())
            models = dbt.build(job, build_log, as_of=as_of.isoformat() if as_of else None, changed=changed, **folders)
            compiled = {name: getattr(node, "compiled_code", None) or "" for name, node in manifest.nodes.items()}
            described = lineage.describe_lineage(manifest, compiled, build_log.fetch_relations())
            if not changes_only:
                described["fields"] = field_lineage.trace_fields(models, build_log.fetch_columns(), database, job.log)
            else:
                described = lineage.merge_lineages(build_log.fetch_last_lineage(), described)
            build_log.record_lineage(job.run_id, described)
            if as_of is None and not changes_only:  # only then are the models compiled for all rows
                sources = [(source.schema, source.identifier) for source in manifest.sources.values()]
                as_of_views.refresh_views(build_log, job.log, models, sources, database)
            if docs_store is not None:
                docs_store.put(DOCS_FILE, dbt.generate_docs(**folders), "text/html")
        record_late_datasets(job, build_log)


def check(
    _job: Job, *, warehouse: str, warehouse_password: str, project: str | None, as_of: datetime | None, docs: str | None, **_unused: object
) -> None:
    """Check the project, the login, the as-of moment, and the rights to read raw tables and write marts."""
    from jobkit import secrets, stores  # noqa: PLC0415
    from jobkit.errors import MisconfiguredError  # noqa: PLC0415

    from transform_warehouse.build_log import describe_warehouse, open_build_log  # noqa: PLC0415
    from transform_warehouse.moment import check_moment_passed  # noqa: PLC0415
    from transform_warehouse.project import find_project  # noqa: PLC0415

    find_project(project)
    if docs:
        stores.open_store(docs).exists(DOCS_FILE)
    with open_build_log(warehouse, secrets.resolve(warehouse_password)) as build_log:
        check_moment_passed(build_log, as_of)
        if missing := build_log.find_missing_right(SCHEMAS):
            raise MisconfiguredError(f"{describe_warehouse(warehouse)}: the job's user lacks {missing}; grant it, as scripts/roles does")
        build_log.check_formats()


def plan(
    _job: Job, *, warehouse: str, warehouse_password: str, project: str | None, as_of: datetime | None, **_unused: object
) -> list[dict[str, Any]]:
    """List the marts, each with whether it would be built."""
    from jobkit import secrets  # noqa: PLC0415

    from transform_warehouse.build_log import open_build_log  # noqa: PLC0415
    from transform_warehouse.moment import check_moment_passed  # noqa: PLC0415
    from transform_warehouse.project import compute_fingerprint, find_project, list_marts  # noqa: PLC0415

    root = find_project(project)
    marts = list_marts(root)
    with open_build_log(warehouse, secrets.resolve(warehouse_password)) as build_log:
        build_log.check_formats()
        check_moment_passed(build_log, as_of)
        is_current = build_log.is_current(build_log.compute_fingerprint(compute_fingerprint(root), as_of), marts)
    return [{"dataset": f"marts.{mart}", "action": "none" if is_current else "build"} for mart in marts]


main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)

if __name__ == "__main__":
    main()
