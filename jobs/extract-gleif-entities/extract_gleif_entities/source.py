"""GLEIF's golden copy: three kinds of records, each as a full file and as deltas, published three times a day, without a key.

A delta applies only if it starts no later than the content that the lake has; else the next longer one is taken, and at last the full
file. The shortest that is asked for covers a day: a longer delta repeats a shorter one, so the one of eight hours is never needed.

Source: https://www.gleif.org/en/lei-data/gleif-golden-copy
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.http import Client
    from jobkit.requests import VendorClient

    from extract_gleif_entities.golden_copy import GoldenCopy

BASE_URL = "https://goldencopy.gleif.org"
FULL = "full"
FILES = "gleif_files"  # the dataset with one row per file that was read as a whole
DELTAS = ("LastDay", "LastWeek", "LastMonth")  # shortest first


class Kind(NamedTuple):
    """A kind of records: GLEIF's name of the file, and the element that is a record."""

    file: str
    element: str


KINDS = {
    "gleif_entities": Kind("lei2", "LEIRecord"),
    "gleif_relationships": Kind("rr", "RelationshipRecord"),
    "gleif_exceptions": Kind("repex", "Exception"),
}


class Published(NamedTuple):
    """A published file: full or the name of a delta, where it came from, and its content."""

    file_kind: str
    url: str
    copy: GoldenCopy


def path(dataset: str) -> str:
    """Return the path of the newest file of a dataset."""
    return f"/api/v2/golden-copies/publishes/{KINDS[dataset].file}/latest.xml"


def params(file_kind: str) -> tuple[tuple[str, str], ...]:
    """Return the query that selects a delta; none for the full file."""
    return () if file_kind == FULL else (("delta", file_kind),)


def fetch(client: VendorClient, dataset: str, last_content: str | None) -> Published | None:
    """Return the smallest file that leads from the content of the lake to GLEIF's newest; None if the lake has that already.

    `last_content` is the moment (ISO 8601, UTC) of the content in the lake; None without any, which asks for the full file.
    Raises BadDataError (exit code 65) for a file that is not what was asked for or that is not complete.
    """
    from extract_gleif_entities.golden_copy import GoldenCopy  # noqa: PLC0415  describe reads no file

    for file_kind in (*(DELTAS if last_content else ()), FULL):
        response = client.get(path(dataset), params(file_kind))
        copy = GoldenCopy(response, KINDS[dataset].element, is_delta=file_kind != FULL)
        if last_content and copy.header.content_date <= last_content:
            return None
        if file_kind == FULL or (last_content and copy.header.delta_start <= last_content):
            copy.check()
            return Published(file_kind, response.url, copy)
    raise AssertionError  # the full file always applies


def build_client(hosts: Sequence[str], *, base_url: str) -> Client:
    """Build a client that accepts only zip files."""
    from jobkit.http import Client, Rate  # noqa: PLC0415  describe needs no network

    return Client(base_url, hosts=hosts, accept=("application/zip", "application/octet-stream"), rate=Rate(1, 1))
