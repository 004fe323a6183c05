"""Tiingo's daily prices: one request per ticker for whole years, so that a partition does not depend on the requested range.

Source: https://www.tiingo.com/documentation/end-of-day
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import requests
from jobkit.refusals import Meaning
from jobkit.requests import Request, years

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from jobkit.http import Client, Response
    from jobkit.lake import Source

BASE_URL = "https://api.tiingo.com"
LIMITS = "https://www.tiingo.com/documentation/general/overview"
AN_HOUR_S = 3600.0  # Tiingo's limits are per hour, day and month
MEANINGS = (
    Meaning(200, "invalid token|supply a token|authentication credentials|do not have permission", "refused", LIMITS, "2026-11"),
    Meaning(
        200, "run over your|request allocation|limits increased", "temporary",
        "https://github.com/hydrosquall/tiingo-python/issues/45", "2017-11", AN_HOUR_S,
    ),
    Meaning(200, r""""detail"\s*:\s*"not found""", "missing", LIMITS, "2026-11"),
    Meaning(200, r"""^\s*(\{\s*"detail"|"?error\b)""", "temporary", LIMITS, "2026-11"),
    Meaning(403, "run over your|request allocation|limits increased", "temporary", LIMITS, "2026-11", AN_HOUR_S),
    Meaning(429, "", "temporary", LIMITS, "2026-11", AN_HOUR_S),
)  # fmt: skip


def build_requests(*, tickers: Sequence[str], start: date, end: date, lookback_days: int, **_: object) -> list[Request]:
    """Build one request per ticker. Raises UsageError (exit code 2) if `end` is before `start`."""
    span = years(start, end, lookback_days)
    query = (("startDate", f"{span[0]}-01-01"), ("endDate", f"{span[-1]}-12-31"), ("format", "json"), ("resampleFreq", "daily"))
    return [
        Request("tiingo_prices", tuple(f"ticker={ticker}/year={year}" for year in span), f"/tiingo/daily/{ticker}/prices", query)
        for ticker in dict.fromkeys(tickers)
    ]


def build_client(hosts: Sequence[str], *, base_url: str, token: str, requests_per_hour: int, **_: object) -> Client:
    """Build a client with the API token and the plan's limit per hour."""
    from jobkit import secrets  # noqa: PLC0415  describe needs neither
    from jobkit.http import Client, Rate  # noqa: PLC0415

    headers = {"Authorization": f"Token {secrets.resolve_token(token)}"}
    return Client(base_url, hosts=hosts, accept=("application/json",), rate=Rate(requests_per_hour, 3600), headers=headers)


def fetch(client: Client, request: Request, previous: Source | None) -> Response:
    """Return the response. Raises ResourceNotFoundError (exit code 65) for an unknown ticker."""
    from jobkit.http import ResourceNotFoundError  # noqa: PLC0415

    try:
        return requests.fetch(client, request, previous)
    except ResourceNotFoundError:
        ticker = request.path.split("/")[3]
        raise ResourceNotFoundError(f"Tiingo knows no ticker {ticker}; check its spelling (a share class is written BRK-B)") from None
