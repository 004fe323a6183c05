"""The site as versions: written beside, made current in one step, told apart by what is in them.

    <site>/v/<version>/index.html, marts/<mart>.html|parquet|csv|json, docs.html, catalogue.json, SHA256SUMS
    <site>/latest.json      the pointer: which version is current; replaced by compare and swap once a version is whole
    <site>/index.html       the current version's page, its links led into v/<version>/; a copy that `lead` repairs

A version's name is a hash of its content and of the version before it, as its pages say what changed since then. No version is ever
changed or deleted: which old ones to drop is for whoever keeps the store, by a lifecycle rule or by hand.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobkit.errors import BadDataError, TemporaryError
from jobkit.store import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobkit.store import Store

    from publish_marts.changes import Changes
    from publish_marts.export import Exported, Mart

POINTER, LANDING = "latest.json", "index.html"
HTML, JSON, TEXT = "text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8"
LEAD_TRIES = 10


@dataclass(frozen=True)
class Pointer:
    """What latest.json says. `content` tells versions apart; `inputs`, where it is known, spares looking at the content at all."""

    version: str
    content: str
    inputs: str | None
    published_at: str


def current(store: Store) -> tuple[Pointer | None, str | None]:
    """The pointer and its tag; nothing where nothing was published yet. Raises BadDataError for one that cannot be read."""
    try:
        data, tag = store.get_tagged(POINTER)
    except NotFoundError:
        return None, None
    try:
        return Pointer(**json.loads(data)), tag
    except (ValueError, TypeError) as error:
        raise BadDataError(f"{store.uri(POINTER)} is no pointer of ours: {error}; move it away and publish again") from None


def point(store: Store, pointer: Pointer, tag: str | None) -> None:
    """Make a version current. Raises TemporaryError when another publication came first; what is current then stays."""
    if not store.put_if(POINTER, _json(asdict(pointer)), tag, JSON):
        raise TemporaryError(f"another publication changed {store.uri(POINTER)} meanwhile; run again")


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


def inputs(fingerprint: str, marts: Sequence[str], *, docs: bool) -> str:
    """A hash of what a publication is made of, for a run that has the transform's fingerprint."""
    return _digest([renderer(), fingerprint, sorted(marts), docs])


def content(exported: Sequence[Exported], as_of: str | None, *, docs: bool) -> str:
    """A hash of what a publication shows: the marts' rows and declarations, and how they are drawn."""
    return _digest([renderer(), [[asdict(one.mart), one.digest("parquet")] for one in exported], as_of, docs])


def version(content_: str, previous: str | None) -> str:
    """The name of the version that follows another with this content."""
    return _digest([content_, previous])[:16]


def catalogue(store: Store, version_: str) -> dict[str, Any]:
    """The catalogue of a version. Raises BadDataError when it is gone."""
    document: dict[str, Any] = json.loads(read(store, version_, "catalogue.json"))
    return document


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
    document: Mapping[str, Any],
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
        store.put(key(version_, "docs.html"), docs, HTML)
    sums = "".join(f"{file.sha256}  marts/{file.path.name}\n" for one in exported for file in one.files)
    store.put(key(version_, "SHA256SUMS"), sums.encode(), TEXT)
    store.put(key(version_, "catalogue.json"), _json(document), JSON)


def describe(version_: str, previous: str | None, exported: Sequence[Exported], changes: Mapping[str, Changes]) -> dict[str, Any]:
    """The catalogue: each mart's declaration, rows, files and changes since the version before."""
    return {
        "version": version_,
        "previous": previous,
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
