"""Withdraw published versions, whole or a mart of them, so that what is left is consistent. A run that was killed is simply run again.

A version goes in this order: it is no longer dated, so that whoever is still writing it does not make it current; it is no longer current;
then its files go. Of a version that stays, first the page that may show the mart's figures is replaced, then the catalogue, then the mart's
files go. Object stores keep no earlier versions of what was deleted (see `jobkit.store`); caches in front of them do, for a while.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobkit.errors import TemporaryError, UsageError
from jobkit.store import NotFoundError

from publish_marts import pages, publication

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import date

    from jobkit.store import Store

TRIES = 10
MART_FILES = ("html", "parquet", "csv", "json")


@dataclass(frozen=True)
class Version:
    """A version as the store has it. `published_at` is None where it has no date: older than dates are, or half withdrawn."""

    name: str
    published_at: datetime | None
    keys: tuple[str, ...]
    document: Mapping[str, Any] | None

    def holds(self, mart: str) -> bool:
        """Whether a file of a mart is there, or its catalogue lists it."""
        listed = self.document is not None and mart in self.document["marts"]
        return listed or not _files(self.name, mart).isdisjoint(self.keys)


@dataclass(frozen=True)
class Withdrawn:
    """What a withdrawal came to: versions that are gone, versions that lost marts, versions that were left alone."""

    removed: tuple[str, ...]
    changed: tuple[str, ...]
    kept: tuple[str, ...]


def versions(store: Store) -> list[Version]:
    """All versions of a site, the oldest first; those without a date before all others."""
    keys: dict[str, list[str]] = {}
    for key in store.list(publication.VERSIONS):
        keys.setdefault(key.split("/")[1], []).append(key)
    found = [
        Version(name, _published_at(store, name), tuple(mine), _read(store, publication.key(name, publication.CATALOGUE)))
        for name, mine in keys.items()
    ]
    return sorted(found, key=lambda one: (one.published_at or datetime.min.replace(tzinfo=UTC), one.name))


def withdraw(store: Store, marts: Collection[str], before: date | None) -> Withdrawn:
    """Withdraw the versions published before a day (UTC), or all; whole, or without these marts.

    Raises UsageError for a mart that no version ever had, TemporaryError where somebody publishes all the time.
    """
    found = versions(store)
    _check_marts(found, marts)
    removed, changed = set(), set()
    for _ in range(TRIES):
        chosen = [one for one in found if before is None or one.published_at is None or one.published_at.date() < before]
        for version in chosen:
            if not marts or version.document is None:
                _remove(store, version.name)
                removed.add(version.name)
            elif any(version.holds(mart) for mart in marts):
                _remove_marts(store, version, marts)
                changed.add(version.name)
        _lead(store)
        if before is None:  # also what a versioned bucket keeps of files that somebody deleted
            store.erase_old_versions(publication.VERSIONS, lambda key: not marts or _is_of(key, marts))
        found = versions(store)
        if not _left(store, found, removed, marts, before):
            kept = {one.name for one in found} - changed
            return Withdrawn(tuple(sorted(removed)), tuple(sorted(changed)), tuple(sorted(kept)))
    raise TemporaryError(f"{store.url} is being published by others all the time; stop that, and run this again")


def _left(store: Store, found: Collection[Version], removed: Collection[str], marts: Collection[str], before: date | None) -> bool:
    """Whether there is something to withdraw that was not there at first: a publication may have come in between."""
    chosen = [one for one in found if before is None or one.published_at is None or one.published_at.date() < before]
    pointer, _ = publication.current(store)
    if pointer and pointer.version in removed:
        return True
    return any(not marts or one.document is None or any(one.holds(mart) for mart in marts) for one in chosen)


def _remove(store: Store, name: str) -> None:
    """A whole version."""
    store.erase(publication.key(name, publication.PUBLISHED), lambda key: key == publication.key(name, publication.PUBLISHED))
    _point_away(store, name)
    store.erase(publication.key(name, ""), lambda _: True)


def _point_away(store: Store, name: str) -> None:
    """The version is not current: nothing is, and the next publication begins anew."""
    for _ in range(TRIES):
        pointer, tag = publication.current(store)
        if pointer is None or pointer.version != name or tag is None or store.delete_if_match(publication.POINTER, tag):
            return
    raise TemporaryError(f"{store.url} is being published by others all the time; stop that, and run this again")


def _lead(store: Store) -> None:
    """The landing page shows the current version; it is gone where none is. Only for good: it may show figures that are withdrawn."""
    if publication.current(store)[0] is None:
        for name in (publication.LANDING, publication.POINTER):
            store.erase(name, lambda key, name=name: key == name)  # type: ignore[misc]
    else:
        publication.lead(store)
        store.erase_old_versions(publication.LANDING, lambda key: key == publication.LANDING)


def _remove_marts(store: Store, version: Version, marts: Collection[str]) -> None:
    """Marts of a version that stays."""
    document = dict(version.document or {})
    withdrawn = {*document.get("withdrawn", ()), *(mart for mart in marts if version.holds(mart))}
    document["withdrawn"] = sorted(withdrawn)
    document["marts"] = {name: mart for name, mart in document["marts"].items() if name not in withdrawn}
    has_docs = publication.key(version.name, publication.DOCS) in version.keys
    page = pages.withdrawn(document, docs=has_docs)
    store.put(publication.key(version.name, publication.LANDING), page, publication.HTML)
    _forget_content(store, version.name)
    publication.write_catalogue(store, version.name, document)
    gone = frozenset().union(*(_files(version.name, mart) for mart in withdrawn))
    store.erase(publication.key(version.name, "marts/"), lambda key: key in gone)
    store.erase_old_versions(publication.key(version.name, ""), lambda _: True)


def _forget_content(store: Store, name: str) -> None:
    """The next publication does not take the current version for what it was; the landing page shows what it is now."""
    for _ in range(TRIES):
        pointer, tag = publication.current(store)
        if pointer is None or pointer.version != name:
            return
        changed = replace(pointer, content="", inputs=None)
        if pointer == changed or store.put_if_match(publication.POINTER, publication.document(changed), tag, publication.JSON):
            publication.lead(store)
            return
    raise TemporaryError(f"{store.url} is being published by others all the time; stop that, and run this again")


def _check_marts(found: Collection[Version], marts: Collection[str]) -> None:
    """Raises UsageError for a mart that no version has or had: a name that is misspelled withdraws nothing."""
    known = {name for one in found if one.document for name in (*one.document["marts"], *one.document.get("withdrawn", ()))}
    strangers = sorted(mart for mart in marts if mart not in known and not any(one.holds(mart) for one in found))
    if strangers and found:
        raise UsageError(f"no version of the site has or had the mart {', '.join(strangers)}; there are {', '.join(sorted(known))}")


def _is_of(key: str, marts: Collection[str]) -> bool:
    return any(key in _files(key.split("/")[1], mart) for mart in marts)


def _files(version: str, mart: str) -> frozenset[str]:
    return frozenset(publication.key(version, f"marts/{mart}.{ending}") for ending in MART_FILES)


def _published_at(store: Store, name: str) -> datetime | None:
    document = _read(store, publication.key(name, publication.PUBLISHED))
    try:
        return datetime.fromisoformat(document["published_at"]) if document else None
    except (KeyError, TypeError, ValueError):
        return None


def _read(store: Store, key: str) -> dict[str, Any] | None:
    """A JSON object of a version; None where there is none, or none that can be read."""
    try:
        document = json.loads(store.get(key))
    except (NotFoundError, ValueError):
        return None
    return document if isinstance(document, dict) else None
