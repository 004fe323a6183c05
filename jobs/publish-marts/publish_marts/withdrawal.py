"""Withdrawal of published versions, or of marts from them. The rest stays consistent. If a withdrawal is killed, run it again.

To remove a version, first delete its date, so that a run that is still writing it cannot make it current; then unset the pointer; then
delete its files. To remove a mart of a version, first replace the landing page and delete the other pages, which may show its figures,
then replace the catalogue, then delete its files. Earlier versions of deleted objects are erased from the bucket too (see
`jobkit.stores`). A cache in front of it is not emptied.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobkit.errors import TemporaryError, UsageError
from jobkit.stores import NotFoundError

from publish_marts import latest, pages, publication

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import date

    from jobkit.stores import Store

MAX_ATTEMPTS = 10
MART_FILES = ("html", "parquet", "csv", "json")
PAGE_ENDINGS = (".html", ".csv", ".js")


@dataclass(frozen=True)
class StoredVersion:
    """A version in the store. `published_at` is None for a version older than this field, or withdrawn in part."""

    name: str
    published_at: datetime | None
    keys: tuple[str, ...]
    document: Mapping[str, Any] | None

    def has_mart(self, mart: str) -> bool:
        """Return whether a file of a mart exists or the catalogue lists the mart."""
        listed = self.document is not None and mart in self.document["marts"]
        return listed or not _mart_keys(self.name, mart).isdisjoint(self.keys)


@dataclass(frozen=True)
class WithdrawalResult:
    """The versions that were removed, those from which marts were removed, and those that were kept unchanged."""

    removed: tuple[str, ...]
    changed: tuple[str, ...]
    kept: tuple[str, ...]


def list_versions(store: Store) -> list[StoredVersion]:
    """List all versions of a site, oldest first. Versions without a date come before all others."""
    keys: dict[str, list[str]] = {}
    for key in store.list_keys(publication.VERSIONS):
        keys.setdefault(key.split("/")[1], []).append(key)
    stored = [
        StoredVersion(
            name,
            _read_published_at(store, name),
            tuple(version_keys),
            _read_json(store, publication.version_key(name, publication.CATALOGUE)),
        )
        for name, version_keys in keys.items()
    ]
    return sorted(stored, key=lambda version: (version.published_at or datetime.min.replace(tzinfo=UTC), version.name))


def withdraw(store: Store, marts: Collection[str], before: date | None, names: Collection[str] = ()) -> WithdrawalResult:
    """Withdraw the versions published before a date (UTC), or all, or those of these names; with `marts`, only these marts of them.

    Raises UsageError for a mart that no version ever had, TemporaryError if other runs keep publishing.
    """
    stored = list_versions(store)
    _check_marts(stored, marts)
    removed, changed = set(), set()
    for _ in range(MAX_ATTEMPTS):
        for version in _choose(stored, before, names):
            if not marts or version.document is None:
                _remove_version(store, version.name)
                removed.add(version.name)
            elif any(version.has_mart(mart) for mart in marts):
                _remove_marts(store, version, marts)
                changed.add(version.name)
        _update_landing_page(store)
        if before is None and not names:  # also earlier versions of files that were deleted by hand
            store.erase_old_versions(publication.VERSIONS, lambda key: not marts or _belongs_to_marts(key, marts) or _shows_figures(key))
        stored = list_versions(store)
        if not _has_more_to_withdraw(store, _choose(stored, before, names), removed, marts):
            kept = {version.name for version in stored} - changed
            return WithdrawalResult(tuple(sorted(removed)), tuple(sorted(changed)), tuple(sorted(kept)))
    raise TemporaryError(f"other runs keep publishing to {store.url}; stop them and run this again")


def _choose(stored: Collection[StoredVersion], before: date | None, names: Collection[str]) -> list[StoredVersion]:
    """Return the versions before a date, or of these names. One without a date counts as before any."""
    if names:
        return [version for version in stored if version.name in names]
    return [version for version in stored if before is None or version.published_at is None or version.published_at.date() < before]


def _has_more_to_withdraw(store: Store, chosen: Collection[StoredVersion], removed: Collection[str], marts: Collection[str]) -> bool:
    """Return whether another run has meanwhile published something that must be withdrawn as well."""
    pointer, _ = publication.read_pointer(store)
    if pointer and pointer.version in removed:
        return True
    return any(not marts or version.document is None or any(version.has_mart(mart) for mart in marts) for version in chosen)


def _remove_version(store: Store, name: str) -> None:
    """Remove a whole version."""
    store.erase(
        publication.version_key(name, publication.PUBLISHED), lambda key: key == publication.version_key(name, publication.PUBLISHED)
    )
    _unset_current(store, name)
    store.erase(publication.version_key(name, ""), lambda _: True)


def _unset_current(store: Store, name: str) -> None:
    """Delete the pointer if it names this version. The next publication then starts without a previous version."""
    for _ in range(MAX_ATTEMPTS):
        pointer, etag = publication.read_pointer(store)
        if pointer is None or pointer.version != name or etag is None or store.delete_if_match(publication.POINTER, etag):
            return
    raise TemporaryError(f"other runs keep publishing to {store.url}; stop them and run this again")


def _update_landing_page(store: Store) -> None:
    """Make the landing page show the current version, or erase it if there is none, together with its earlier object versions."""
    if publication.read_pointer(store)[0] is None:
        for name in (publication.LANDING, publication.POINTER):
            store.erase(name, lambda key, name=name: key == name)  # type: ignore[misc]
    else:
        publication.refresh_landing_page(store)
        store.erase_old_versions(publication.LANDING, lambda key: key == publication.LANDING)
    latest.erase_other_files(store)


def _remove_marts(store: Store, version: StoredVersion, marts: Collection[str]) -> None:
    """Remove marts from a version that stays."""
    document = dict(version.document or {})
    withdrawn = {*document.get("withdrawn", ()), *(mart for mart in marts if version.has_mart(mart))}
    document["withdrawn"] = sorted(withdrawn)
    document["marts"] = {name: mart for name, mart in document["marts"].items() if name not in withdrawn}
    has_docs = publication.version_key(version.name, publication.DOCS) in version.keys
    remaining = pages.render_withdrawn_pages(document, docs=has_docs)
    publication.write_pages(store, version.name, remaining)
    kept = {publication.version_key(version.name, name) for name in remaining}
    store.erase(publication.version_key(version.name, ""), lambda key: _shows_figures(key) and key not in kept)
    _invalidate_pointer(store, version.name)
    publication.write_catalogue(store, version.name, document)
    withdrawn_keys = frozenset().union(*(_mart_keys(version.name, mart) for mart in withdrawn))
    store.erase(publication.version_key(version.name, "marts/"), lambda key: key in withdrawn_keys)
    store.erase_old_versions(publication.version_key(version.name, ""), lambda _: True)


def _invalidate_pointer(store: Store, name: str) -> None:
    """Clear the pointer's hashes if it names this version, so that the next run publishes again, and refresh the landing page."""
    for _ in range(MAX_ATTEMPTS):
        pointer, etag = publication.read_pointer(store)
        if pointer is None or pointer.version != name:
            return
        changed = replace(pointer, content="", inputs=None)
        if pointer == changed or store.put_if_match(publication.POINTER, publication.serialise_pointer(changed), etag, publication.JSON):
            publication.refresh_landing_page(store)
            return
    raise TemporaryError(f"other runs keep publishing to {store.url}; stop them and run this again")


def _check_marts(stored: Collection[StoredVersion], marts: Collection[str]) -> None:
    """Raise UsageError for a mart that no version has or had, because a misspelled name must not look like a success."""
    listed = {
        name for version in stored if version.document for name in (*version.document["marts"], *version.document.get("withdrawn", ()))
    }
    unknown = sorted(mart for mart in marts if mart not in listed and not any(version.has_mart(mart) for version in stored))
    if unknown and stored:
        raise UsageError(f"no version of the site has or had the mart {', '.join(unknown)}; they have {', '.join(sorted(listed))}")


def _shows_figures(key: str) -> bool:
    """Return whether a file of a version may show figures of any mart: every page, and the data of charts, except the marts' own."""
    name = key.removeprefix(publication.version_key(key.split("/")[1], ""))
    return name.endswith(PAGE_ENDINGS) and not name.startswith("marts/") and name != publication.DOCS


def _belongs_to_marts(key: str, marts: Collection[str]) -> bool:
    return any(key in _mart_keys(key.split("/")[1], mart) for mart in marts)


def _mart_keys(version: str, mart: str) -> frozenset[str]:
    return frozenset(publication.version_key(version, f"marts/{mart}.{ending}") for ending in MART_FILES)


def _read_published_at(store: Store, name: str) -> datetime | None:
    document = _read_json(store, publication.version_key(name, publication.PUBLISHED))
    try:
        return datetime.fromisoformat(document["published_at"]) if document else None
    except (KeyError, TypeError, ValueError):
        return None


def _read_json(store: Store, key: str) -> dict[str, Any] | None:
    """Read a JSON object of a version; return None if it is missing or invalid."""
    try:
        document = json.loads(store.get(key))
    except (NotFoundError, ValueError):
        return None
    return document if isinstance(document, dict) else None
