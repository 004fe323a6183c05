"""The options and verbs of publish-marts. A run writes a new version of the site only if something changed."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from jobkit import command, options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jobkit.command import Job
    from jobkit.receipt import Outcome
    from jobkit.stores import Store

    from publish_marts.export import ExportedMart, Mart
    from publish_marts.frames import Frames
    from publish_marts.publication import Pointer, PublicationTerms
    from publish_marts.row_changes import RowChanges
    from publish_marts.terms import Audience
    from publish_marts.warehouse import Warehouse

DOCS_KEY = "index.html"
OPTIONS = [
    options.warehouse(),
    options.warehouse_password(),
    options.storage("--site", required=True, help="Where to publish: a directory, file:///path or s3://bucket/prefix."),
    options.storage("--docs", help=f"Where transform-warehouse wrote the dbt documentation ({DOCS_KEY}). Default: publish none."),
    options.option(
        "--marts",
        multiple=True,
        type=options.MatchingText(r"[a-z][a-z0-9_]{0,62}", "the name of a mart such as fct_yield"),
        help="A mart to publish; repeat the option for more. Default: all tables of the schema marts.",
    ),
    options.option(
        "--audience",
        type=click.Choice(("internal", "public")),
        default="internal",
        show_default=True,
        help="Who may see the site. A mart is published only if the terms of every dataset behind it allow it.",
    ),
]


@dataclass(frozen=True)
class NewVersion:
    """What a new version is made from: the exported marts, and the frames for the pages. `as_of` is in UTC."""

    as_of: str | None
    exported: Sequence[ExportedMart]
    frames: Frames
    terms: PublicationTerms
    lineage: Mapping[str, Any]


@dataclass(frozen=True)
class Draft:
    """The hashes of what the warehouse has. `new_version` is None if the same content is already published."""

    inputs_hash: str | None
    content_hash: str
    new_version: NewVersion | None


def run(
    job: Job, *, warehouse: str, warehouse_password: str, site: str, docs: str | None, marts: Sequence[str], audience: Audience
) -> None:
    """Publish the marts that the site's audience may see, as files and as a site that shows them.

    Raises MisconfiguredError (78) if the site has another audience or no mart may be published, TemporaryError (75) if another run
    publishes at the same time or the last transform has not finished, BadDataError (65) for a mart that cannot be exported.
    """
    from tempfile import TemporaryDirectory  # noqa: PLC0415  describe needs none of it

    from jobkit.stores import open_store  # noqa: PLC0415

    from publish_marts import latest, publication  # noqa: PLC0415

    store = open_store(site)
    publication.check_audience(store, audience)
    pointer, etag = publication.read_pointer(store)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with _open_snapshot(warehouse, warehouse_password) as snapshot:
            draft = _prepare_draft(job, snapshot, store, pointer, marts, audience, Path(folder), docs=bool(docs))
        new_pointer = pointer and replace(pointer, inputs=draft.inputs_hash)
        publication.declare_audience(store, audience)
        if draft.new_version:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            previous = pointer.version if pointer else None
            version = _write_version(job, store, draft.content_hash, draft.new_version, previous, _read_docs(docs), now)
            new_pointer = publication.Pointer(version, draft.content_hash, draft.inputs_hash, now)
    if new_pointer and new_pointer != pointer:
        publication.set_current(store, new_pointer, etag)
    job.details.update(site=publication.refresh_landing_page(store), audience=audience)
    latest.refresh_files(store)
    if new_pointer:
        outcome: Outcome = "committed" if draft.new_version else "unchanged"
        _record_outcomes(job, publication.read_catalogue(store, new_pointer.version), outcome)


def _prepare_draft(
    job: Job,
    snapshot: Warehouse,
    store: Store,
    pointer: Pointer | None,
    marts: Sequence[str],
    audience: Audience,
    folder: Path,
    *,
    docs: bool,
) -> Draft:
    """Export the marts and compare them with the published ones, unless the transform's fingerprint shows that nothing changed."""
    from publish_marts import publication, selection  # noqa: PLC0415

    transform = snapshot.read_last_transform()
    inputs = publication.hash_inputs(transform.fingerprint, marts, audience, docs=docs)
    if pointer and pointer.inputs == inputs:
        return Draft(inputs, pointer.content, None)
    as_of = f"{transform.as_of:%Y-%m-%d %H:%M}" if transform.as_of else None
    selected = selection.select_marts(snapshot, transform, marts, audience)
    published = publication.read_reusable_marts(store, pointer)
    exported = _export_marts(job, snapshot, selected.marts, published, folder)
    content = publication.hash_content(exported, selected.terms, as_of, docs=docs)
    if pointer and pointer.content == content:
        return Draft(inputs, content, None)
    from publish_marts import frames  # noqa: PLC0415  half a second for pandas

    page_frames = frames.read_frames(snapshot, selected.marts, selected.datasets, transform.lineage)
    return Draft(inputs, content, NewVersion(as_of, exported, page_frames, selected.terms, transform.lineage))


def _export_marts(job: Job, snapshot: Warehouse, marts: Sequence[Mart], published: Mapping[str, Any], folder: Path) -> list[ExportedMart]:
    """Export the marts to local files, except those whose rows are the published ones."""
    from publish_marts import export  # noqa: PLC0415

    exported = []
    for index, mart in enumerate(marts):
        job.progress(index, len(marts), mart.name)
        state = export.read_state(snapshot, mart)
        reused = export.reuse_mart(mart, state, published.get(mart.name), folder)
        exported.append(reused or export.export_mart(snapshot, mart, folder, state))
    job.progress(len(marts), len(marts), "exported")
    return exported


def _write_version(
    job: Job, store: Store, content_hash: str, new_version: NewVersion, previous: str | None, docs: bytes | None, now: str
) -> str:
    """Render and write a version; return its name. Readers do not see it until the pointer names it."""
    from publish_marts import pages, publication, web  # noqa: PLC0415

    version = publication.name_version(content_hash, previous)
    job.log.info("writing", extra={"version": version, "previous": previous})
    publication.fetch_reused_files(store, previous, new_version.exported)
    changes = _count_changes(store, previous, new_version.exported)
    info = pages.VersionInfo(version, previous, docs is not None, new_version.as_of, changes, new_version.terms, new_version.lineage)
    rendered = pages.render_pages(info, new_version.exported, new_version.frames)
    catalogue = publication.build_catalogue(version, previous, new_version.exported, changes, new_version.terms)
    publication.begin_version(store, version, new_version.terms.audience, now)
    web.write_console(store)
    publication.write_version(store, version, new_version.exported, rendered, catalogue, docs)
    publication.check_not_withdrawn(store, version)
    return version


def _count_changes(store: Store, previous: str | None, exported: Sequence[ExportedMart]) -> dict[str, RowChanges]:
    """Count each mart's changed rows since the previous version. The rows are compared only if the files differ."""
    from publish_marts import publication, row_changes  # noqa: PLC0415

    previous_marts = publication.read_catalogue(store, previous)["marts"] if previous else {}
    changes = {}
    for exported_mart in exported:
        mart = exported_mart.mart
        csv = previous_marts.get(mart.name, {}).get("files", {}).get("csv")
        if csv is None:
            changes[mart.name] = row_changes.RowChanges(added=exported_mart.rows, removed=0, changed=0)
        elif csv["sha256"] == exported_mart.digest("csv"):
            changes[mart.name] = row_changes.RowChanges(added=0, removed=0, changed=0)
        else:
            path = exported_mart.path("csv")
            previous_csv = path.with_suffix(".previous")
            publication.fetch_file(store, str(previous), csv["path"], previous_csv)
            changes[mart.name] = row_changes.compare_versions(previous_csv, path, mart.key)
            previous_csv.unlink()
    return changes


def _record_outcomes(job: Job, catalogue: Mapping[str, Any], outcome: Outcome) -> None:
    """Record the outcome of each mart of a version, and of each mart that was not published."""
    from publish_marts import selection  # noqa: PLC0415

    version = f"version={catalogue['version']}"
    for name, mart in catalogue["marts"].items():
        size, digest = sum(file["bytes"] for file in mart["files"].values()), mart["files"]["parquet"]["sha256"]
        changes = mart["changes"] if outcome == "committed" else {}
        job.record_partition(
            f"site/{name}", f"version={catalogue['version']}", outcome, rows=mart["rows"], bytes=size, sha256=digest, **changes
        )
    job.details["left_out"] = catalogue.get("left_out", {})
    for what, why in job.details["left_out"].items():
        job.log.warning("not published", extra={"what": what, "why": why})
    for name, reason in selection.select_whole_marts(job.details["left_out"]).items():
        job.record_partition(f"site/{name}", version, "skipped", reason=reason)


def _read_docs(docs: str | None) -> bytes | None:
    """Read the dbt documentation, if there is a URL for it. Raises MisconfiguredError if the file does not exist."""
    from jobkit.errors import MisconfiguredError  # noqa: PLC0415
    from jobkit.stores import NotFoundError, open_store  # noqa: PLC0415

    if docs is None:
        return None
    docs_store = open_store(docs)
    try:
        return docs_store.get(DOCS_KEY)
    except NotFoundError:
        raise MisconfiguredError(
            f"no documentation at {docs_store.uri(DOCS_KEY)}; run transform-warehouse with the same --docs first, or omit --docs"
        ) from None


@contextmanager
def _open_snapshot(warehouse: str, password: str) -> Iterator[Warehouse]:
    from jobkit import secrets  # noqa: PLC0415

    from publish_marts.warehouse import open_snapshot  # noqa: PLC0415

    with open_snapshot(warehouse, secrets.resolve(password)) as snapshot:
        yield snapshot


def check(
    _job: Job, *, warehouse: str, warehouse_password: str, site: str, docs: str | None, marts: Sequence[str], audience: Audience
) -> None:
    """Check that the marts can be read, that at least one may be published, and that the site can be written."""
    from jobkit.stores import open_store  # noqa: PLC0415

    from publish_marts import publication, selection  # noqa: PLC0415
    from publish_marts.warehouse import quote_name  # noqa: PLC0415

    store = open_store(site)
    publication.check_audience(store, audience)
    with _open_snapshot(warehouse, warehouse_password) as snapshot:
        for mart in selection.select_marts(snapshot, snapshot.read_last_transform(), marts, audience).marts:
            snapshot.fetch_rows(f"select 1 as one from marts.{quote_name(mart.name)} limit 1")
    _read_docs(docs)
    store.put("_check", b"written by the verb check\n")


def plan(
    _job: Job, *, warehouse: str, warehouse_password: str, site: str, docs: str | None, marts: Sequence[str], audience: Audience
) -> list[dict[str, Any]]:
    """List each mart with its published version, and say whether a run would export it, skip it or do nothing."""
    from jobkit.stores import open_store  # noqa: PLC0415

    from publish_marts import publication, selection  # noqa: PLC0415

    store = open_store(site)
    publication.check_audience(store, audience)
    pointer, _ = publication.read_pointer(store)
    with _open_snapshot(warehouse, warehouse_password) as snapshot:
        transform = snapshot.read_last_transform()
        selected = selection.select_marts(snapshot, transform, marts, audience)
    inputs = publication.hash_inputs(transform.fingerprint, marts, audience, docs=bool(docs))
    action = "none" if pointer and pointer.inputs == inputs else "export and compare"
    version = pointer.version if pointer else None
    actions = {mart.name: action for mart in selected.marts}
    actions |= {name: f"skip: {reason}" for name, reason in selected.left_out_marts.items()}
    return [{"dataset": f"site/{name}", "published_version": version, "action": action} for name, action in sorted(actions.items())]


main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)

if __name__ == "__main__":
    main()
