"""A vendor's REST API as a table: where each dataset is, how its pages are requested, and how to log in.

    SOURCE = rest.Source(
        "https://api.acme.example",
        tables=(rest.Table("acme_gold", "/v1/gold", (("from", "{start}"), ("to", "{end}")), rows="data", pages=Cursor("next", "cursor")),),
        rate=(5, 1),
        auth=rest.ClientCredentials("/oauth/token"),
    )
    main = rest.build(__package__, SOURCE)

`build` makes the job's command of it. What a vendor does differently is a function of the job: `parse`, or requests of its own
(jobkit.extractor). `describe` imports this module, so it imports nothing heavy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

from jobkit import extractor, options, requests
from jobkit.errors import BadDataError
from jobkit.requests import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from click import Option

    from jobkit.contracts import Columns
    from jobkit.http import Client, Response
    from jobkit.lake import Source as StoredSource
    from jobkit.paging import Pages
    from jobkit.refusals import Meaning


class Token(NamedTuple):
    """A token in a header field. The job gets the option --token."""

    header: str = "Authorization"
    prefix: str = "Bearer "


class ClientCredentials(NamedTuple):
    """OAuth's client credentials (jobkit.oauth). The job gets the options --client-id and --client-secret."""

    token_url: str
    scope: str = ""
    in_form: bool = False


@dataclass(frozen=True)
class Table:
    """A dataset of the API. `{start}` and `{end}` in path, params and body are the first and the last day of a partition.

    per: what a partition is: a year, or all rows if the vendor cannot select days.
    params: the query. body: the JSON document of a POST; None for a GET.
    rows: leads to the list of rows in a page by keys and points, such as result.items; empty if the page is the list.
    pages: how pages are requested (jobkit.paging); None if there is one.
    day: the column with the day of a row; rows of another year are refused. None if there is none.
    """

    dataset: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    body: str | None = None
    rows: str = "data"
    pages: Pages | None = None
    day: str | None = None
    per: Literal["year", "all"] = "year"

    def build_requests(self, years: Sequence[int]) -> list[Request]:
        """Build one request per partition."""
        if self.per == "all":
            return [Request(self.dataset, ("all=1",), self.path, self.params, self.body)]
        return [self._build_request(year) for year in years]

    def _build_request(self, year: int) -> Request:
        def fill(text: str) -> str:
            return text.replace("{start}", f"{year}-01-01").replace("{end}", f"{year}-12-31")

        params = tuple((name, fill(value)) for name, value in self.params)
        return Request(self.dataset, (f"year={year}",), fill(self.path), params, None if self.body is None else fill(self.body))


@dataclass(frozen=True)
class Source:
    """A vendor's REST API. `rate` is the most requests that may be sent in so many seconds; a Retry-After is honoured besides."""

    base_url: str
    tables: tuple[Table, ...]
    rate: tuple[int, float]
    auth: Token | ClientCredentials | None = None
    meanings: Sequence[Meaning] = ()

    def find(self, dataset: str) -> Table:
        """Return the table of a dataset."""
        return next(table for table in self.tables if table.dataset == dataset)

    def build_requests(self, *, start: date, end: date, lookback_days: int, **_: object) -> list[Request]:
        """Build one request per table and partition. Raises UsageError (exit code 2) if `end` is before `start`."""
        years = requests.years(start, end, lookback_days)
        return [request for table in self.tables for request in table.build_requests(years)]

    def build_client(self, hosts: Sequence[str], *, base_url: str, **values: Any) -> Client:  # noqa: ANN401  options of the login
        """Build a client that logs in and accepts only JSON."""
        from jobkit import oauth, secrets  # noqa: PLC0415  describe needs no network
        from jobkit.http import Client, Rate  # noqa: PLC0415

        fields, login = {}, None
        if isinstance(self.auth, Token):
            fields = {self.auth.header: self.auth.prefix + secrets.resolve_token(values["token"])}
        elif self.auth:
            secret = secrets.resolve_token(values["client_secret"])
            login = oauth.ClientCredentials(
                self.auth.token_url, values["client_id"], secret, scope=self.auth.scope, in_form=self.auth.in_form
            )
        return Client(base_url, hosts=hosts, accept=("application/json",), rate=Rate(*self.rate), headers=fields, login=login)

    def fetch(self, client: Client, request: Request, previous: StoredSource | None) -> Response:
        """Return the response, all pages of it."""
        from jobkit import paging  # noqa: PLC0415

        pages = self.find(request.dataset).pages
        return paging.fetch(client, request, pages) if pages else requests.fetch(client, request, previous)

    def parse(self, body: bytes, request: Request) -> dict[str, Columns]:
        """Return the rows of all pages as columns, in their order; no partition without rows.

        Raises BadDataError (exit code 65) if a page is another document, or has rows of another year.
        """
        from jobkit import lossless_json, paging  # noqa: PLC0415

        table, (partition,) = self.find(request.dataset), request.partitions
        what = f"the response for {request.dataset} of {partition}"
        if table.rows:
            rows = [row for page in paging.read_pages(body, what) for row in paging.read_rows(page, table.rows, what)]
        else:
            rows = _read_lists(lossless_json.decode(body, what), what)
        if table.day and table.per == "year" and (strays := _find_other_days(rows, table.day, partition.removeprefix("year="))):
            raise BadDataError(f"{what} has {table.day} {', '.join(strays[:3])}; look at the parameters that select days")
        return {partition: lossless_json.build_columns(rows)} if rows else {}


def _read_lists(document: Any, what: str) -> list[dict[str, Any]]:  # noqa: ANN401  JSON
    """Return the rows of a list, or of a list of pages that are lists.

    Raises BadDataError for another document, also if one page is none: a vendor's error in its place would be a row that ends the list.
    """
    pages = document if isinstance(document, list) else [None]
    if any(isinstance(page, list) for page in pages):
        rows = [row for page in pages for row in (page if isinstance(page, list) else [None])]
    else:
        rows = pages
    if not all(isinstance(row, dict) for row in rows):
        raise BadDataError(f"{what} is not a list of JSON objects")
    return rows


def _find_other_days(rows: Sequence[dict[str, Any]], day: str, year: str) -> list[str]:
    """Return the days of other years, sorted. What is no day is for the contract to judge."""
    texts = {str(row.get(day)) for row in rows}
    return sorted(text for text in texts if re.match(r"\d{4}-", text) and not text.startswith(f"{year}-"))


def build_options(package: str, source: Source, lookback_days: int, reason: str) -> list[Option]:
    """Return the options of a job with this source. Secrets are by default in variables that begin with the vendor's name."""
    vendor = package.split("_")[1].upper()
    found = [options.start(), options.end(), options.lookback_days(lookback_days, reason), options.base_url(source.base_url)]
    if isinstance(source.auth, Token):
        found.append(options.secret("--token", default=f"env://{vendor}_TOKEN", help="Where the API token is."))
    elif source.auth:
        found.append(options.option("--client-id", required=True, help="The client id, which is no secret."))
        found.append(options.secret("--client-secret", default=f"env://{vendor}_CLIENT_SECRET", help="Where the client secret is."))
    return found


def build(
    package: str,
    source: Source,
    *,
    lookback_days: int = 7,
    reason: str = "a day may be published late, and is rarely corrected",
    parse: Callable[[bytes, Request], dict[str, Columns]] | None = None,
) -> Callable[[], NoReturn]:
    """Build the console command of a job. `reason` says why the correction window is so long. `parse` replaces that of the source."""
    return extractor.build(
        package,
        build_options(package, source, lookback_days, reason),
        build_requests=source.build_requests,
        build_client=source.build_client,
        parse=parse or source.parse,
        fetch=source.fetch,
        meanings=source.meanings,
    )
