"""Parse FiscalData's JSON: one row per record, in the order of the answer. Every value is text; an absent one is the text null."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jobkit import lossless_json, paging
from jobkit.errors import BadDataError

from extract_fiscaldata_debt.source import TABLES

if TYPE_CHECKING:
    from jobkit.contracts import Columns
    from jobkit.requests import Request

# Patterns of the types that FiscalData states in each answer. Another one is another quantity, such as millions in place of dollars. The
# number behind CURRENCY is that of decimals to show. What answers of auctions state is only known of one of its amounts (CURRENCY0).
DOLLARS = r"CURRENCY\d*"
NOT_OTHER_MONEY = rf"{DOLLARS}|(?!CURRENCY).*"
TYPES = {
    "fiscaldata_debt": {
        "record_date": "DATE",
        **dict.fromkeys(("debt_held_public_amt", "intragov_hold_amt", "tot_pub_debt_out_amt"), DOLLARS),
    },
    "fiscaldata_auctions": dict.fromkeys(("offering_amt", "total_tendered", "total_accepted", "soma_accepted"), NOT_OTHER_MONEY),
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
        _check_types(meta.get("dataTypes") if isinstance(meta, dict) else None, TYPES[request.dataset], what)
        rows += [{name: None if value == "null" else value for name, value in row.items()} for row in paging.read_rows(page, "data", what)]
    day, year = TABLES[request.dataset.removeprefix("fiscaldata_")].day, partition.removeprefix("year=")
    if strays := {str(row.get(day)) for row in rows if not str(row.get(day)).startswith(f"{year}-")}:
        raise BadDataError(f"{what} has {day} {', '.join(sorted(strays)[:3])}")
    return {partition: lossless_json.build_columns(rows)} if rows else {}


def _check_types(stated: object, expected: dict[str, str], what: str) -> None:
    found = stated if isinstance(stated, dict) else {}
    if other := {name: found.get(name) for name, kind in expected.items() if not re.fullmatch(kind, str(found.get(name)))}:
        raise BadDataError(f"{what} states the types {other} where dollars and a day were expected")
