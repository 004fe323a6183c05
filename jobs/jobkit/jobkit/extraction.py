"""Run an extractor: request, response, parse, validate, commit, record. The extractor supplies the requests, the client and the parser.

Responses are fetched ahead of the partition that is being committed, but processed in the order of the requests, so that a rerun does the
same in the same order. Each partition is committed on its own: a run that dies leaves complete partitions, and the rerun does the rest.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit import contracts, parse_processes, partition_writer, redaction, secrets
from jobkit.contracts import EncodedRows
from jobkit.errors import BadDataError, DamagedError, TemporaryError, UsageError
from jobkit.lake import ERASED, Lake, PackedSource, PartitionState, Source, SourceMetadata, pack_source
from jobkit.parse_processes import ParseProcesses
from jobkit.requests import Request, list_partitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from jobkit.command import Job
    from jobkit.contracts import Columns, Contract, TypedRows
    from jobkit.errors import JobError
    from jobkit.http import Response
    from jobkit.requests import Extractor, Parsed, VendorClient

MAX_IN_FLIGHT = 4  # requests under way at once; the client keeps the vendor's rate whatever this is
MAX_STATE_READS = 8  # partitions read from the lake at once


class ShrunkenResponseError(TemporaryError):
    """A response lacks rows that the lake has: it was cut short or rows were withdrawn, which only time or a person can tell."""


class ShrunkenReplayError(BadDataError):
    """Today's parser and contract make fewer rows of the stored bytes than were committed before."""


TOLERATED = (ShrunkenResponseError, BadDataError)  # of a partition; they do not stop the others


class Extraction(NamedTuple):
    """One run of an extractor. `contracts` has the contract of each dataset that its requests fill."""

    job: Job
    lake: Lake
    extractor: Extractor
    contracts: dict[str, Contract]
    allow_shrinking: bool


class ParsedDocument(NamedTuple):
    """The rows of a response, which fill the request's only partition, and its packed bytes."""

    rows: EncodedRows
    source: PackedSource


class Fetched(NamedTuple):
    """A request, what the lake has of its partitions, and the response; None if the vendor has no data for it.

    document: what is stored of it, if another process has parsed it.
    error: why there is no response that can be used, which does not stop the other requests.
    """

    request: Request
    states: list[PartitionState]
    response: Response | None
    error: JobError | None = None
    document: ParsedDocument | None = None


def run(
    job: Job,
    extractor: Extractor,
    requests: Sequence[Request],
    *,
    lake: str,
    replay: bool,
    allow_shrinking: bool = False,
    received_at: datetime | None = None,
) -> None:
    """Extract the partitions of all requests, each committed on its own.

    A partition that is damaged, whose response lacks rows or cannot be used, or that the vendor does not know, does not stop the others.
    The first such error is raised at the end: TemporaryError (exit code 75) for missing rows, before any other as a retry may resolve it,
    BadDataError (65) or ResourceNotFoundError (2). Any other error ends the run: TemporaryError (75), AuthError (77) or MisconfiguredError
    (78) for a vendor or lake that refuses. With `replay`, the stored bytes are parsed again and nothing is fetched; where only the vendor
    can list the requests, these are all partitions of the lake. `received_at` is the moment of the commits, if it is not now.
    """
    extraction = Extraction(job, Lake(lake, received_at), extractor, {}, allow_shrinking)
    if replay and not requests and extractor.list_requests:
        requests = [Request(dataset, (partition,), "") for dataset in job.datasets for partition in extraction.lake.partitions(dataset)]
    failures = [error for errors in (_replay_all if replay else _extract_all)(extraction, requests) for error in errors]
    if failures:
        first = next((error for error in failures if isinstance(error, TemporaryError)), failures[0])
        others = len(failures) - 1
        raise type(first)(str(first) + (f" (and {others:,} more partitions, see the receipt)" if others else ""))


def check(extractor: Extractor, requests: Sequence[Request], *, lake: str, replay: bool) -> None:
    """Check that the contracts can be read, that the lake can be written, and that the vendor answers the first request.

    Writes raw/<dataset>/_check, which no reader of the lake looks at. Raises as `run` does.
    """
    requests = requests if replay else _list_requests(extractor, requests)
    store = Lake(lake).store
    for dataset in {request.dataset for request in requests}:
        contracts.load_packaged(extractor.package, dataset)
        store.put(f"raw/{dataset}/_check", b"written by the verb check\n")  # the job may write here, and nowhere else
    if not replay and requests:
        with extractor.client() as client:
            client.probe(requests[0].path, requests[0].params, requests[0].body)


def plan(extractor: Extractor, requests: Sequence[Request], *, lake: str, replay: bool) -> list[dict[str, Any]]:
    """List the partitions that `run` would request, in that order, as JSON objects.

    Each has its dataset, its name, the URL path of the request (`asks`) and the number of its newest commit (`commit`), which is null if
    there is none or if it is damaged. Without a list of requests, the vendor is asked what there is.
    """
    requests = requests if replay else _list_requests(extractor, requests)
    partitions = ((request, partition) for request in requests for partition in request.partitions)
    store = Lake(lake)
    return [
        {
            "dataset": request.dataset,
            "partition": partition,
            "asks": request.path,
            "commit": store.read_state(request.dataset, partition).intact_number,
        }
        for request, partition in partitions
    ]


def _list_requests(extractor: Extractor, requests: Sequence[Request]) -> Sequence[Request]:
    """Return the requests, with those that only the vendor can list."""
    if not extractor.list_requests:
        return requests
    with extractor.client() as client:
        return extractor.list_requests(client, list(requests))


def _extract_all(extraction: Extraction, requests: Sequence[Request]) -> Iterator[list[JobError]]:
    """Fetch and process each request; yield the errors of its partitions."""
    with extraction.extractor.client() as client:
        if extraction.extractor.list_requests:
            requests = extraction.extractor.list_requests(client, list(requests))
        _load_contracts(extraction, requests)
        for done, fetched in enumerate(_fetch_all(extraction, client, requests), 1):
            yield _extract(extraction, fetched)
            extraction.job.progress(done, len(requests), f"{fetched.request.dataset} {fetched.request.partitions[-1]}")


def _replay_all(extraction: Extraction, requests: Sequence[Request]) -> Iterator[list[JobError]]:
    """Parse the stored bytes of each request again; yield the errors of its partitions."""
    _load_contracts(extraction, requests)
    for done, request in enumerate(requests, 1):
        yield _replay(extraction, request)
        extraction.job.progress(done, len(requests), request.dataset)


def _load_contracts(extraction: Extraction, requests: Sequence[Request]) -> None:
    """Read the contracts of the datasets that the requests fill."""
    for dataset in {request.dataset for request in requests}:
        extraction.contracts[dataset] = contracts.load_packaged(extraction.extractor.package, dataset)


def _extract(extraction: Extraction, fetched: Fetched) -> list[JobError]:
    """Parse a response, then validate, commit and record each of its partitions. Returns the errors of those that failed."""
    request, states, response, problem, document = fetched
    if problem:
        return _record_failures(extraction.job, request, problem)
    if response and response.content is None:
        for state in states:
            partition_writer.record_unchanged(extraction.job, state.head)
        return []
    try:
        body = _read_body(request, response) if response and not document else b""
        parsed = _parse(extraction, fetched, body)
    except TOLERATED as error:
        return _record_failures(extraction.job, request, error)
    store_source = _source_writer(extraction, fetched, body)
    sent = sorted(parsed)
    failures: list[JobError] = []
    for partition, state in zip(request.partitions, states, strict=True):
        try:
            if partition in parsed:
                columns: Parsed | None = parsed.pop(partition)
            else:
                is_before = _is_before_history(partition, sent)
                columns = _withdraw(extraction, request.dataset, partition, state, is_before_history=is_before)
            if isinstance(columns, BadDataError):
                failures.append(_record_failure(extraction.job, request.dataset, partition, columns))
            elif columns is not None:
                _store(extraction, request.dataset, partition, columns, store_source, _shrunken_response, state)
        except TOLERATED as error:
            failures.append(_record_failure(extraction.job, request.dataset, partition, error))
    return failures


def _store(
    extraction: Extraction,
    dataset: str,
    partition: str,
    columns: Columns | TypedRows | EncodedRows,
    store_source: Callable[[], tuple[Source, ...]],
    shrunken: Callable[[str], JobError],
    state: PartitionState,
) -> None:
    """Validate, commit and record one partition."""
    contract = extraction.contracts[dataset]
    result = columns if isinstance(columns, EncodedRows) else contracts.validate(contract, columns)
    outcome = partition_writer.commit(
        extraction.job,
        extraction.lake,
        contract,
        partition,
        result,
        store_source,
        shrunken=shrunken,
        allow_shrinking=extraction.allow_shrinking,
        state=state,
    )
    partition_writer.record(extraction.job, outcome)


def _fetch_all(extraction: Extraction, client: VendorClient, requests: Sequence[Request]) -> Iterator[Fetched]:
    """Fetch the requests, up to MAX_IN_FLIGHT at once; yield the responses in the order of the requests.

    At most MAX_IN_FLIGHT responses are in memory besides the one that is processed.
    """
    readers, fetchers = ThreadPoolExecutor(MAX_STATE_READS), ThreadPoolExecutor(MAX_IN_FLIGHT)
    in_flight: deque[Future[Fetched]] = deque()
    parsers = _start_processes(extraction.extractor, len(requests))
    try:
        for request in requests:
            in_flight.append(fetchers.submit(_fetch, extraction, client, request, readers, parsers))
            if len(in_flight) > MAX_IN_FLIGHT:
                yield in_flight.popleft().result()
        while in_flight:
            yield in_flight.popleft().result()
    finally:
        fetchers.shutdown(wait=False, cancel_futures=True)
        readers.shutdown(wait=False, cancel_futures=True)
        if parsers:
            parsers.close()


def _start_processes(extractor: Extractor, documents: int) -> ParseProcesses | None:
    """Return processes that parse, if the extractor has a module for them and there are enough documents."""
    count = parse_processes.count_processes(documents) if extractor.parse_module else 0
    return ParseProcesses(count, extractor.package, str(extractor.parse_module)) if count else None


def _fetch(
    extraction: Extraction, client: VendorClient, request: Request, readers: ThreadPoolExecutor, parsers: ParseProcesses | None
) -> Fetched:
    """Read what the lake has of a request's partitions and send the request, conditional if all of it is intact.

    Conditional requests: RFC 9110, section 13. Raises what the client raises, except for a request that the vendor has no data for or does
    not know, and for a response that cannot be used.
    """
    from jobkit.http import NoDataError, ResourceNotFoundError  # noqa: PLC0415  describe needs no network

    lake, extractor = extraction.lake, extraction.extractor
    states = list(readers.map(lambda partition: lake.read_state(request.dataset, partition), request.partitions))
    previous = _find_previous(states, client.url(request.path, request.params).removeprefix(client.base_url))
    if previous and not all(readers.map(lambda state: _is_intact(lake, state), states)):
        previous = None  # the vendor has to send everything again, so that the damaged files can be rewritten
    try:
        response = extractor.fetch(client, request, previous)
        return Fetched(request, states, response, document=_parse_elsewhere(request, response, parsers) if parsers else None)
    except (ResourceNotFoundError, BadDataError) as error:
        is_empty = isinstance(error, NoDataError) or (
            isinstance(error, ResourceNotFoundError) and list_partitions([request]) <= extractor.lookback
        )
        return Fetched(request, states, None, None if is_empty else error)


def _parse_elsewhere(request: Request, response: Response, parsers: ParseProcesses) -> ParsedDocument | None:
    """Let another process parse a response, and pack it; None if it has no content, or the job has to parse it. Raises as `_read_body`."""
    if response.content is None:
        return None
    body = _read_body(request, response)
    rows = parsers.parse(body, request)
    return ParsedDocument(rows, _pack(request, response, body)) if rows else None


def _find_previous(states: list[PartitionState], path: str) -> Source | None:
    """Return the one response to this very request that all partitions were made from; only then may the vendor say `unchanged`."""
    sources = {state.head.source[-1] if state.head and state.head.source and not state.problem else None for state in states}
    source = sources.pop() if len(sources) == 1 else None
    return source if source and (source.etag or source.last_modified) and source.url.endswith(path) else None


def _is_intact(lake: Lake, state: PartitionState) -> bool:
    """Whether all files of the newest commit are as they were committed."""
    return state.head is not None and not any(lake.find_problem(file) for file in state.head.files)


def _parse(extraction: Extraction, fetched: Fetched, body: bytes) -> dict[str, Parsed]:
    """Return the partitions of a response with this body; none without a response."""
    if fetched.document:
        return {fetched.request.partitions[0]: fetched.document.rows}
    return dict(extraction.extractor.parse(body, fetched.request)) if fetched.response else {}


def _read_body(request: Request, response: Response) -> bytes:
    """Return the body of a response. Raises BadDataError if it contains the secret that was sent."""
    body = response.body or b""
    secrets.refuse_echo(body, f"{request.path} for {request.dataset}")
    return body


def _source_writer(extraction: Extraction, fetched: Fetched, body: bytes) -> Callable[[], tuple[Source, ...]]:
    """Return a function that stores the response's bytes in the lake, once, when the first partition is committed."""

    @cache
    def store_source() -> tuple[Source, ...]:
        request, response, document = fetched.request, fetched.response, fetched.document
        if response is None:
            return ()
        packed = document.source if document else _pack(request, response, body)
        return (extraction.lake.store_packed(packed),)

    return store_source


def _pack(request: Request, response: Response, body: bytes) -> PackedSource:
    texts = (response.url, response.media_type, response.etag, response.last_modified)
    return pack_source(request.dataset, body, SourceMetadata(*map(redaction.clean, texts)))


def _is_before_history(partition: str, sent: Sequence[str]) -> bool:
    """Whether a response has only later years or days of this partition's series. `sent` are its partitions with data, sorted.

    The vendor's history then begins later than the lake's, as that of a ticker that now belongs to another company.
    """
    folder, _, period = partition.rpartition("/")
    series = [other for other in sent if other.rpartition("/")[0] == folder]
    return bool(series) and period.startswith(("year=", "date=")) and partition < series[0]


def _withdraw(extraction: Extraction, dataset: str, partition: str, state: PartitionState, *, is_before_history: bool) -> Columns | None:
    """Decide about a partition for which the response has no data: no rows if shrinking is allowed, None if the lake has none either.

    The rows of a lookback partition always stay, and it is skipped. So is one from before the vendor's history, unless shrinking is
    allowed. Raises ShrunkenResponseError if the lake has rows and shrinking is not allowed, DamagedError if the partition's newest
    commit is damaged.
    """
    job = extraction.job
    if state.problem:
        raise DamagedError(f"{state.problem}; the vendor has no data for {partition}")
    rows = state.head.data.rows if state.head else 0
    reason = "the vendor has no data for it"
    if state.head and rows:
        kept = f"the {rows:,} rows of commit {state.head.number}"
        is_lookback = (dataset, partition) in extraction.extractor.lookback
        if extraction.allow_shrinking and not is_lookback:
            return _no_rows(extraction.contracts[dataset])
        if not is_lookback and not is_before_history:
            raise _shrunken_response(
                f"{dataset}/{partition}: the vendor has no data for it any more; nothing was committed and {kept} stay"
            )
        reason += f" any more; the lake keeps {kept}"
        reason += ", --allow-shrinking closes them" if not is_lookback else ""
        job.log.warning("withdrawn", extra={"dataset": dataset, "partition": partition, "rows": rows, "reason": reason})
    job.record_partition(dataset, partition, "skipped", reason=reason)
    return None


def _no_rows(contract: Contract) -> Columns:
    return {field.name: [] for field in contract.fields}


def _shrunken_response(problem: str) -> JobError:
    return ShrunkenResponseError(f"{problem}; try again later, or run once with --allow-shrinking if the vendor is right")


def _shrunken_replay(problem: str) -> JobError:
    return ShrunkenReplayError(f"{problem}; check parser and contract, or run once with --allow-shrinking if this is right")


def _replay(extraction: Extraction, request: Request) -> list[JobError]:
    """Parse, validate, commit and record the stored bytes of each partition again. Returns the errors of those that failed."""
    failures: list[JobError] = []
    for partition in request.partitions:
        state = extraction.lake.read_state(request.dataset, partition)
        if not state.latest_number and (request.dataset, partition) in extraction.extractor.lookback:
            continue
        try:
            _replay_partition(extraction, request, partition, state)
        except BadDataError as error:
            failures.append(_record_failure(extraction.job, request.dataset, partition, error))
    return failures


def _replay_partition(extraction: Extraction, request: Request, partition: str, state: PartitionState) -> None:
    """Parse one partition's stored bytes again.

    Raises UsageError if it was never extracted, DamagedError if its newest commit is damaged.
    """
    dataset, lake = request.dataset, extraction.lake
    if state.problem:  # the bytes of an older commit would bring back what was known then
        raise DamagedError(f"{state.problem}; --replay has nothing newer to read")
    head = state.head
    if head is None:
        raise UsageError(f"nothing to replay for {dataset}/{partition}: it was never extracted; run without --replay first")
    if not head.source and ERASED in head.writer:
        raise BadDataError(
            f"{dataset}/{partition}: its vendor bytes were erased with a person; run without --replay to ask the vendor again"
        )
    parsed = extraction.extractor.parse(lake.read(head.source[-1]), request)
    columns = parsed[partition] if partition in parsed else _no_rows(extraction.contracts[dataset])
    if isinstance(columns, BadDataError):
        raise columns
    _store(extraction, dataset, partition, columns, lambda: lake.check_sources(head.source), _shrunken_replay, state)


def _record_failures(job: Job, request: Request, error: JobError) -> list[JobError]:
    """Record that none of a request's partitions could be made."""
    return [_record_failure(job, request.dataset, partition, error) for partition in request.partitions]


def _record_failure(job: Job, dataset: str, partition: str, error: JobError) -> JobError:
    """Log the error of a partition and record it in the receipt; returns the error."""
    job.log.warning("partition failed", extra={"dataset": dataset, "partition": partition, "reason": str(error)})
    job.record_partition(dataset, partition, "failed", reason=str(error))
    return error
