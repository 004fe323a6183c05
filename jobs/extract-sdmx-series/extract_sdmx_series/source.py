"""Series of an SDMX service (REST API of SDMX 2.1): one request per series and year, without a key.

A year is asked for with a week more at both ends: a week of the year may begin or end in another one. The parser leaves out what belongs
to the neighbours. The question is never for what was updated since a day (updatedAfter): the answer would be a part of the year, from
which nobody can tell what is unchanged and what is gone. Last-Modified spares the transfer of what has not changed.

Source: https://data.ecb.europa.eu/help/api/data
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from jobkit.refusals import Meaning
from jobkit.requests import Request, years

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.http import Client

BASE_URL = "https://data-api.ecb.europa.eu/service"
# The rate, the rates at the 25th and 75th percentile of the volume, and the volume. Their frequency is B (business days), not D.
EURO_SHORT_TERM_RATE = tuple(f"EST.B.EU000A2X2A25.{item}" for item in ("WT", "R25", "R75", "TT"))
MARGIN = timedelta(days=7)
# Of an unknown series, and of one that begins later, ECB says the same.
MEANINGS = (
    Meaning(404, "no results found", "empty", "https://data.ecb.europa.eu/help/api/data", "2026-11"),
    Meaning(200, r"\A\Z", "empty", "https://github.com/beancount/beanprice reads no bytes as no data", "2026-11"),
)


def build_requests(
    *, start: date, end: date, lookback_days: int, keys: Sequence[str], agency: str, csv_format: str, **_: object
) -> list[Request]:
    """Build one request per series and year. Raises UsageError (exit code 2) if `end` is before `start`."""
    span = years(start, end, lookback_days)
    return [_build_request(agency, series, year, csv_format) for series in dict.fromkeys(keys) for year in span]


def _build_request(agency: str, series: str, year: int, csv_format: str) -> Request:
    flow, _, key = series.partition(".")
    days = (("startPeriod", str(date(year, 1, 1) - MARGIN)), ("endPeriod", str(date(year, 12, 31) + MARGIN)))
    return Request(
        "sdmx_observations", (f"agency={agency}/series={series}/year={year}",), f"/data/{flow}/{key}", (*days, ("format", csv_format))
    )


def build_client(hosts: Sequence[str], *, base_url: str, **_: object) -> Client:
    """Build a client that accepts only CSV."""
    from jobkit.http import Client, Rate  # noqa: PLC0415  describe needs no network

    return Client(base_url, hosts=hosts, accept=("application/vnd.sdmx.data+csv", "text/csv"), rate=Rate(5, 1))
