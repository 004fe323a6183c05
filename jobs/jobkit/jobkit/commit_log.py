"""The log of a dataset: an entry for each commit, put before the commit itself.

    <lake>/raw/<dataset>/_log/0000000001.json    {"commit": 3, "format": 1, "id": "...", "partition": "year=2012"}

A reader that knows the log up to an entry finds what is new by listing the entries after it, however many partitions there are. Entries
are numbered without gaps and put if absent, so none ever appears before one that a reader has seen. A writer that dies between the two
leaves an entry without a commit, so a reader remembers such an entry and looks again. `id` is random: it tells one lake from another.

Commits stay the truth: a reader that lists them and does not read the log misses nothing.
"""

from __future__ import annotations

import json
import secrets
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from jobkit.errors import DamagedError, TemporaryError
from jobkit.formats import LOG, check_format
from jobkit.stores import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobkit.stores import Store

PAGE = 1000  # keys in one response of S3
RACE_TRIES = 100
IN_FLIGHT = 64  # entries before the last one whose commits may not be there yet
FOLDER, DIGITS = "_log", 10


class Entry(NamedTuple):
    """An announced commit: the number of the entry, its random id, the partition and the number of the commit."""

    number: int
    id: str
    partition: str
    commit: int


class CommitLog:
    """The logs of a lake's datasets. May be used by several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last: dict[str, int] = {}  # the last entry that we know of each dataset

    def announce(self, dataset: str, partition: str, commit: int) -> int:
        """Append an entry and return its number. Raises TemporaryError if others win RACE_TRIES times."""
        document = {"format": LOG, "id": secrets.token_hex(8), "partition": partition, "commit": commit}
        data = json.dumps(document, sort_keys=True).encode()
        last = self._last.get(dataset) or self.find_last(dataset)
        for _ in range(RACE_TRIES):
            if self._store.put_if_absent(_key(dataset, last + 1), data, "application/json"):
                self._last[dataset] = last + 1
                return last + 1
            last = self.find_last(dataset, last + 1)
        raise TemporaryError(f"the log of {dataset} is being written by others all the time; try again later")

    def find_last(self, dataset: str, known: int = 0) -> int:
        """Return the number of the last entry, 0 without any. `known` is an entry that exists. Takes one listing for up to PAGE entries."""
        page = list(islice(self.list_after(dataset, known), PAGE))
        low = page[-1] if page else known
        if len(page) < PAGE:
            return low
        step = PAGE
        while self._store.exists(_key(dataset, low + step)):
            low, step = low + step, step * 2
        high = low + step  # missing; so the last entry is in [low, high)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._store.exists(_key(dataset, middle)) else (low, middle)
        return low

    def recent_numbers(self, dataset: str) -> range:
        """Return the numbers of the last entries, up to IN_FLIGHT, whose commits may not be there yet."""
        last = self.find_last(dataset)
        return range(max(last - IN_FLIGHT, 0) + 1, last + 1)

    def list_after(self, dataset: str, number: int) -> Iterator[int]:
        """Yield the numbers of the entries after one, in order."""
        prefix = f"raw/{dataset}/{FOLDER}/"
        for key in self._store.list_keys(prefix, _key(dataset, number) if number else ""):
            if found := entry_number(key):
                yield found

    def read(self, dataset: str, number: int) -> Entry | None:
        """Return an entry; None if it is missing or damaged. Raises NewerFormatError if a newer version of finelt wrote it."""
        key = _key(dataset, number)
        try:
            document = json.loads(self._store.get(key))
            check_format(self._store.uri(key), document["format"], LOG)
            return Entry(number, str(document["id"]), str(document["partition"]), int(document["commit"]))
        except (NotFoundError, DamagedError, ValueError, TypeError, KeyError):
            return None


def entry_number(key: str) -> int | None:
    """Return the number of an entry from its key; None for any other key."""
    name = key.rpartition("/")[2].removesuffix(".json")
    return int(name) if key.endswith(f"{name}.json") and name.isdecimal() and len(name) == DIGITS else None


def _key(dataset: str, number: int) -> str:
    return f"raw/{dataset}/{FOLDER}/{number:0{DIGITS}}.json"
