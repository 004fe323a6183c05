"""Erase files of a drop that have the value: those that were accepted or rejected. One that still waits is somebody's new delivery."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobkit.contracts import load

from jobs.catalogue import DROP, catalogue

if TYPE_CHECKING:
    from jobkit.stores import Store

    from finelt.erasure.subject import Subject

ARCHIVES = ("accepted/", "rejected/")  # as extract-dropped-files names them
REASONS = ".reasons.json"
FILLED_WITH = {"bank_movement": "bank_statement"}  # a dataset without a folder: the files of the other's folder fill it, too


@dataclass
class DropScan:
    """The files with the value that were taken, those that still wait, and files with versions of before."""

    files: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    old_versions: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """The counts by place, for people."""
        return {
            "files of the drop that were taken": len(self.files),
            "files of the drop that wait": len(self.waiting),
            "files of the drop with noncurrent versions": len(self.old_versions),
        }


def scan(store: Store, subject: Subject) -> DropScan:
    """Find the value in the files of the contracts that fill the dataset."""
    found, folders = DropScan(), _list_folders(subject.dataset)
    for key in store.list_keys(""):
        archive = next((archive for archive in ARCHIVES if key.startswith(archive)), "")
        if key.removeprefix(archive).partition("/")[0] not in folders:
            continue
        if subject.is_in_text(key) or subject.is_in_document(store.get(key)):
            (found.files if archive else found.waiting).append(key)
    found.old_versions = [key for key in store.list_old_versions("") if key.startswith(ARCHIVES)]
    return found


def erase(store: Store, subject: Subject) -> DropScan:
    """Delete the files that were taken and have the value, each with its reasons, in every version. Return what is left."""
    files = scan(store, subject).files
    gone = {*files, *(f"{key}{REASONS}" for key in files), *(key.removesuffix(REASONS) for key in files)}
    for archive in ARCHIVES:
        store.erase(archive, lambda key: key in gone)
        store.erase_old_versions(archive, lambda _: True)
    return scan(store, subject)


def _list_folders(dataset: str) -> set[str]:
    """Return the folders of the drop whose files fill a dataset."""
    dataset = FILLED_WITH.get(dataset, dataset)
    paths = [path for spec in catalogue() if DROP in spec.reads for path in spec.folder.glob("*/*.odcs.yaml")]
    return {path.name.removesuffix(".odcs.yaml") for path in paths if load(path).dataset == dataset} | {dataset}
