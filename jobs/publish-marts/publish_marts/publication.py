"""The site as versions: written beside, made current in one step, told apart by what is in them.

    <site>/v/<version>/published.json, index.html, marts/<mart>.html|parquet|csv|json, docs.html, SHA256SUMS, catalogue.json
    <site>/site.json        the audience that the site is for; everything in it may be seen by that audience
    <site>/latest.json      the pointer: which version is current; replaced by compare and swap once a version is whole
    <site>/index.html       the current version's page, its links led into v/<version>/; a copy that `lead` repairs

A version's name is a hash of its content and of the version before it, as its pages say what changed since then. No publication ever
changes or deletes a version; `scripts/site withdraw` does, on request (see `withdrawal`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobkit.errors import BadDataError, MisconfiguredError, TemporaryError, UsageError
from jobkit.store import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobkit.store import Store

    from publish_marts.export import Exported, Mart
    from publish_marts.row_changes import Changes
    from publish_marts.terms import Audience

POINTER, LANDING, SITE = "latest.json", "index.html", "site.json"
VERSIONS, PUBLISHED, CATALOGUE, SUMS, DOCS = "v/", "published.json", "catalogue.json", "SHA256SUMS", "docs.html"
HTML, JSON, TEXT = "text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8"
LEAD_TRIES = 10


@dataclass(frozen=True)
class About:
    """Whom a publication is for, what was left out of it and why, and the sources of what is in it: dataset, source, licence, terms."""

    audience: Audience
    left_out: Mapping[str, str]
    sources: Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Pointer:
    """What latest.json says. `content` tells versions apart; `inputs`, where it is known, spares looking at the content at all."""

    version: str
    content: str
    inputs: str | None
    published_at: str


def audience(store: Store) -> str | None:
    """The audience that a site is for; None for one that is still empty. What earlier versions published was never for the public."""
    try:
        return str(json.loads(store.get(SITE))["audience"])
    except NotFoundError:
        return "internal" if store.exists(POINTER) or store.list(VERSIONS) else None
    except (ValueError, TypeError, KeyError) as error:
        raise BadDataError(f"{store.uri(SITE)} does not say the site's audience: {error!r}; write one of ours or remove it") from None


def check_audience(store: Store, wanted: Audience) -> None:
    """Raises MisconfiguredError when the site is for another audience: its versions are seen by whoever sees the next one."""
    declared = audience(store)
    if declared not in (None, wanted):
        raise MisconfiguredError(
            f"the site {store.url} is for the audience {declared}, and --audience says {wanted}; publish to another place, or run "
            f"scripts/site withdraw --site {store.url} --all and then scripts/site declare --site {store.url} --audience {wanted}"
        )


def declare(store: Store, wanted: Audience) -> None:
    """Say whom a site is for, where nothing says so yet. Raises MisconfiguredError where it is for another audience."""
    check_audience(store, wanted)
    if not store.exists(SITE):
        store.put_if_absent(SITE, _json({"audience": wanted}), JSON)
        check_audience(store, wanted)


def redeclare(store: Store, wanted: Audience) -> None:
    """Say whom a site is for that has no versions. Raises UsageError for one that has: they were published for another audience."""
    if audience(store) != wanted and (store.exists(POINTER) or store.list(VERSIONS)):
        raise UsageError(f"{store.url} has versions for the audience {audience(store)}; withdraw them first: scripts/site withdraw --all")
    store.put(SITE, _json({"audience": wanted}), JSON)


def begin(store: Store, version_: str, wanted: Audience, now: str) -> None:
    """Date a version before its first file is written. A version that was begun before keeps its date."""
    store.put_if_absent(key(version_, PUBLISHED), _json({"published_at": now, "audience": wanted}), JSON)


def check_begun(store: Store, version_: str) -> None:
    """Raises TemporaryError when a version was withdrawn while it was written."""
    if not store.exists(key(version_, PUBLISHED)):
        raise TemporaryError(f"the version {version_} of {store.url} was withdrawn while it was written; run again")


def current(store: Store) -> tuple[Pointer | None, str | None]:
    """The pointer and its tag; nothing where nothing was published yet. Raises BadDataError for one that cannot be read."""
    try:
        data, tag = store.get_with_etag(POINTER)
    except NotFoundError:
        return None, None
    try:
        return Pointer(**json.loads(data)), tag
    except (ValueError, TypeError) as error:
        raise BadDataError(f"{store.uri(POINTER)} is no pointer of ours: {error}; move it away and publish again") from None


def point(store: Store, pointer: Pointer, tag: str | None) -> None:
    """Make a version current. Raises TemporaryError when another publication came first; what is current then stays."""
    if not store.put_if_match(POINTER, document(pointer), tag, JSON):
        raise TemporaryError(f"another publication changed {store.uri(POINTER)} meanwhile; run again")


def document(pointer: Pointer) -> bytes:
    """The pointer as latest.json has it."""
    return _json(asdict(pointer))


def lead(store: Store) -> str:
    """The address of the landing page, which shows the current version afterwards whoever else publishes.

    A crash between pointer and landing page leaves the old page; the next run comes here and mends it.
    """
    for _ in range(LEAD_TRIES):
        pointer, tag = current(store)
        if pointer is None:
            break
        page = landing(read(store, pointer.version, LANDING), pointer.version)
        if not store.exists(LANDING) or store.get(LANDING) != page:
            store.put(LANDING, page, HTML)
        if current(store)[1] == tag:
            return store.uri(LANDING)
    raise TemporaryError(f"{store.url} is being published by others all the time; try again later")


def landing(page: bytes, version: str) -> bytes:
    """A version's page for the folder above `v`."""
    return page.replace(b'href="./', f'href="v/{version}/'.encode())


def key(version: str, name: str) -> str:
    """Where a file of a version is."""
    return f"v/{version}/{name}"


def renderer() -> str:
    """A hash of this package's own files: what is drawn another way is another content."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(path for path in root.rglob("*") if path.suffix in (".py", ".j2", ".css")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def inputs(fingerprint: str, marts: Sequence[str], audience_: Audience, *, docs: bool) -> str:
    """A hash of what a publication is made of, for a run that has the transform's fingerprint. It covers lineage and terms."""
    return _digest([renderer(), fingerprint, sorted(marts), audience_, docs])


def content(exported: Sequence[Exported], about: About, as_of: str | None, *, docs: bool) -> str:
    """A hash of what a publication shows: the marts' rows and declarations, their terms, and how they are drawn."""
    return _digest([renderer(), [[asdict(one.mart), one.digest("parquet")] for one in exported], asdict(about), as_of, docs])


def version(content_: str, previous: str | None) -> str:
    """The name of the version that follows another with this content."""
    return _digest([content_, previous])[:16]


def catalogue(store: Store, version_: str) -> dict[str, Any]:
    """The catalogue of a version. Raises BadDataError when it is gone."""
    found: dict[str, Any] = json.loads(read(store, version_, CATALOGUE))
    return found


def read(store: Store, version_: str, name: str) -> bytes:
    """A file of the current version. Raises BadDataError when it is gone."""
    try:
        return store.get(key(version_, name))
    except NotFoundError:
        raise BadDataError(
            f"{store.uri(key(version_, name))} is gone, though {POINTER} names its version; "
            f"restore it, or delete {store.uri(POINTER)} and publish again"
        ) from None


def write(
    store: Store,
    version_: str,
    exported: Sequence[Exported],
    pages: Mapping[str, bytes],
    catalogue_: Mapping[str, Any],
    docs: bytes | None,
) -> None:
    """Write a version's files. Nobody is led to them before `point`."""
    from publish_marts.export import FORMATS  # noqa: PLC0415

    for one in exported:
        for file in one.files:
            store.put(key(version_, f"marts/{file.path.name}"), file.path, FORMATS[file.format])
    for name, page in pages.items():
        store.put(key(version_, name), page, HTML)
    if docs is not None:
        store.put(key(version_, DOCS), docs, HTML)
    write_catalogue(store, version_, catalogue_)


def write_catalogue(store: Store, version_: str, catalogue_: Mapping[str, Any]) -> None:
    """Write a version's catalogue and, before it, the digests that it has."""
    files = [file for mart in catalogue_["marts"].values() for file in mart["files"].values()]
    sums = "".join(f"{file['sha256']}  {file['path']}\n" for file in files)
    store.put(key(version_, SUMS), sums.encode(), TEXT)
    store.put(key(version_, CATALOGUE), _json(catalogue_), JSON)


def describe(
    version_: str, previous: str | None, exported: Sequence[Exported], changes: Mapping[str, Changes], about: About
) -> dict[str, Any]:
    """The catalogue: each mart's declaration, rows, files and changes since the version before; terms, and what was left out."""
    return {
        "version": version_,
        "previous": previous,
        **asdict(about),
        "marts": {one.mart.name: {**_declared(one.mart), **_made(one), "changes": asdict(changes[one.mart.name])} for one in exported},
    }


def _declared(mart: Mart) -> dict[str, Any]:
    return {"description": mart.description, "key": list(mart.key), "columns": [asdict(column) for column in mart.columns]}


def _made(one: Exported) -> dict[str, Any]:
    files = {file.format: {"path": f"marts/{file.path.name}", "bytes": file.bytes, "sha256": file.sha256} for file in one.files}
    return {"rows": one.rows, "files": files}


def _json(document: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(document, indent=1, ensure_ascii=False)}\n".encode()


def _digest(facts: Any) -> str:  # noqa: ANN401  whatever JSON holds
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
