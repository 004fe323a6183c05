"""The files of the current version at addresses that stay, for programs that cannot follow the pointer.

    <site>/latest/<mart>.parquet, .csv, .json
    <site>/latest/manifest.json               the version, and columns, rows, sources, licences, size and digest of each mart

Each file is replaced in one step, but not all files together: a reader of several files, or of one file in several range requests, may
meet two versions. The manifest is therefore written last, lists no file while it is replaced, and names for each file its immutable
original in v/<version>/, which such a reader takes instead. A file that is not in the manifest is not current.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from jobkit import formats
from jobkit.errors import TemporaryError
from jobkit.stores import NotFoundError

from publish_marts import publication

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobkit.stores import Store

FOLDER, MANIFEST = "latest/", "latest/manifest.json"
FORMAT = 1  # of the manifest
MAX_ATTEMPTS = 10

Document = dict[str, Any]


def refresh_files(store: Store) -> None:
    """Make the files those of the current version, also after a run was killed. Raises TemporaryError if the pointer keeps changing."""
    for attempt in range(MAX_ATTEMPTS):
        pointer, etag = publication.read_pointer(store)
        if pointer is None:
            return
        wanted = build_manifest(publication.read_catalogue(store, pointer.version), pointer.published_at)
        present = _read_manifest(store) if attempt == 0 else {}  # after a race, the files may be of either version
        if present != wanted:
            _replace_files(store, present, wanted)
        if publication.read_pointer(store)[1] == etag:
            return
    raise TemporaryError(f"other runs keep publishing to {store.url}; try again later")


def erase_other_files(store: Store) -> None:
    """Refresh the files and erase those that are not in the manifest, with earlier object versions; the job lacks the rights for that."""
    refresh_files(store)
    if publication.read_pointer(store)[0] is None:
        store.erase(FOLDER, lambda _: True)
        return
    marts: Mapping[str, Any] = _read_manifest(store)["marts"]
    kept = {MANIFEST, *(f"{FOLDER}{file['path']}" for mart in marts.values() for file in mart["files"].values())}
    store.erase(FOLDER, lambda key: key not in kept)
    store.erase_old_versions(FOLDER, lambda _: True)


def build_manifest(catalogue: Mapping[str, Any], published_at: str) -> Document:
    """Return the manifest of a version. Paths are relative to the manifest."""
    sources = {source["dataset"]: source for source in catalogue.get("sources", ())}
    marts = {
        name: {
            **{key: mart[key] for key in ("description", "key", "columns", "rows")},
            "sources": [sources[dataset] for dataset in catalogue.get("made_of", {}).get(name, ()) if dataset in sources],
            "files": {
                format_: {
                    "path": file["path"].rpartition("/")[2],
                    "immutable_path": f"../v/{catalogue['version']}/{file['path']}",
                    "bytes": file["bytes"],
                    "sha256": file["sha256"],
                }
                for format_, file in mart["files"].items()
            },
        }
        for name, mart in catalogue["marts"].items()
    }
    head = {
        "format": FORMAT,
        "version": catalogue["version"],
        "published_at": published_at,
        "audience": catalogue.get("audience", "internal"),
    }
    return {**head, "marts": marts}


def _replace_files(store: Store, present: Document, wanted: Document) -> None:
    """Copy the files that differ, with a manifest that does not list their marts meanwhile."""
    before = present.get("marts", {})
    unchanged = {name: mart for name, mart in wanted["marts"].items() if _digests(before.get(name)) == _digests(mart)}
    _write_manifest(store, {**wanted, "marts": unchanged})
    for name, mart in wanted["marts"].items():
        for file in mart["files"].values() if name not in unchanged else ():
            store.copy(file["immutable_path"].removeprefix("../"), f"{FOLDER}{file['path']}")
    _write_manifest(store, wanted)


def _digests(mart: Mapping[str, Any] | None) -> dict[str, str] | None:
    return {format_: file["sha256"] for format_, file in mart["files"].items()} if mart else None


def _read_manifest(store: Store) -> Document:
    """Return the manifest; empty if there is none that can be read. Raises NewerFormatError (exit code 78) for one of a newer version."""
    try:
        manifest = json.loads(store.get(MANIFEST))
    except (NotFoundError, ValueError):
        return {}
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        return {}
    formats.check_format(store.uri(MANIFEST), manifest["format"], FORMAT)
    return manifest


def _write_manifest(store: Store, manifest: Document) -> None:
    store.put(MANIFEST, f"{json.dumps(manifest, indent=1, ensure_ascii=False)}\n".encode(), publication.JSON)
