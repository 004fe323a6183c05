"""publish-marts: the marts as files and pages, a new version where something changed and nothing where nothing did."""

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
    from jobkit.store import Store

    from publish_marts.export import Exported, Mart
    from publish_marts.frames import Frames
    from publish_marts.publication import About, Pointer
    from publish_marts.row_changes import Changes
    from publish_marts.terms import Audience
    from publish_marts.warehouse import Warehouse

DOCS = "index.html"
OPTIONS = [
    options.warehouse(),
    options.warehouse_password(),
    options.storage("--site", required=True, help="Where to publish: a directory, file:///path or s3://bucket/prefix."),
    options.storage("--docs", help=f"Where transform-warehouse put the project's documentation ({DOCS}); without, none."),
    options.option(
        "--marts",
        multiple=True,
        type=options.MatchingText(r"[a-z][a-z0-9_]{0,62}", "the name of a mart such as fct_yield"),
        help="A mart to publish; repeat the option for more. Without, all tables of the schema marts.",
    ),
    options.option(
        "--audience",
        type=click.Choice(("internal", "public")),
        default="internal",
        show_default=True,
        help="Whom the site is for: a mart is published only where the terms of every dataset behind it allow that.",
    ),
]


@dataclass(frozen=True)
class New:
    """What is to be published: marts as files, frames for the pages."""

    as_of: str | None
    exported: Sequence[Exported]
    frames: Frames
    about: About


@dataclass(frozen=True)
class Draft:
    """What the warehouse has, by its hashes; `new` is None where just that is published already."""

    inputs: str | None
    content: str
    new: New | None


def run(
    job: Job, *, warehouse: str, warehouse_password: str, site: str, docs: str | None, marts: Sequence[str], audience: Audience
) -> None:
    """Publish the marts as files with a site that shows them: those that the site's audience may see."""
    from tempfile import TemporaryDirectory  # noqa: PLC0415  describe needs none of it

    from jobkit.store import open_store  # noqa: PLC0415

    from publish_marts import publication  # noqa: PLC0415

    store = open_store(site)
    publication.check_audience(store, audience)
    pointer, tag = publication.current(store)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with _snapshot(warehouse, warehouse_password) as snapshot:
            draft = _draft(job, snapshot, pointer, marts, audience, Path(folder), docs=bool(docs))
        after = pointer and replace(pointer, inputs=draft.inputs)
        publication.declare(store, audience)
        if draft.new:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            version = _write(job, store, draft.content, draft.new, pointer.version if pointer else None, _documentation(docs), now)
            after = publication.Pointer(version, draft.content, draft.inputs, now)
    if after and after != pointer:
        publication.point(store, after, tag)
    job.details.update(site=publication.lead(store), audience=audience)
    if after:
        _tell(job, publication.catalogue(store, after.version), "committed" if draft.new else "unchanged")


def _draft(
    job: Job, snapshot: Warehouse, pointer: Pointer | None, marts: Sequence[str], audience: Audience, folder: Path, *, docs: bool
) -> Draft:
    """What there is to publish; its rows are not looked at where the transform says they are those published."""
    from publish_marts import publication, selection  # noqa: PLC0415

    transform = snapshot.transform()
    inputs = publication.inputs(transform.fingerprint, marts, audience, docs=docs)
    if pointer and pointer.inputs == inputs:
        return Draft(inputs, pointer.content, None)
    as_of = f"{transform.as_of:%Y-%m-%d %H:%M}" if transform.as_of else None
    selected = selection.select(snapshot, transform, marts, audience)
    exported = _export(job, snapshot, selected.marts, folder)
    content = publication.content(exported, selected.about, as_of, docs=docs)
    if pointer and pointer.content == content:
        return Draft(inputs, content, None)
    from publish_marts import frames  # noqa: PLC0415  half a second for pandas

    read = frames.read(snapshot, selected.marts, selected.datasets)
    return Draft(inputs, content, New(as_of, exported, read, selected.about))


def _export(job: Job, snapshot: Warehouse, found: Sequence[Mart], folder: Path) -> list[Exported]:
    """The marts as files on this machine."""
    from publish_marts import export  # noqa: PLC0415

    exported = []
    for done, mart in enumerate(found):
        job.progress(done, len(found), mart.name)
        exported.append(export.export(snapshot, mart, folder))
    job.progress(len(found), len(found), "exported")
    return exported


def _write(job: Job, store: Store, content: str, new: New, previous: str | None, docs: bytes | None, now: str) -> str:
    """Draw the pages and write a version, of which nobody knows yet; gives its name."""
    from publish_marts import pages, publication  # noqa: PLC0415

    version = publication.version(content, previous)
    job.log.info("writing", extra={"version": version, "previous": previous})
    changes = _changes(store, previous, new.exported)
    about = pages.Version(version, previous, docs is not None, new.as_of, changes, new.about)
    rendered = pages.render(about, new.exported, new.frames)
    document = publication.describe(version, previous, new.exported, changes, new.about)
    publication.begin(store, version, new.about.audience, now)
    publication.write(store, version, new.exported, rendered, document, docs)
    publication.check_begun(store, version)
    return version


def _changes(store: Store, previous: str | None, exported: Sequence[Exported]) -> dict[str, Changes]:
    """Each mart's changes since the version before; its rows are read again only where they differ."""
    from io import BytesIO  # noqa: PLC0415

    from publish_marts import publication  # noqa: PLC0415
    from publish_marts import row_changes as changes  # noqa: PLC0415

    known = publication.catalogue(store, previous)["marts"] if previous else {}
    found = {}
    for one in exported:
        csv = known.get(one.mart.name, {}).get("files", {}).get("csv")
        if csv is None:
            found[one.mart.name] = changes.Changes(added=one.rows, removed=0, changed=0)
        elif csv["sha256"] == one.digest("csv"):
            found[one.mart.name] = changes.Changes(added=0, removed=0, changed=0)
        else:
            before = BytesIO(publication.read(store, str(previous), csv["path"]))
            found[one.mart.name] = changes.between(before, one.path("csv"), one.mart.key)
    return found


def _tell(job: Job, catalogue: Mapping[str, Any], outcome: Outcome) -> None:
    """The outcome of each mart of a version, and of those left out."""
    from publish_marts import selection  # noqa: PLC0415

    for name, mart in catalogue["marts"].items():
        size, digest = sum(file["bytes"] for file in mart["files"].values()), mart["files"]["parquet"]["sha256"]
        told = mart["changes"] if outcome == "committed" else {}
        version = f"version={catalogue['version']}"
        job.record_partition(f"site/{name}", version, outcome, rows=mart["rows"], bytes=size, sha256=digest, **told)
    job.details["left_out"] = catalogue.get("left_out", {})
    for what, why in job.details["left_out"].items():
        job.log.warning("left out", extra={"what": what, "why": why})
    for name, reason in selection.marts_left_out(job.details["left_out"]).items():
        job.record_partition(f"site/{name}", f"version={catalogue['version']}", "skipped", reason=reason)


def _documentation(docs: str | None) -> bytes | None:
    """The documentation of the dbt project. Raises MisconfiguredError when it was promised and is not there."""
    from jobkit.errors import MisconfiguredError  # noqa: PLC0415
    from jobkit.store import NotFoundError, open_store  # noqa: PLC0415

    if docs is None:
        return None
    shelf = open_store(docs)
    try:
        return shelf.get(DOCS)
    except NotFoundError:
        raise MisconfiguredError(
            f"no documentation at {shelf.uri(DOCS)}; run transform-warehouse with the same --docs first, or leave --docs out"
        ) from None


@contextmanager
def _snapshot(warehouse: str, password: str) -> Iterator[Warehouse]:
    from jobkit import secrets  # noqa: PLC0415

    from publish_marts.warehouse import snapshot  # noqa: PLC0415

    with snapshot(warehouse, secrets.resolve(password)) as opened:
        yield opened


def check(
    _job: Job, *, warehouse: str, warehouse_password: str, site: str, docs: str | None, marts: Sequence[str], audience: Audience
) -> None:
    """Whether the marts can be read, some of them may be published, and the site may be written."""
    from jobkit.store import open_store  # noqa: PLC0415

    from publish_marts import publication, selection  # noqa: PLC0415
    from publish_marts.warehouse import quoted  # noqa: PLC0415

    store = open_store(site)
    publication.check_audience(store, audience)
    with _snapshot(warehouse, warehouse_password) as snapshot:
        for mart in selection.select(snapshot, snapshot.transform(), marts, audience).marts:
            snapshot.rows(f"select 1 as one from marts.{quoted(mart.name)} limit 1")
    _documentation(docs)
    store.put("_check", b"written by the verb check\n")


def plan(
    _job: Job, *, warehouse: str, warehouse_password: str, site: str, docs: str | None, marts: Sequence[str], audience: Audience
) -> list[dict[str, Any]]:
    """Each mart, what is published of it, and whether this run would look at it again or leave it out."""
    from jobkit.store import open_store  # noqa: PLC0415

    from publish_marts import publication, selection  # noqa: PLC0415

    store = open_store(site)
    publication.check_audience(store, audience)
    pointer, _ = publication.current(store)
    with _snapshot(warehouse, warehouse_password) as snapshot:
        transform = snapshot.transform()
        selected = selection.select(snapshot, transform, marts, audience)
    inputs = publication.inputs(transform.fingerprint, marts, audience, docs=bool(docs))
    action = "none" if pointer and pointer.inputs == inputs else "export and compare"
    version = pointer.version if pointer else None
    actions = {mart.name: action for mart in selected.marts}
    actions |= {name: f"leave out: {reason}" for name, reason in selected.left_out_marts.items()}
    return [{"dataset": f"site/{name}", "published_version": version, "action": what} for name, what in sorted(actions.items())]


main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)

if __name__ == "__main__":
    main()
