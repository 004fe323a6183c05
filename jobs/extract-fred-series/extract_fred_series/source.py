"""FRED's series: each request covers all of real time, so every vintage comes again and no interval is cut at the edge of a request.

FRED refuses observations of more than 2,000 vintages at once, which daily series have after eight years (seen in 2026: T10Y2Y, DFF). So
real time is divided into windows of fewer vintages, and the parser joins the intervals that a window cuts.

The end of real time is 9999-12-31 and never today: FRED's day begins in Chicago, hours after that of a worker in UTC, and FRED refuses a
later one. The key goes into the query, as FRED reads it nowhere else. Source: https://fred.stlouisfed.org/docs/api/fred/
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from jobkit import requests
from jobkit.refusals import Meaning
from jobkit.requests import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.http import Client, Response
    from jobkit.lake import Source
    from jobkit.paging import Offset

BASE_URL = "https://api.stlouisfed.org"
REAL_TIME = (("realtime_start", "1776-07-04"), ("realtime_end", "9999-12-31"))  # FRED's own first and last day
MAX_VINTAGES = 1900  # in a window; the last one has room for a month of new vintages
REQUESTS_PER_MINUTE = 120
ERRORS = "https://fred.stlouisfed.org/docs/api/fred/errors.html"
MEANINGS = (
    Meaning(400, "api_key", "refused", ERRORS, "2026-11"),
    Meaning(400, "does not exist", "missing", ERRORS, "2026-11"),
)
PAGED = {"fred_observations": ("observations", 100_000), "fred_release_dates": ("release_dates", 10_000)}  # list, most rows of a page


def build_requests(*, series: Sequence[str], releases: Sequence[str], **_: object) -> list[Request]:
    """Build three requests per series (description, release, observations) and one per release, each for the whole history."""
    found = []
    for name in dict.fromkeys(series):
        paths = {"fred_series": "", "fred_series_releases": "/release", "fred_observations": "/observations"}
        found += [_build_request(dataset, f"series={name}", f"/fred/series{path}", "series_id") for dataset, path in paths.items()]
    for number in dict.fromkeys(releases):
        request = _build_request("fred_release_dates", f"release={number}", "/fred/release/dates", "release_id")
        found.append(request._replace(params=(*request.params, ("include_release_dates_with_no_data", "true"))))  # else none to come
    return found


def _build_request(dataset: str, partition: str, path: str, key: str) -> Request:
    return Request(dataset, (partition,), path, ((key, partition.partition("=")[2]), ("file_type", "json"), *REAL_TIME))


def build_client(hosts: Sequence[str], *, base_url: str, token: str, **_: object) -> Client:
    """Build a client that sends the API key as the query parameter api_key."""
    from jobkit import secrets  # noqa: PLC0415  describe needs neither
    from jobkit.http import Client, Rate  # noqa: PLC0415

    key = {"api_key": secrets.resolve_token(token)}
    return Client(base_url, hosts=hosts, accept=("application/json",), rate=Rate(REQUESTS_PER_MINUTE, 60), secret_params=key)


def divide_real_time(vintage_dates: Sequence[str]) -> list[tuple[tuple[str, str], ...]]:
    """Return the parameters of windows that cover all of real time. Each begins with a vintage and has at most MAX_VINTAGES of them."""
    (_, first_day), (_, last_day) = REAL_TIME
    begins = [first_day, *vintage_dates[MAX_VINTAGES::MAX_VINTAGES]]
    ends = [*((date.fromisoformat(day) - timedelta(days=1)).isoformat() for day in begins[1:]), last_day]
    return [(("realtime_start", begin), ("realtime_end", end)) for begin, end in zip(begins, ends, strict=True)]


def _list_vintages(client: Client, request: Request) -> list[str]:
    """Return the vintages of a series, oldest first. Raises BadDataError (exit code 65) if one is no date."""
    from jobkit import paging  # noqa: PLC0415
    from jobkit.errors import BadDataError  # noqa: PLC0415

    what = f"the list of vintages of {request.partitions[0]}"
    listed = paging.fetch(client, request._replace(path="/fred/series/vintagedates"), _page("vintage_dates", 10_000))
    days = [day for page in paging.read_pages(listed.body or b"", what) for day in page["vintage_dates"] or ()]  # null is an empty list
    try:
        return [date.fromisoformat(day).isoformat() for day in days]
    except (TypeError, ValueError):
        raise BadDataError(f"{what} has {str(days)[:60]} where a date such as 2012-12-20 was expected; look at --base-url") from None


def _page(rows: str, size: int) -> Offset:
    from jobkit.paging import Offset  # noqa: PLC0415

    return Offset(rows, size, "offset", "limit", total="count")


def fetch(client: Client, request: Request, previous: Source | None) -> Response:
    """Return the response, all pages of it.

    Raises ResourceNotFoundError (exit code 2) for an unknown series or release, and for a series of which FRED keeps no vintages.
    """
    from jobkit import paging  # noqa: PLC0415  it needs msgspec
    from jobkit.http import ResourceNotFoundError  # noqa: PLC0415

    try:
        if request.dataset not in PAGED:
            return requests.fetch(client, request, previous)
        pages = _page(*PAGED[request.dataset])
        if request.dataset != "fred_observations":
            return paging.fetch(client, request, pages)
        without_window = tuple(param for param in request.params if param not in REAL_TIME)
        return paging.fetch(client, request._replace(params=without_window), pages, divide_real_time(_list_vintages(client, request)))
    except ResourceNotFoundError as error:
        what = request.partitions[0].replace("=", " ")
        if "ALFRED" in str(error):  # "The series does not exist in ALFRED but may exist in FRED."
            raise ResourceNotFoundError(
                f"FRED keeps no vintages of the {what}, so that nobody can say what was known of it on a day; leave it out of --series"
            ) from None
        raise ResourceNotFoundError(f"FRED knows no {what}; look its id up at fred.stlouisfed.org") from None
