"""Parse GLEIF's answer about an ISIN: one row per LEI record; for an ISIN without one, a row that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobkit import lossless_json
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from jobkit.contracts import Columns
    from jobkit.requests import Request

NAMES = ("isin", "result", "lei", "legal_name", "entity_status", "registration_status", "publish_date")
UNKNOWN = "no LEI known"


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Return the columns of the ISIN, in the order of the answer.

    Raises BadDataError (exit code 65) for another document, and for an answer without all of its records: a filter that GLEIF did not apply
    has millions.
    """
    (partition,) = request.partitions
    isin = partition.removeprefix("isin=")
    what = f"GLEIF's answer about {isin}"
    answer = lossless_json.decode(body, what)
    try:
        total, published = answer["meta"]["pagination"]["total"], answer["meta"]["goldenCopy"]["publishDate"]
        found = [_read(record["attributes"]) for record in answer["data"]]
    except (KeyError, TypeError):
        raise BadDataError(f"{what} is not a list of LEI records; it begins {body[:60]!r}") from None
    if total != len(found):
        raise BadDataError(f"{what} has {len(found):,} of {total} LEI records; expected all of them, as an ISIN has few")
    rows = [{"isin": isin, "publish_date": published, **record} for record in found or [{"result": UNKNOWN}]]
    return {partition: lossless_json.build_columns(rows, NAMES)}


def _read(record: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a record."""
    entity = record["entity"]
    return {
        "result": record["lei"],
        "lei": record["lei"],
        "legal_name": entity["legalName"]["name"],
        "entity_status": entity["status"],
        "registration_status": record["registration"]["status"],
    }
