"""The drop: where files wait, and where they go once they were looked at.

    <drop>/<dataset>/<name>                              waits
    <drop>/accepted/<dataset>/<name>                     is in the lake
    <drop>/rejected/<dataset>/<name>                     is not
    <drop>/rejected/<dataset>/<name>.reasons.json        and why

What is put aside is put there before it is taken from where it waits, and taken only if it is still the same: whoever dies in between
leaves it waiting, and the next run ends as this one would have.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit.store import NotFoundError, open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.store import Store

ACCEPTED, REJECTED, REASONS = "accepted/", "rejected/", ".reasons.json"
ASIDE = (ACCEPTED, REJECTED)


class Dropped(NamedTuple):
    """A file that waits: where, what is in it, and a tag that changes when it does."""

    key: str
    data: bytes
    tag: str


class Drop:
    """The files under one URL. A file's key is <dataset>/<name>."""

    def __init__(self, url: str) -> None:
        self.store: Store = open_store(url)

    def waiting(self) -> list[str]:
        """The keys of all files that wait, sorted. Folders that a console makes are none."""
        return [key for key in self.store.list("") if not key.startswith(ASIDE) and all(key.split("/"))]

    def read(self, key: str) -> Dropped | None:
        """The file, None where there is none."""
        try:
            return Dropped(key, *self.store.get_tagged(key))
        except NotFoundError:
            return None

    def size(self, key: str) -> int:
        """The file's bytes, 0 where there is none."""
        try:
            return self.store.size(key)
        except NotFoundError:
            return 0

    def accept(self, file: Dropped) -> None:
        """Nothing; the file is among the accepted, and an earlier one of its name no longer among the rejected."""
        self.store.put(ACCEPTED + file.key, file.data)
        for key in (REJECTED + file.key, REJECTED + file.key + REASONS):
            if self.store.exists(key):
                self.store.delete_if(key, self.store.get_tagged(key)[1])
        self.store.delete_if(file.key, file.tag)

    def reject(self, file: Dropped, reasons: Sequence[str]) -> None:
        """Nothing; the file is among the rejected, its reasons beside it."""
        told = json.dumps({"file": file.key, "reasons": list(reasons)}, indent=1, ensure_ascii=False)
        self.store.put(REJECTED + file.key + REASONS, told.encode(), "application/json")
        self.store.put(REJECTED + file.key, file.data)
        self.store.delete_if(file.key, file.tag)

    def accepted(self, key: str) -> bool:
        """Whether a file of this key was ever accepted."""
        return self.store.exists(ACCEPTED + key)

    def reasons(self, key: str) -> list[str]:
        """Why the last file of this key was rejected; none where it was not."""
        try:
            told: dict[str, Any] = json.loads(self.store.get(REJECTED + key + REASONS))
        except NotFoundError:
            return []
        return list(told["reasons"])
