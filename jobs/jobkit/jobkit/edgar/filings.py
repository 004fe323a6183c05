"""Filings of some forms: EDGAR's lists of a filer's filings, then each filing as one text with its header and all documents.

The text is requested and not the primary document of the list, which for XML is a page made of it (xslF345X05/form4.xml): only the text has
the moment of acceptance, in the header.

Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit import edgar, extractor, options, requests
from jobkit.edgar.filer_documents import CIK
from jobkit.errors import BadDataError
from jobkit.requests import Request, first_day

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from datetime import date
    from typing import NoReturn

    from jobkit.http import Client, Response
    from jobkit.lake import Source

BASE_URL, LIST_URL = "https://www.sec.gov", "https://data.sec.gov"


class FilingKind(NamedTuple):
    """What a job extracts: filings of some forms since a day (ISO), each a partition of a dataset.

    `partition` is the name of a filing's partition with {cik} and {accession}. A filing is listed under each of its filers; where both have
    the same partition, it is requested once.
    """

    dataset: str
    forms: tuple[str, ...]
    partition: str
    since: str


def build_command(package: str, kind: FilingKind, option: str, described: str) -> Callable[[], NoReturn]:
    """Build the command of a job that extracts filings. `option` names the filers, as in --managers; `described` is its help."""
    name = option.removeprefix("--")

    def find_lister(**values: Any) -> Callable[[Client, list[Request]], list[Request]]:  # noqa: ANN401  those of the options
        dates = {option: values[option] for option in ("start", "end", "lookback_days")}
        return build_lister(kind, values[name], base_url=values["base_url"], **dates)

    return extractor.build(
        package,
        [
            options.start(),
            options.end(),
            options.lookback_days(7, "a filing can be listed some days after SEC accepted it"),
            options.option(option, required=True, multiple=True, type=CIK, help=described),
            options.contact(),
            options.base_url(BASE_URL),
        ],
        build_requests=lambda **_: [],  # only SEC's lists say which filings there are
        build_client=build_client,
        fetch=fetch,
        parse=extractor.import_parser(package),
        find_lister=find_lister,
        meanings=edgar.MEANINGS,
    )


def build_lister(
    kind: FilingKind, ciks: Sequence[str], *, start: date, end: date, lookback_days: int, base_url: str
) -> Callable[[Client, list[Request]], list[Request]]:
    """Return what lists the filers' filings of the days, the oldest first. Raises UsageError (2) if `end` is before `start`."""
    first, last = max(kind.since, str(first_day(start, end, lookback_days))), str(end)
    host = LIST_URL if base_url == BASE_URL else ""  # below another base URL, the lists are, too

    def list_requests(client: Client, _named: list[Request]) -> list[Request]:
        found: dict[str, Request] = {}
        for cik in dict.fromkeys(cik.zfill(10) for cik in ciks):
            for accession in _list_accessions(client, cik, kind.forms, first, last, host):
                name = kind.partition.format(cik=cik, accession=accession)
                found.setdefault(name, Request(kind.dataset, (name,), f"/Archives/edgar/data/{int(cik)}/{accession}.txt"))
        return list(found.values())

    return list_requests


def _list_accessions(client: Client, cik: str, forms: Collection[str], first: str, last: str, host: str) -> list[str]:
    """Return the accession numbers of a filer's filings of these forms and days, the oldest first."""
    filings = _iter_filings(client, cik, first, host)
    found = {accession: filed for form, filed, accession in filings if form in forms and first <= filed <= last}
    return sorted(found, key=lambda accession: (found[accession], accession))


def _iter_filings(client: Client, cik: str, first: str, host: str) -> Iterator[tuple[str, str, str]]:
    """Yield form, day and accession number of all filings of a filer, and of older lists as far as they reach the first day.

    Raises ResourceNotFoundError (2) for a filer that SEC does not know.
    """
    from jobkit.edgar import filing_list  # noqa: PLC0415  it needs msgspec

    for _, page in filing_list.fetch(client, f"{host}/submissions", cik, first):
        yield from filing_list.list_rows(page, cik)


def fetch(client: Client, request: Request, previous: Source | None) -> Response:
    """Return a filing. Raises BadDataError (65) if SEC lists it and does not have it."""
    from jobkit.http import ResourceNotFoundError  # noqa: PLC0415  describe needs no network

    try:
        return requests.fetch(client, request, previous)
    except ResourceNotFoundError as error:
        raise BadDataError(f"SEC lists a filing that it does not have: {error}; run it again later, or ask SEC's webmaster") from None


def build_client(hosts: Sequence[str], *, base_url: str, contact: str, **_: object) -> Client:
    """Build a client that keeps SEC's limit and names the contact."""
    from jobkit.http import Client  # noqa: PLC0415  describe needs no network

    return Client(base_url, hosts=hosts, accept=("text/plain", "application/json"), **edgar.client_options(contact))
