"""markets.newyorkfed.org: EFFR of early 2023, SOFR and OBFR of a week in June 2024, and two days of August 2026 with SOFR's averages.

The service writes its JSON with odd spaces, newest day first, and leaves out the fields that a rate does not have.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from verification.sample_vendors import sample
from verification.sample_vendors.wire import Answer, Request, not_found

if TYPE_CHECKING:
    from collections.abc import Iterable

PATH = re.compile(r"/api/rates/(?:secured/(sofr|bgcr|tgcr|sofrai)|unsecured/(effr|obfr))/search\.json")
NO_STORE = {"Cache-Control": "no-store"}


def answer(request: Request) -> Answer:
    """Return the requested days of a rate."""
    asked = PATH.fullmatch(request.path)
    if asked is None:
        return not_found()
    first, last = request.query.get("startDate", ""), min(request.query.get("endDate", request.today), request.today)
    return Answer(200, search(asked[1] or asked[2], first, last).encode(), "application/json", NO_STORE)


def search(name: str, first: str, last: str) -> str:
    """Return the days of a rate from `first` to `last` as the service writes them."""
    rows = sample.table("nyfed_sofr_averages" if name == "sofrai" else "nyfed_rates")
    days = [row for row in reversed(rows) if row.get("type", "SOFRAI") == name.upper() and first <= row["effectiveDate"] <= last]
    return '{ "refRates": [ ' + ", ".join(_write_day(name.upper(), row.items()) for row in days) + " ] }"


def _write_day(name: str, cells: Iterable[tuple[str, str]]) -> str:
    figures = {key: text for key, text in cells if text and key not in {"type", "effectiveDate"}}
    day = dict(cells)["effectiveDate"]
    numbers = "".join(f' ,"{key}": {text}' for key, text in figures.items())
    return f'{{ "effectiveDate": "{day}", "type": "{name}"{numbers} ,"revisionIndicator": "" }}'
