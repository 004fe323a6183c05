"""api.fiscaldata.treasury.gov: debt to the penny of the first quarter of 2025, three auctions and an announced one.

Every value is text, an absent one the text null. Pages say how many rows there are in all; their links are parts of a query, no addresses.
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING

from verification.sample_vendors import sample
from verification.sample_vendors.wire import Answer, Request, json_answer, not_found

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = "/services/api/fiscal_service/"
TABLES = {"v2/accounting/od/debt_to_penny": "fiscaldata_debt", "v1/accounting/od/auctions_query": "fiscaldata_auctions"}
CONDITION = re.compile(r"(\w+):(gte|lte):(\d{4}-\d{2}-\d{2})")
SEPTEMBER = 9
Row = dict[str, str]


def answer(request: Request) -> Answer:
    """Return the requested page of a table."""
    table = TABLES.get(request.path.removeprefix(FOLDER))
    conditions = [CONDITION.fullmatch(text) for text in request.query.get("filter", "").split(",") if text]
    if table is None:
        return not_found()
    if not all(conditions):
        return json_answer(400, {"error": "Invalid Query Param", "message": f"Invalid query parameter for {request.path}"})
    rows = select(table, [condition.groups() for condition in conditions if condition])
    number, size = (int(request.query.get(f"page[{name}]", default)) for name, default in (("number", "1"), ("size", "100")))
    return json_answer(200, page(rows, number, size))


def select(table: str, conditions: Sequence[tuple[str, ...]]) -> list[Row]:
    """Return the rows of a table for which all conditions hold, as the service writes them."""
    rows = [_complete(row) if table == "fiscaldata_debt" else row for row in sample.table(table)]
    return [row for row in rows if all(row[name] >= day if kind == "gte" else row[name] <= day for name, kind, day in conditions)]


def page(rows: list[Row], number: int, size: int) -> dict[str, object]:
    """Return one page of the rows."""
    pages = max(-(-len(rows) // size), 1)
    shown = rows[(number - 1) * size : number * size]
    kinds = {name: _kind(name) for row in rows[:1] for name in row} or {name: _kind(name) for name in ("record_date", *AMOUNTS)}
    links = {name: f"&page%5Bnumber%5D={at}&page%5Bsize%5D={size}" for name, at in (("self", number), ("first", 1), ("last", pages))}
    neighbours = {
        "prev": f"&page%5Bnumber%5D={number - 1}&page%5Bsize%5D={size}" if number > 1 else None,
        "next": f"&page%5Bnumber%5D={number + 1}&page%5Bsize%5D={size}" if number < pages else None,
    }
    meta = {"count": len(shown), "dataTypes": kinds, "total-count": len(rows), "total-pages": pages}
    return {"data": shown, "meta": meta, "links": {**links, **neighbours}}


AMOUNTS = ("debt_held_public_amt", "intragov_hold_amt", "tot_pub_debt_out_amt", "offering_amt")


def _complete(row: Row) -> Row:
    """Return a day of the debt with the fields that follow from its date. The fiscal year begins in October."""
    day = date.fromisoformat(row["record_date"])
    fiscal = day.month + 3
    return {
        **row,
        "src_line_nbr": "1",
        "record_fiscal_year": str(day.year + (day.month > SEPTEMBER)),
        "record_fiscal_quarter": str((fiscal - 1) // 3 % 4 + 1),
        "record_calendar_year": str(day.year),
        "record_calendar_quarter": str((day.month - 1) // 3 + 1),
        "record_calendar_month": f"{day.month:02}",
        "record_calendar_day": f"{day.day:02}",
    }


def _kind(name: str) -> str:
    return "DATE" if name.endswith("_date") else "CURRENCY" if name in AMOUNTS else "STRING"
