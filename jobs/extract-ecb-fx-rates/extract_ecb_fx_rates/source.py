"""Where the ECB publishes its reference rates. No key, no stated limit; the files carry ETag and Last-Modified.

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
    """One question, whichever file: the history fills every year of the range, the daily file one day.

    Raises UsageError on a range that runs backwards, and on a daily file asked for more than one day.
    """
    if file == "history":
        return [Request("ecb_fx_rates", tuple(f"year={year}" for year in years(start, end, lookback_days)), HISTORY)]
    check_date_range(start, end)
    if start != end:
        raise UsageError(f"the daily file holds one day, but --start {start} and --end {end} differ; use --file history for a range")
    return [Request("ecb_fx_rates_daily", (f"date={end}",), DAILY)]


def build_client(hosts: Sequence[str], *, base_url: str, **_: object) -> Client:
    """A client that accepts zip files only."""
    from jobkit.http import Client, Rate  # noqa: PLC0415  describe needs no network

    return Client(
        base_url,
        hosts=hosts,
        accept=("application/zip", "application/x-zip-compressed", "application/octet-stream"),
        rate=Rate(2, 1),
    )
