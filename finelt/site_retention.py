"""Expire old versions of a published site by the retention of the datasets that they show.

A version names the one before it, and readers walk that chain. So versions go from the oldest on, without month ends: a gap would end the
chain, and the warehouse answers those moments. A version goes if the next one was published before the cutoff of every dataset that it
shows, so it was replaced years ago and nobody is still reading it. The current version never goes.
"""

from __future__ import annotations

import json
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit import site_pointer
from jobkit.errors import BadDataError
from jobkit.stores import NotFoundError

from finelt import retention
from finelt.erasure.site import VERSIONS, withdraw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobkit.stores import Store

    from finelt.retention import Policy


class SiteVersion(NamedTuple):
    """A version in the store: its name, when it was published, the one before it, and the datasets that it shows.

    published_at: None if it is being withdrawn. datasets: None if that is not known.
    """

    name: str
    published_at: datetime | None
    previous: str | None
    datasets: frozenset[str] | None


class SiteExpiry(NamedTuple):
    """The versions that expire or have, oldest first, and how many there were."""

    expired: tuple[str, ...]
    versions: int


def expire(store: Store, now: datetime, *, is_dry_run: bool) -> SiteExpiry:
    """Expire the old versions of a site, or find out which would.

    Raises MisconfiguredError (78) if there is no site, BadDataError (65) if its pointer is damaged, NewerFormatError (78) if a newer
    version wrote it, TemporaryError (75) if other runs keep publishing.
    """
    current = site_pointer.read_version(store)
    versions = {name: _read(store, name) for name in store.list_folders(VERSIONS)}
    datasets = {name for version in versions.values() for name in version.datasets or ()}
    expired = select_expired(versions, current, retention.read_policies(sorted(datasets)), now)
    if expired and not is_dry_run:
        withdraw(store, expired)
    return SiteExpiry(tuple(expired), len(versions))


def select_expired(versions: Mapping[str, SiteVersion], current: str, policies: Mapping[str, Policy], now: datetime) -> list[str]:
    """Return the versions that expire: the oldest of the chain that ends with the current one, and those that no reader finds.

    The latter are what killed publications and withdrawals left; if they do not say what they show, it is what the current version shows.
    """
    chain: list[SiteVersion] = []
    version = versions.get(current)
    while version and version.published_at:
        chain.append(version)
        version = versions.get(version.previous or "")
    expired = []
    for older, following in pairwise(reversed(chain)):
        if not _is_before_cutoff(following.published_at, older.datasets, policies, now):
            break
        expired.append(older.name)
    shown = versions[current].datasets if current in versions else None
    unreachable = [other for name, other in versions.items() if other not in chain and name != current]
    expired += [
        other.name
        for other in unreachable
        if _is_before_cutoff(other.published_at, shown if other.datasets is None else other.datasets, policies, now)
    ]
    return expired


def _is_before_cutoff(moment: datetime | None, datasets: frozenset[str] | None, policies: Mapping[str, Policy], now: datetime) -> bool:
    """Whether a moment is before that from which on each of the datasets keeps all versions. No moment is before any."""
    if not datasets or not datasets <= policies.keys():
        return False
    return moment is None or moment <= min(policies[dataset].cutoff(now) for dataset in datasets)


def _read(store: Store, name: str) -> SiteVersion:
    published, catalogue = (_read_json(store, f"{VERSIONS}{name}/{file}.json") for file in ("published", "catalogue"))
    marts, made_of = catalogue.get("marts", {}), catalogue.get("made_of") or {}
    is_known = bool(catalogue) and marts.keys() <= made_of.keys()
    return SiteVersion(
        name,
        datetime.fromisoformat(published["published_at"]) if "published_at" in published else None,
        catalogue.get("previous"),
        frozenset(dataset for mart in marts for dataset in made_of[mart]) if is_known else None,
    )


def _read_json(store: Store, key: str) -> dict[str, Any]:
    """Return a JSON object of a version; an empty one if it is missing."""
    try:
        document: dict[str, Any] = json.loads(store.get(key))
    except NotFoundError:
        return {}
    except ValueError as error:
        raise BadDataError(f"{store.uri(key)} is damaged: {error}; withdraw its version with scripts/site withdraw --version") from None
    return document
