"""The US Treasury's par yield curve: one CSV per year, without a key or a stated rate limit.

Source: https://home.treasury.gov/policy-issues/financing-the-government/interest-rate-statistics
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit.requests import Request, years

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from jobkit.http import Client

BASE_URL = "https://home.treasury.gov"
PATH = "/resource-center/data-chart-center/interest-rates/daily-treasury-rates.csv/{year}/all"


def build_requests(*, start: date, end: date, lookback_days: int, **_: object) -> list[Request]:
    """Build one request per year. Raises UsageError (exit code 2) if `end` is before `start`."""
    return [_build_request(str(year)) for year in years(start, end, lookback_days)]


def _build_request(year: str) -> Request:
    query = (("type", "daily_treasury_yield_curve"), ("field_tdr_date_value", year), ("page", ""), ("_format", "csv"))
    return Request("treasury_par_yields", (f"year={year}",), PATH.format(year=year), query)


def build_client(hosts: Sequence[str], *, base_url: str, **_: object) -> Client:
    """Build a client that accepts only CSV."""
    from jobkit.http import Client, Rate  # noqa: PLC0415  describe needs no network

    return Client(base_url, hosts=hosts, accept=("text/csv",), rate=Rate(5, 1))
