"""The New York Fed's reference rates: one request per rate and year, without a key. Answers are never conditional: they have no ETag.

Source: https://markets.newyorkfed.org/static/docs/markets-api.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit.requests import Request, years

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from jobkit.http import Client

BASE_URL = "https://markets.newyorkfed.org"
# Each rate's path and first year. SOFR's averages are no rate of a day: their date is that of their publication.
RATES = {
    "sofr": ("secured", 2018),
    "bgcr": ("secured", 2018),
    "tgcr": ("secured", 2018),
    "effr": ("unsecured", 2000),
    "obfr": ("unsecured", 2016),
    "sofrai": ("secured", 2020),
}


def build_requests(*, start: date, end: date, lookback_days: int, rates: Sequence[str], **_: object) -> list[Request]:
    """Build one request per rate and year. Raises UsageError (exit code 2) if `end` is before `start`."""
    span = years(start, end, lookback_days)
    return [_build_request(rate, year) for rate in dict.fromkeys(rates) for year in span if year >= RATES[rate][1]]


def _build_request(name: str, year: int) -> Request:
    dataset = "nyfed_sofr_averages" if name == "sofrai" else "nyfed_rates"
    days = (("startDate", f"{year}-01-01"), ("endDate", f"{year}-12-31"))
    return Request(dataset, (f"rate={name}/year={year}",), f"/api/rates/{RATES[name][0]}/{name}/search.json", days)


def build_client(hosts: Sequence[str], *, base_url: str, **_: object) -> Client:
    """Build a client that accepts only JSON."""
    from jobkit.http import Client, Rate  # noqa: PLC0415  describe needs no network

    return Client(base_url, hosts=hosts, accept=("application/json",), rate=Rate(5, 1))
