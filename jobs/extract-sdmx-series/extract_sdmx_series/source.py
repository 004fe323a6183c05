"""Series of an SDMX service (REST API of SDMX 2.1): one request per series and year, without a key.

A year is asked for with a week more at both ends: a week of the year may begin or end in another one. The parser leaves out what belongs
to the neighbours. A partition is never made of what was updated since a moment (updatedAfter): the answer is a part of the year, from which
nobody can tell what is unchanged and what is gone. It only says which years before the requested ones have to be requested again. What
was deleted need not be in it, so a run with a Monday in its range requests all of them. Last-Modified spares the transfer of what has not
changed.

Source: https://data.ecb.europa.eu/help/api/data
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING

from jobkit.errors import BadDataError, UsageError
from jobkit.refusals import Meaning
from jobkit.requests import Request, first_day, years

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jobkit.http import Client

BASE_URL = "https://data-api.ecb.europa.eu/service"
# The rate, the rates at the 25th and 75th percentile of the volume, and the volume. Their frequency is B (business days), not D.
EURO_SHORT_TERM_RATE = tuple(f"EST.B.EU000A2X2A25.{item}" for item in ("WT", "R25", "R75", "TT"))
DATASET = "sdmx_observations"
ESCAPED_AT = ".."  # no name of a partition has an @; no key has an empty value
MARGIN = timedelta(days=7)
# Since the last run with a Monday, and two days more: an update is published some time after its moment.
UPDATED_DAYS = timedelta(days=7 + 2)
DAYS_OF_WEEK = 7
# Of an unknown series, and of one that begins later, ECB says the same.
MEANINGS = (
    Meaning(404, "no ?(results|records) ?found", "empty", "https://data.ecb.europa.eu/help/api/data", "2026-11"),
    Meaning(404, "no results matching", "empty", "https://github.com/amattioc/SDMX/issues/105", "2016-07"),
    Meaning(200, r"\A\Z", "empty", "https://github.com/beancount/beanprice reads no bytes as no data", "2026-11"),
)


def build_requests(
    *, start: date, end: date, lookback_days: int, keys: Sequence[str], agency: str, csv_format: str, **_: object
) -> list[Request]:
    """Build one request per series and year. Raises UsageError (exit code 2) if `end` is before `start`."""
    span = years(start, end, lookback_days)
    return [_build_request(agency, series, year, csv_format) for series in dict.fromkeys(keys) for year in span]


def _build_request(agency: str, series: str, year: int, csv_format: str) -> Request:
    first = max(date(year, 1, 1), date.min + MARGIN) - MARGIN
    days = (("startPeriod", str(first)), ("endPeriod", str(date(year, 12, 31) + MARGIN)))
    path = _build_path(agency, series)
    return Request(DATASET, (f"{_name_series(agency, series)}{year}",), path, (*days, ("format", csv_format)))


def _build_path(agency: str, series: str) -> str:
    """Return the path of a series. Services of several agencies have dataflows of the same name; the version is the latest."""
    flow, _, key = series.partition(".")
    return f"/data/{agency},{flow}/{key}"


def _name_series(agency: str, series: str) -> str:
    """Return the beginning of the names of a series' partitions."""
    return f"agency={agency}/series={series.replace('@', ESCAPED_AT)}/year="


def find_lister(
    *,
    lake: str,
    start: date,
    end: date,
    lookback_days: int,
    keys: Sequence[str],
    agency: str,
    csv_format: str,
    older_years: str,
    **_: object,
) -> Callable[[Client, list[Request]], list[Request]]:
    """Return what adds requests for years of the lake before those that the options name."""
    first = first_day(start, end, lookback_days)
    has_monday = start.weekday() == 0 or start.weekday() + (end - start).days >= DAYS_OF_WEEK
    return partial(
        list_requests,
        lake=lake,
        series_keys=tuple(dict.fromkeys(keys)),
        agency=agency,
        csv_format=csv_format,
        before=first.year if older_years == "updated" else 0,
        since=None if has_monday else f"{max(start, date.min + UPDATED_DAYS) - UPDATED_DAYS}T00:00:00Z",
    )


def list_requests(
    client: Client,
    requests: list[Request],
    *,
    lake: str,
    series_keys: Sequence[str],
    agency: str,
    csv_format: str,
    before: int,
    since: str | None,
) -> list[Request]:
    """Return the requests, after those for years of the lake before the year `before`: the ones updated since a moment, or all without one.

    Raises UsageError (exit code 2) for a series that the lake does not have and of which the agency has no observation at all.
    """
    from jobkit.lake import Lake  # noqa: PLC0415  describe reads no lake

    partitions, older = Lake(lake).partitions(DATASET), []
    for series in series_keys:
        read_years = partial(_read_years, client, agency, series, csv_format)
        name = _name_series(agency, series)
        stored = [int(partition.removeprefix(name)) for partition in partitions if partition.startswith(name)]
        if not stored and not read_years("lastNObservations", "1"):
            raise UsageError(
                f"{agency} has no observation of the series {series}, of any day; look at the spelling and the order of the dimensions in "
                "--keys, at --agency and at --base-url"
            )
        years_before = [year for year in stored if year < before]
        updated = read_years("updatedAfter", since) if since and years_before else set(years_before)
        older += [_build_request(agency, series, year, csv_format) for year in years_before if year in updated]
    return [*older, *requests]


def _read_years(client: Client, agency: str, series: str, csv_format: str, name: str, value: str) -> set[int]:
    """Return the years of the observations that the agency selects by a parameter; none if it has nothing for the question."""
    from jobkit import csvtext  # noqa: PLC0415  describe needs no network
    from jobkit.http import ResourceNotFoundError  # noqa: PLC0415

    try:
        body = client.get(_build_path(agency, series), ((name, value), ("format", csv_format))).body or b""
    except ResourceNotFoundError:
        return set()
    what = f"the answer of {agency} for {series}"
    header, rows = csvtext.read(body, what)
    if "TIME_PERIOD" not in header:
        raise BadDataError(f"{what} has the columns {', '.join(header)[:160]}; expected TIME_PERIOD")
    found = (row[header.index("TIME_PERIOD")][:4] for row in rows)
    return {int(year) for year in found if year.isdecimal()}


def build_client(hosts: Sequence[str], *, base_url: str, **_: object) -> Client:
    """Build a client that accepts only CSV."""
    from jobkit.http import Client, Rate  # noqa: PLC0415  describe needs no network

    return Client(base_url, hosts=hosts, accept=("application/vnd.sdmx.data+csv", "text/csv"), rate=Rate(5, 1))
