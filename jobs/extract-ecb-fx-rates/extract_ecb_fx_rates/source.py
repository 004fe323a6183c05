"""The ECB's reference rates: two files, with ETag and Last-Modified, without a key or a stated rate limit.

Source: https://www.ecb.europa.eu/stats/policy_and_exchange_rates/euro_reference_exchange_rates/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit.errors import UsageError
from jobkit.requests import Request, check_date_range, years

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from jobkit.http import Client

BASE_URL = "https://www.ecb.europa.eu"
HISTORY, DAILY = "/stats/eurofxref/eurofxref-hist.zip", "/stats/eurofxref/eurofxref.zip"


def build_requests(*, start: date, end: date, lookback_days: int, file: str, **_: object) -> list[Request]:
    """Build one request. The history fills each year of the range, the daily file one day.

    Raises UsageError (exit code 2) if `end` is before `start`, or if the daily file is requested for more than one day.
    """
    if file == "history":
        return [Request("ecb_fx_rates", tuple(f"year={year}" for year in years(start, end, lookback_days)), HISTORY)]
    check_date_range(start, end)
    if start != end:
        raise UsageError(f"the daily file has one day, but --start {start} and --end {end} differ; use --file history for a range")
    return [Request("ecb_fx_rates_daily", (f"date={end}",), DAILY)]


def build_client(hosts: Sequence[str], *, base_url: str, **_: object) -> Client:
    """Build a client that accepts only zip files."""
    from jobkit.http import Client, Rate  # noqa: PLC0415  describe needs no network

    return Client(
        base_url,
        hosts=hosts,
        accept=("application/zip", "application/x-zip-compressed", "application/octet-stream"),
        rate=Rate(2, 1),
    )
