"""publish-marts: the marts as files and pages, a new version where something changed and nothing where nothing did."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobkit import command, options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jobkit.command import Job
    from jobkit.receipt import Outcome
    from jobkit.store import Store

    from publish_marts.changes import Changes
    from publish_marts.export import Exported
    from publish_marts.frames import Frames
    from publish_marts.publication import Pointer
    from publish_marts.warehouse import Warehouse

DOCS = "index.html"
OPTIONS = [
    options.warehouse(),
    options.warehouse_password(),
    options.option("--site", required=True, metavar="URL", help="Where to publish: a directory, file:///path or s3://bucket/prefix."),
    options.option("--docs", metavar="URL", help=f"Where transform-warehouse put the project's documentation ({DOCS}); without, none."),
    options.option(
        "--marts",
        multiple=True,
        type=options.Matching(r"[a-z][a-z0-9_]{0,62}", "the name of a mart such as fct_yield"),
        help="A mart to publish; repeat the option for more. Without, all tables of the schema marts.",
    ),
]


@dataclass(frozen=True)
class New:
    """What is to be published: marts as files, frames for the pages."""

    as_of: str | None
    exported: Sequence[Exported]
    frames: Frames


@dataclass(frozen=True)
class Draft:
    """What the warehouse has, by its hashes; `new` is None where just that is published already."""

    inputs: str | None
    content: str
    new: New | None


def run(job: Job, *, warehouse: str, warehouse_password: str, site: str, docs: str | None, marts: Sequence[str]) -> None:
    """Publish the marts as files with a site that shows them."""
    from tempfile import TemporaryDirectory  # noqa: PLC0415  describe needs none of it

    from jobkit.store import open_store  # noqa: PLC0415

    from publish_marts import publication  # noqa: PLC0415

    store = open_store(site)
    pointer, tag = publication.current(store)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with _snapshot(warehouse, warehouse_password) as snapshot:
            draft = _draft(job, snapshot, pointer, marts, Path(folder), docs=bool(docs))
        after = pointer and replace(pointer, inputs=draft.inputs)
        if draft.new:
            version = _write(job, store, draft.content, draft.new, pointer.version if pointer else None, _documentation(docs))
            now = datetime.now(UTC).isoformat(timespec="seconds")
            after = publication.Pointer(version, draft.content, draft.inputs, now)
    if after and after != pointer:
        publication.point(store, after, tag)
    job.details["site"] = publication.lead(store)
    if after:
        _tell(job, publication.catalogue(store, after.version), "committed" if draft.new else "unchanged")


def _draft(job: Job, snapshot: Warehouse, pointer: Pointer | None, marts: Sequence[str], folder: Path, *, docs: bool) -> Draft:
    """What there is to publish; its rows are not looked at where the transform says they are those published."""
    from publish_marts import publication  # noqa: PLC0415

    transform = snapshot.transform()
    inputs = publication.inputs(transform.fingerprint, marts, docs=docs) if transform else None
    if pointer and inputs and pointer.inputs == inputs:
        return Draft(inputs, pointer.content, None)
    as_of = f"{transform.as_of:%Y-%m-%d %H:%M}" if transform and transform.as_of else None
    exported = _export(job, snapshot, marts, folder)
    content = publication.content(exported, as_of, docs=docs)
    if pointer and pointer.content == content:
        return Draft(inputs, content, None)
    from publish_marts import frames  # noqa: PLC0415  half a second for pandas

    return Draft(inputs, content, New(as_of, exported, frames.read(snapshot, [one.mart for one in exported])))


def _export(job: Job, snapshot: Warehouse, wanted: Sequence[str], folder: Path) -> list[Exported]:
    """The marts as files on this machine."""
    from publish_marts import export  # noqa: PLC0415

    exported = []
    found = export.marts(snapshot, wanted)
    for done, mart in enumerate(found):
        job.progress(done, len(found), mart.name)
        exported.append(export.export(snapshot, mart, folder))
    job.progress(len(found), len(found), "exported")
    return exported


def _write(job: Job, store: Store, content: str, new: New, previous: str | None, docs: bytes | None) -> str:
    """Draw the pages and write a version, of which nobody knows yet; gives its name."""
    from publish_marts import pages, publication  # noqa: PLC0415

    version = publication.version(content, previous)
    job.log.info("writing", extra={"version": version, "previous": previous})
    changes = _changes(store, previous, new.exported)
    rendered = pages.render(pages.Version(version, previous, docs is not None, new.as_of, changes), new.exported, new.frames)
    document = publication.describe(version, previous, new.exported, changes)
    publication.write(store, version, new.exported, rendered, document, docs)
    return version


def _changes(store: Store, previous: str | None, exported: Sequence[Exported]) -> dict[str, Changes]:
    """Each mart's changes since the version before; its rows are read again only where they differ."""
    from io import BytesIO  # noqa: PLC0415

    from publish_marts import changes, publication  # noqa: PLC0415

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
    """The outcome of each mart of a version."""
    for name, mart in catalogue["marts"].items():
        size, digest = sum(file["bytes"] for file in mart["files"].values()), mart["files"]["parquet"]["sha256"]
        told = mart["changes"] if outcome == "committed" else {}
        job.outcome(f"site/{name}", f"version={catalogue['version']}", outcome, rows=mart["rows"], bytes=size, sha256=digest, **told)


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


def check(_job: Job, *, warehouse: str, warehouse_password: str, site: str, docs: str | None, marts: Sequence[str]) -> None:
    """Nothing, when the marts can be read and the site may be written."""
    from jobkit.store import open_store  # noqa: PLC0415

    from publish_marts import export  # noqa: PLC0415

    with _snapshot(warehouse, warehouse_password) as snapshot:
        for mart in export.marts(snapshot, marts):
            snapshot.rows(f"select 1 as one from marts.{mart.name} limit 1")
    _documentation(docs)
    open_store(site).put("_check", b"written by the verb check\n")


def plan(_job: Job, *, warehouse: str, warehouse_password: str, site: str, docs: str | None, marts: Sequence[str]) -> list[dict[str, Any]]:
    """Each mart, what is published of it, and whether this run would look at it again."""
    from jobkit.store import open_store  # noqa: PLC0415

    from publish_marts import export, publication  # noqa: PLC0415

    store = open_store(site)
    pointer, _ = publication.current(store)
    with _snapshot(warehouse, warehouse_password) as snapshot:
        transform = snapshot.transform()
        found = export.marts(snapshot, marts)
    inputs = publication.inputs(transform.fingerprint, marts, docs=bool(docs)) if transform else None
    action = "none" if pointer and inputs and pointer.inputs == inputs else "export and compare"
    version = pointer.version if pointer else None
    return [{"dataset": f"site/{mart.name}", "published_version": version, "action": action} for mart in found]


main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)

if __name__ == "__main__":
    main()
