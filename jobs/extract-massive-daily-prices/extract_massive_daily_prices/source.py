"""Massive's grouped daily bars: one request per weekday for all stocks, unadjusted, so that the response does not depend on today's date.

Source: https://massive.com/docs/rest/stocks/aggregates/daily-market-summary
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from jobkit import requests
from jobkit.refusals import Meaning
from jobkit.requests import Request, first_day

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from jobkit.http import Client, Response
    from jobkit.lake import Source

BASE_URL = "https://api.massive.com"
PATH = "/v2/aggs/grouped/locale/us/market/stocks/{day}"
SATURDAY = 5
LIMITS, PLANS = "https://github.com/polygon-io/issues/issues/112", "https://massive.com/pricing"
MEANINGS = (
    Meaning(200, r""""status"\s*:\s*"NOT_AUTHORIZED"|unknown api key""", "refused", PLANS, "2026-11"),
    Meaning(200, r"""^\s*\{.*"status"\s*:\s*"ERROR"|maximum requests per minute""", "temporary", LIMITS, "2026-11"),
    Meaning(403, "maximum requests per minute", "temporary", LIMITS, "2026-11"),
)


def build_requests(*, start: date, end: date, lookback_days: int, **_: object) -> list[Request]:
    """Build one request per weekday. Raises UsageError (exit code 2) if `end` is before `start`."""
    first = first_day(start, end, lookback_days)
    days = (first + timedelta(days=n) for n in range((end - first).days + 1))
    query = (("adjusted", "false"), ("include_otc", "false"))
    return [Request("massive_daily_prices", (f"date={day}",), PATH.format(day=day), query) for day in days if day.weekday() < SATURDAY]


def build_client(hosts: Sequence[str], *, base_url: str, token: str, requests_per_minute: int, **_: object) -> Client:
    """Build a client with the API key and the plan's limit per minute."""
    from jobkit import secrets  # noqa: PLC0415  describe needs neither
    from jobkit.http import Client, Rate  # noqa: PLC0415

    headers = {"Authorization": f"Bearer {secrets.resolve_token(token)}"}
    return Client(base_url, hosts=hosts, accept=("application/json",), rate=Rate(requests_per_minute, 60), headers=headers)


def fetch(client: Client, request: Request, previous: Source | None) -> Response:
    """Return the response. Retry once if it has no results: Massive sends such responses under load too, not only for a closed market."""
    response = requests.fetch(client, request, previous)
    is_empty = response.content and b'"T"' not in response.content.read()
    return requests.fetch(client, request, None) if is_empty else response
