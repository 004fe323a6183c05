"""The record of an erasure: what, when, for whom, and a salted hash of the value, so that a vendor who delivers it again is noticed.

    <lake>/raw/<dataset>/_erasures/<id>.json

It is written before the first change and again after the last one. A run that finds a record without an end goes on with it. Whoever can
read the lake and guess the value can confirm the guess by the hash: it is a pseudonym, not a secret.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from jobkit.errors import DamagedError
from jobkit.formats import ERASURE, check_format

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jobkit.stores import Store

    from finelt.erasure.subject import Subject

FOLDER = "_erasures"


@dataclass(frozen=True)
class Erasure:
    """An erasure. Times are ISO 8601 in UTC; `ended_at` is empty until it was proved.

    erased: counts what was erased, by place.
    pending: the vendor's documents that are to be deleted, until the erasure has ended; by then no commit names them any more.
    """

    id: str
    dataset: str
    column: str
    salt: str
    sha256: str
    asked_by: str
    begun_at: str
    ended_at: str
    erased: Mapping[str, int]
    pending: Sequence[str] = ()

    def has_value(self, value: object) -> bool:
        """Whether this is the value that was erased."""
        return value is not None and _hash(self.salt, str(value)) == self.sha256

    @property
    def key(self) -> str:
        """The key in the lake."""
        return f"raw/{self.dataset}/{FOLDER}/{self.id}.json"


def find_open(store: Store, subject: Subject) -> Erasure | None:
    """Return the erasure of this value that has not ended yet."""
    erasures = list_erasures(store, subject.dataset)
    is_open = (item for item in erasures if not item.ended_at and item.column == subject.column and item.has_value(subject.value))
    return next(is_open, None)


def begin(store: Store, subject: Subject, asked_by: str, now: str) -> Erasure:
    """Write the record of a new erasure."""
    salt = secrets.token_hex(16)
    sha256 = _hash(salt, subject.value)
    erasure = Erasure(secrets.token_hex(8), subject.dataset, subject.column, salt, sha256, asked_by, now, "", {})
    write(store, erasure)
    return erasure


def write(store: Store, erasure: Erasure) -> None:
    """Write a record."""
    store.put(erasure.key, f"{json.dumps({'format': ERASURE, **asdict(erasure)}, indent=1)}\n".encode(), "application/json")


def list_erasures(store: Store, dataset: str) -> Iterator[Erasure]:
    """Yield the erasures of a dataset. Raises DamagedError (65) for a record that cannot be read, NewerFormatError (78) for a newer one."""
    for key in store.list_keys(f"raw/{dataset}/{FOLDER}/"):
        try:
            document = json.loads(store.get(key))
            check_format(store.uri(key), document.pop("format", None), ERASURE)
            yield Erasure(**document)
        except (ValueError, TypeError, AttributeError) as error:
            raise DamagedError(f"{store.uri(key)} is damaged: {error}; restore it from a backup") from None


def _hash(salt: str, value: str) -> str:
    return hashlib.sha256(f"{salt}{value}".encode()).hexdigest()
