"""Parse FiscalData's JSON: one row per record, in the order of the answer. Every value is text; an absent one is the text null."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import lossless_json, paging
from jobkit.errors import BadDataError

from extract_fiscaldata_debt.source import TABLES

if TYPE_CHECKING:
    from jobkit.contracts import Columns
    from jobkit.requests import Request

# The types that FiscalData states in each answer. Another one is another quantity, such as millions in place of dollars.
TYPES = {
    "fiscaldata_debt": {
        "record_date": "DATE",
        "debt_held_public_amt": "CURRENCY",
        "intragov_hold_amt": "CURRENCY",
        "tot_pub_debt_out_amt": "CURRENCY",
    }
}


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Return the columns of the requested year; empty for a year without records.

    Raises BadDataError (exit code 65) if the body is another document, states other types, or has days of another year.
    """
    (partition,) = request.partitions
    what = f"FiscalData's answer for {request.dataset} of {partition}"
    rows = []
    for page in paging.read_pages(body, what):
        meta = page.get("meta")
        _check_types(meta.get("dataTypes") if isinstance(meta, dict) else None, TYPES.get(request.dataset, {}), what)
        rows += [{name: None if value == "null" else value for name, value in row.items()} for row in paging.read_rows(page, "data", what)]
    day, year = TABLES[request.dataset.removeprefix("fiscaldata_")].day, partition.removeprefix("year=")
    if strays := {str(row.get(day)) for row in rows if not str(row.get(day)).startswith(f"{year}-")}:
        raise BadDataError(f"{what} has {day} {', '.join(sorted(strays)[:3])}")
    return {partition: lossless_json.build_columns(rows)} if rows else {}


def _check_types(stated: object, expected: dict[str, str], what: str) -> None:
    found = stated if isinstance(stated, dict) else {}
    if other := {name: found.get(name) for name, kind in expected.items() if found.get(name) != kind}:
        raise BadDataError(f"{what} states the types {other} where { ({name: expected[name] for name in other}) } was expected")
