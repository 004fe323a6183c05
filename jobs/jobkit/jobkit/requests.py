"""What an extractor declares: its requests to the vendor, the partitions that the responses fill, and how to parse them.

`describe` imports this module, so it imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from jobkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from jobkit.contracts import Columns, EncodedRows, TypedRows
    from jobkit.errors import BadDataError
    from jobkit.http import Response
    from jobkit.lake import Source
    from jobkit.refusals import Meaning

    Parsed = Columns | TypedRows | EncodedRows | BadDataError  # of one partition: its rows, or why they cannot be read


class Request(NamedTuple):
    """One request to the vendor, and the partitions of one dataset that its response fills, at least one.

    partitions: names such as date=2012-12-31, as they are folders of the lake.
    path, params: appended to the base URL; they never contain a secret, because the lake stores them.
    body: the JSON document of a POST; None for a GET. Such a POST asks and changes nothing, so it may be sent again.
    """

    dataset: str
    partitions: tuple[str, ...]
    path: str
    params: tuple[tuple[str, str], ...] = ()
    body: str | None = None


class VendorClient(Protocol):
    """What an extractor needs of a client: that of jobkit.http, jobkit.paging or jobkit.database. The job sets the attributes first."""

    base_url: str
    retry_timeout_s: float
    max_body_bytes: int
    meanings: Sequence[Meaning]

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def url(self, path: str, params: Sequence[tuple[str, str]] = ()) -> str:
        """Return the name of a request, without a secret, as the lake stores it."""

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), known: Source | None = None, *, body: str | None = None) -> Response:
        """Send a request, with a body as a POST. `known` is an earlier response to the same GET."""

    def probe(self, path: str, params: Sequence[tuple[str, str]] = (), body: str | None = None) -> None:
        """Test whether a request would succeed, without its data."""


@dataclass(frozen=True)
class Extractor:
    """How one vendor's data is fetched and parsed.

    package: the Python package that has the contracts.
    client: builds the client; called only if the network is needed.
    fetch: sends one request; its last argument is the lake's source of an earlier response to it, if any, for a conditional request.
    parse: turns the body of a response into columns by partition, in the vendor's order and without partitions for which the vendor has no
        data. Pure: no network, disk or clock. Raises BadDataError for a body that it cannot read; in place of the columns of one partition,
        it leaves the others alone.
    lookback: the partitions, each with its dataset, that are requested only because they may have changed. For these, it is no error if
        the vendor has no data.
    parse_module: the module of the package with this `parse`, for a vendor with so many documents that other processes parse them too
        (jobkit.parse_processes). Each of its requests fills one partition.
    list_requests: makes the requests with the client, from those that the options name, for a vendor that can say what it has or what
        changed.
    """

    package: str
    client: Callable[[], VendorClient]
    fetch: Callable[[Any, Request, Source | None], Response]  # its client is of the type that `client` builds
    parse: Callable[[bytes, Request], Mapping[str, Parsed]]
    lookback: frozenset[tuple[str, str]] = frozenset()
    list_requests: Callable[[Any, list[Request]], list[Request]] | None = None
    parse_module: str | None = None


def fetch(client: VendorClient, request: Request, previous: Source | None) -> Response:
    """Send one request. A GET is conditional if the lake has a previous response; `content` is None if the vendor has not changed it."""
    return client.get(request.path, request.params, previous if request.body is None else None, body=request.body)


def list_partitions(requests: Iterable[Request]) -> frozenset[tuple[str, str]]:
    """Return the partitions that the responses fill, each with its dataset."""
    return frozenset((request.dataset, partition) for request in requests for partition in request.partitions)


def years(start: date, end: date, lookback_days: int = 0) -> range:
    """Return the calendar years from `lookback_days` before `start` to `end`. Raises UsageError if `start` is after `end`."""
    return range(first_day(start, end, lookback_days).year, end.year + 1)


def first_day(start: date, end: date, lookback_days: int) -> date:
    """Return the first day to request, `lookback_days` before `start`. Raises UsageError if `start` is after `end`."""
    check_date_range(start, end)
    return start - timedelta(days=min(lookback_days, (start - date.min).days))


def check_date_range(start: date, end: date) -> None:
    """Raise UsageError if `start` is after `end`."""
    if start > end:
        raise UsageError(f"--start {start} is after --end {end}; swap them")
