"""The versions of a site. A version is written in full, then made current in one step.

    <site>/v/<version>/published.json, index.html, marts/<mart>.html|parquet|csv|json, docs.html, SHA256SUMS, catalogue.json,
                       more pages (see `pages`), the data of their charts, style sheet and scripts
    <site>/assets/          the SQL console, shared by all versions (see `web`)
    <site>/site.json        the audience of the site, which may see everything in it
    <site>/latest/          the current version's files at addresses that stay (see `latest`)
    <site>/latest.json      the pointer to the current version; replaced by compare-and-swap once a version is complete
    <site>/index.html       a copy of the current version's page with links into v/<version>/; `refresh_landing_page` repairs it

A version's name is a hash of its content and of the previous version's name, because its pages show what changed. Publishing never
changes or deletes a version. `scripts/site withdraw` does, on request (see `withdrawal`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobkit import formats, site_pointer
from jobkit.errors import BadDataError, MisconfiguredError, TemporaryError, UsageError
from jobkit.stores import NotFoundError

from publish_marts import web

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobkit.stores import Store

    from publish_marts.export import ExportedMart, Mart
    from publish_marts.row_changes import RowChanges
    from publish_marts.terms import Audience

POINTER, LANDING, SITE = site_pointer.NAME, "index.html", "site.json"
VERSIONS, PUBLISHED, CATALOGUE, SUMS, DOCS = "v/", "published.json", "catalogue.json", "SHA256SUMS", "docs.html"
HTML, JSON, TEXT = "text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8"
PAGE_TYPES = {".html": HTML, ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".csv": "text/csv; charset=utf-8"}
MAX_REFRESH_ATTEMPTS = 10


@dataclass(frozen=True)
class PublicationTerms:
    """The audience of a publication, what was not published and why, and dataset, source, licence and redistribution of what was.

    `made_of` names the datasets behind each mart.
    """

    audience: Audience
    left_out: Mapping[str, str]
    sources: Sequence[Mapping[str, str]]
    made_of: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Pointer:
    """The content of latest.json, which also has `format`: that of the whole site. Without one it is format 1, before 2026-12.

    `content` is a hash of what the version shows. `inputs` is a hash of what it was made from: if it is unchanged, the marts need not
    be read. It is None after a mart was withdrawn.
    """

    version: str
    content: str
    inputs: str | None
    published_at: str


def read_audience(store: Store) -> str | None:
    """Return the audience of a site: None for an empty site, internal for a site that was published before sites had an audience.

    Raises BadDataError for a site.json that cannot be read.
    """
    try:
        return str(json.loads(store.get(SITE))["audience"])
    except NotFoundError:
        return "internal" if store.exists(POINTER) or any(store.list_keys(VERSIONS)) else None
    except (ValueError, TypeError, KeyError) as error:
        raise BadDataError(
            f'{store.uri(SITE)} is not valid ({error!r}); expected {{"audience": "internal"}} or "public"; correct it or delete it'
        ) from None


def check_audience(store: Store, audience: Audience) -> None:
    """Raise MisconfiguredError if the site has another audience. Anyone who can see one version can see them all."""
    declared = read_audience(store)
    if declared not in (None, audience):
        raise MisconfiguredError(
            f"the audience of the site {store.url} is {declared}, but --audience is {audience}; publish to another URL, or run "
            f"scripts/site withdraw --site {store.url} --all and then scripts/site declare --site {store.url} --audience {audience}"
        )


def declare_audience(store: Store, audience: Audience) -> None:
    """Declare the audience of a site that has none yet. Raises MisconfiguredError if it has another one."""
    check_audience(store, audience)
    if not store.exists(SITE):
        store.put_if_absent(SITE, _to_json({"audience": audience}), JSON)
        check_audience(store, audience)


def redeclare_audience(store: Store, audience: Audience) -> None:
    """Change the audience of a site without versions. Raises UsageError if there are versions for another audience."""
    if read_audience(store) != audience and (store.exists(POINTER) or any(store.list_keys(VERSIONS))):
        raise UsageError(
            f"{store.url} has versions for the audience {read_audience(store)}; withdraw them first with scripts/site withdraw --all"
        )
    store.put(SITE, _to_json({"audience": audience}), JSON)


def begin_version(store: Store, version: str, audience: Audience, now: str) -> None:
    """Record a version's date and audience before its first file is written. If an earlier run began the version, its date stays."""
    store.put_if_absent(version_key(version, PUBLISHED), _to_json({"published_at": now, "audience": audience}), JSON)


def check_not_withdrawn(store: Store, version: str) -> None:
    """Raise TemporaryError if a version was withdrawn while it was being written."""
    if not store.exists(version_key(version, PUBLISHED)):
        raise TemporaryError(f"the version {version} of {store.url} was withdrawn while it was being written; run again")


def read_pointer(store: Store) -> tuple[Pointer | None, str | None]:
    """Read the pointer and its ETag, or (None, None) if there is no publication yet.

    Raises BadDataError for an unreadable pointer, NewerFormatError (exit code 78) for one that a newer version of finelt wrote.
    """
    try:
        data, etag = store.get_with_etag(POINTER)
    except NotFoundError:
        return None, None
    document = site_pointer.parse(data, store.uri(POINTER))
    try:
        return Pointer(**document), etag
    except TypeError as error:
        raise BadDataError(f"{store.uri(POINTER)} is not a valid pointer: {error}; delete it and publish again") from None


def set_current(store: Store, pointer: Pointer, etag: str | None) -> None:
    """Make a version current. Raises TemporaryError, and changes nothing, if another run changed the pointer since it was read."""
    if not store.put_if_match(POINTER, serialise_pointer(pointer), etag, JSON):
        raise TemporaryError(f"another publication changed {store.uri(POINTER)} at the same time; run again")


def serialise_pointer(pointer: Pointer) -> bytes:
    """Serialise a pointer as the bytes of latest.json."""
    return _to_json({**asdict(pointer), "format": formats.SITE})


def refresh_landing_page(store: Store) -> str:
    """Make the landing page show the current version, even if others publish at the same time. Return its URI.

    A crash after the pointer was changed leaves the old landing page; the next run replaces it here.
    Raises TemporaryError if the pointer keeps changing.
    """
    for _ in range(MAX_REFRESH_ATTEMPTS):
        pointer, etag = read_pointer(store)
        if pointer is None:
            break
        page = rewrite_links(read_file(store, pointer.version, LANDING), pointer.version)
        if not store.exists(LANDING) or store.get(LANDING) != page:
            store.put(LANDING, page, HTML)
        if read_pointer(store)[1] == etag:
            return store.uri(LANDING)
    raise TemporaryError(f"other runs keep publishing to {store.url}; try again later")


def rewrite_links(page: bytes, version: str) -> bytes:
    """Rewrite the links of a version's page so that they work from the root of the site."""
    return page.replace(b'="./', f'="v/{version}/'.encode())


def version_key(version: str, name: str) -> str:
    """Return the key of a file of a version."""
    return f"v/{version}/{name}"


def hash_renderer() -> str:
    """Hash this package's own files and the site's scripts, so that a change of the pages makes a new version."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(path for path in root.rglob("*") if path.suffix in (".py", ".j2")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    for name, content in web.read_assets().items():
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()


def hash_inputs(fingerprint: str, marts: Sequence[str], audience: Audience, *, docs: bool) -> str:
    """Hash everything a publication is made from. The transform's fingerprint covers rows, lineage and terms."""
    return _hash_json([hash_renderer(), fingerprint, sorted(marts), audience, docs])


def hash_content(exported: Sequence[ExportedMart], terms: PublicationTerms, as_of: str | None, *, docs: bool) -> str:
    """Hash everything a publication shows: rows, column descriptions, terms and rendering."""
    marts = [[asdict(exported_mart.mart), exported_mart.digest("parquet")] for exported_mart in exported]
    return _hash_json([hash_renderer(), marts, asdict(terms), as_of, docs])


def name_version(content: str, previous: str | None) -> str:
    """Derive a version's name from its content and the name of the previous version."""
    return _hash_json([content, previous])[:16]


def read_catalogue(store: Store, version: str) -> dict[str, Any]:
    """Read the catalogue of a version. Raises BadDataError if the file is missing."""
    catalogue: dict[str, Any] = json.loads(read_file(store, version, CATALOGUE))
    return catalogue


def read_file(store: Store, version: str, name: str) -> bytes:
    """Read a file of a version that the pointer names. Raises BadDataError if it is missing."""
    try:
        return store.get(version_key(version, name))
    except NotFoundError:
        raise _missing_file_error(store, version, name) from None


def _missing_file_error(store: Store, version: str, name: str) -> BadDataError:
    return BadDataError(
        f"{store.uri(version_key(version, name))} is missing, although {POINTER} names its version; "
        f"restore it, or delete {store.uri(POINTER)} and publish again"
    )


def fetch_file(store: Store, version: str, name: str, path: Path) -> None:
    """Copy a file of a version that the pointer names to a local file. Raises BadDataError if it is missing."""
    try:
        store.download(version_key(version, name), path)
    except NotFoundError:
        raise _missing_file_error(store, version, name) from None


def read_reusable_marts(store: Store, pointer: Pointer | None) -> Mapping[str, Any]:
    """Return the marts in the catalogue of the current version, if the same renderer made it; else none."""
    catalogue = read_catalogue(store, pointer.version) if pointer else {}
    return catalogue["marts"] if catalogue.get("renderer") == hash_renderer() else {}


def fetch_reused_files(store: Store, version: str | None, exported: Sequence[ExportedMart]) -> None:
    """Copy the files of marts that were not exported again from a version. Raises BadDataError for a missing or damaged file."""
    from publish_marts.export import describe_file  # noqa: PLC0415

    for file in (file for exported_mart in exported for file in exported_mart.files if not file.path.exists()):
        name = f"marts/{file.path.name}"
        fetch_file(store, str(version), name, file.path)
        if describe_file(file.format, file.path) != file:
            uri = store.uri(version_key(str(version), name))
            raise BadDataError(f"{uri} is not the file that was published; restore it, or delete {store.uri(POINTER)} and publish again")


def write_version(
    store: Store,
    version: str,
    exported: Sequence[ExportedMart],
    pages: Mapping[str, bytes],
    catalogue: Mapping[str, Any],
    docs: bytes | None,
) -> None:
    """Write a version's files. No page links to them before `set_current`."""
    from publish_marts.export import FORMATS  # noqa: PLC0415

    for exported_mart in exported:
        for file in exported_mart.files:
            store.put(version_key(version, f"marts/{file.path.name}"), file.path, FORMATS[file.format])
    write_pages(store, version, pages)
    if docs is not None:
        store.put(version_key(version, DOCS), docs, HTML)
    write_catalogue(store, version, catalogue)


def write_pages(store: Store, version: str, pages: Mapping[str, bytes]) -> None:
    """Write pages of a version, and what they show."""
    for name, page in pages.items():
        store.put(version_key(version, name), page, PAGE_TYPES[Path(name).suffix])


def write_catalogue(store: Store, version: str, catalogue: Mapping[str, Any]) -> None:
    """Write a version's SHA256SUMS, then its catalogue."""
    files = [file for mart in catalogue["marts"].values() for file in mart["files"].values()]
    sums = "".join(f"{file['sha256']}  {file['path']}\n" for file in files)
    store.put(version_key(version, SUMS), sums.encode(), TEXT)
    store.put(version_key(version, CATALOGUE), _to_json(catalogue), JSON)


def build_catalogue(
    version: str, previous: str | None, exported: Sequence[ExportedMart], changes: Mapping[str, RowChanges], terms: PublicationTerms
) -> dict[str, Any]:
    """Build the catalogue: terms, what was not published, and each mart's columns, rows, files and changes since the previous version."""
    marts = {
        exported_mart.mart.name: {
            **_describe_mart(exported_mart.mart),
            **_describe_files(exported_mart),
            "changes": asdict(changes[exported_mart.mart.name]),
        }
        for exported_mart in exported
    }
    return {
        "version": version,
        "previous": previous,
        "renderer": hash_renderer(),
        **asdict(terms),
        "marts": marts,
    }


def _describe_mart(mart: Mart) -> dict[str, Any]:
    return {"description": mart.description, "key": list(mart.key), "columns": [asdict(column) for column in mart.columns]}


def _describe_files(exported_mart: ExportedMart) -> dict[str, Any]:
    files = {file.format: {"path": f"marts/{file.path.name}", "bytes": file.bytes, "sha256": file.sha256} for file in exported_mart.files}
    return {"rows": exported_mart.rows, "state": exported_mart.state, "files": files}


def _to_json(document: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(document, indent=1, ensure_ascii=False)}\n".encode()


def _hash_json(value: Any) -> str:  # noqa: ANN401  any JSON value
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
