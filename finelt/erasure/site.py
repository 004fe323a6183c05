"""Find a value in the versions of a published site, and withdraw the marts that have it.

A version is immutable, with digests that readers check, so no file is rewritten: a mart with the value is withdrawn from each version that
has it (docs/publication.md). The next run of publish-marts publishes it again, without the value.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobkit import site_pointer
from jobkit.errors import BadDataError, MisconfiguredError, NewerFormatError, TemporaryError
from jobkit.stores import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.stores import Store

    from finelt.erasure.subject import Subject

VERSIONS, MARTS, LATEST = "v/", "marts/", "latest/"
QUARANTINE = "raw._quarantine"  # marts that are made of it may have rows of every dataset


@dataclass
class SiteScan:
    """The marts with the value, by version; other files with it; and objects with versions of before."""

    marts: dict[str, set[str]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    old_versions: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """The counts by place, for people."""
        return {
            "published files": len(self.files),
            "published versions with them": len(self.marts),
            "objects of the site with noncurrent versions": len(self.old_versions),
        }


def scan(store: Store, subject: Subject) -> SiteScan:
    """Find the value in the files of marts that may be made of the dataset, and in the pages of versions in which such a mart has it.

    Pages are made of marts, so those of other versions are not searched: a short value is found in any style sheet.
    """
    found, pages = SiteScan(), dict[str, list[str]]()
    current, marts = _find_current(store), dict[str, set[str] | None]()
    for key in store.list_keys(""):
        version, mart = _parse_key(key, current)
        if version is None:
            continue
        if version not in marts:
            marts[version] = _find_marts(store, version, subject.dataset)
        if mart is None:
            pages.setdefault(version, []).append(key)
        elif _is_among(mart, marts[version]) and _has_value(store, key, subject):
            found.files.append(key)
            found.marts.setdefault(version, set()).add(mart)
    found.files += [key for version in found.marts for key in pages.get(version, ()) if _has_value(store, key, subject)]
    found.old_versions = list(store.list_old_versions("")) if any(known is None or known for known in marts.values()) else []
    return found


def _parse_key(key: str, current: str | None) -> tuple[str | None, str | None]:
    """Return the version that a file belongs to, and the mart whose rows it has. Files of the site itself belong to none."""
    parts = key.split("/")
    if len(parts) > 2 and key.startswith(VERSIONS):  # noqa: PLR2004  v/VERSION/...
        return parts[1], parts[3].partition(".")[0] if key.startswith(f"{VERSIONS}{parts[1]}/{MARTS}") else None
    if key.startswith(LATEST):
        return current, None if key == f"{LATEST}manifest.json" else parts[1].partition(".")[0]
    return (current, None) if key == "index.html" else (None, None)


def _find_current(store: Store) -> str | None:
    """Return the current version; None if the site has none, or if its pointer is damaged. Raises NewerFormatError (exit code 78)."""
    try:
        return site_pointer.read_version(store)
    except NewerFormatError:
        raise
    except (MisconfiguredError, BadDataError):
        return None


def _find_marts(store: Store, version: str, dataset: str) -> set[str] | None:
    """Return the marts of a version that may be made of a dataset; None if that is not known, so that any may be."""
    try:
        catalogue: dict[str, Any] = json.loads(store.get(f"{VERSIONS}{version}/catalogue.json"))
    except (NotFoundError, ValueError):
        return None
    made_of = catalogue.get("made_of") or {}
    return {mart for mart in catalogue["marts"] if mart not in made_of or {dataset, QUARANTINE} & set(made_of[mart])}


def _is_among(mart: str, marts: set[str] | None) -> bool:
    return marts is None or mart in marts


def _has_value(store: Store, key: str, subject: Subject) -> bool:
    try:
        return subject.is_in_document(store.get(key))
    except NotFoundError:  # it was withdrawn since it was listed
        return False


def erase(store: Store, subject: Subject) -> SiteScan:
    """Withdraw the marts with the value from the versions that have it, with all noncurrent objects. Return what is left."""
    found = scan(store, subject)
    for version, marts in sorted(found.marts.items()):
        withdraw(store, [version], sorted(marts))
    if found.files or found.old_versions:
        store.erase_old_versions("", lambda _: True)
    return scan(store, subject)


def withdraw(store: Store, versions: Sequence[str], marts: Sequence[str] = ()) -> None:
    """Withdraw versions, or marts of them, with the job's own command. Raises TemporaryError if it fails."""
    options = [word for name, values in (("--version", versions), ("--mart", marts)) for value in values for word in (name, value)]
    command = [sys.executable, "-m", "publish_marts.site", "withdraw", "--site", store.url, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own job
    if done.returncode:
        raise TemporaryError(f"versions of {store.url} cannot be withdrawn: {done.stderr.strip()[-500:]}")
