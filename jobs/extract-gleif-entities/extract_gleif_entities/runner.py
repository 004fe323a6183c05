"""Take the newest file of each kind of records to the lake.

A partition is a part of a published file, which never changes: content=20230605T082051Z/file=full/part=0001. The last commit of a file
is its row in gleif_files. Until that exists the file does not count, for the next run as for the marts; so a file counts as a whole, and
a run that was killed is repeated. What the lake has of a kind is the newest content in gleif_files.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from jobkit import contracts, extraction, partition_writer
from jobkit.errors import BadDataError
from jobkit.lake import Lake, SourceMetadata
from jobkit.requests import Extractor, Request

from extract_gleif_entities import parser, source
from extract_gleif_entities.golden_copy import to_moment, to_partition_value
from extract_gleif_entities.source import FILES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from jobkit.command import Job
    from jobkit.contracts import Contract
    from jobkit.errors import JobError

    from extract_gleif_entities.source import Published

PACKAGE = "extract_gleif_entities"
MEDIA_TYPE = "application/xml"


def run(
    job: Job, datasets: Sequence[str], *, lake_url: str, base_url: str, retry_timeout: float, received_at: datetime | None = None
) -> None:
    """Commit the newest file of each dataset, or record that the lake has it. Raises what the client and the parser raise."""
    lake = Lake(lake_url, received_at)
    with source.build_client(job.hosts, base_url=base_url) as client:
        client.retry_timeout_s, client.max_body_bytes = min(retry_timeout, job.deadline_s), job.max_body_bytes
        for done, dataset in enumerate(datasets, 1):
            last = find_last_file(lake, dataset)
            published = source.fetch(client, dataset, last and to_moment(_values(last)[1]))
            if published:
                _commit_file(job, lake, dataset, published)
            elif last:
                _record_unchanged(job, lake, dataset, last)
            job.progress(done, len(datasets), dataset)


def replay(job: Job, datasets: Sequence[str], *, lake_url: str, allow_shrinking: bool) -> None:
    """Parse the stored bytes of all partitions again. Raises as jobkit.extraction does."""
    lake = Lake(lake_url)
    partitions = [(dataset, partition) for dataset in datasets for partition in lake.partitions(dataset)]
    partitions += [(FILES, partition) for partition in lake.partitions(FILES) if _values(partition)[0] in datasets]
    extractor = Extractor(PACKAGE, partial(source.build_client, (), base_url=source.BASE_URL), _refuse_fetch, parser.parse)
    requests = [Request(dataset, (partition,), "") for dataset, partition in partitions]
    extraction.run(job, extractor, requests, lake=lake_url, replay=True, allow_shrinking=allow_shrinking)


def check(job: Job, datasets: Sequence[str], *, lake_url: str, base_url: str) -> None:
    """Check that the contracts can be read, that the lake can be written, and that GLEIF has a file."""
    store = Lake(lake_url).store
    for dataset in (*datasets, FILES):
        contracts.load_packaged(PACKAGE, dataset)
        store.put(f"raw/{dataset}/_check", b"written by the verb check\n")
    with source.build_client(job.hosts, base_url=base_url) as client:
        client.probe(source.path(datasets[0]), source.params(source.DELTAS[0]))


def plan(datasets: Sequence[str], *, lake_url: str) -> list[dict[str, Any]]:
    """List what `run` would ask for: the full file of a dataset of which the lake has nothing, else the shortest delta first."""
    lake = Lake(lake_url)
    found = {dataset: find_last_file(lake, dataset) for dataset in datasets}
    return [
        {
            "dataset": dataset,
            "partition": last,
            "asks": source.path(dataset) + (f"?delta={source.DELTAS[0]}" if last else ""),
            "commit": lake.latest_number(FILES, last) if last else None,
        }
        for dataset, last in found.items()
    ]


def find_last_file(lake: Lake, dataset: str) -> str | None:
    """Return the partition of gleif_files with the newest content of a dataset; None if no file of it was committed."""
    return max((name for name in lake.partitions(FILES) if _values(name)[0] == dataset), default=None)


def _commit_file(job: Job, lake: Lake, dataset: str, published: Published) -> None:
    """Commit a file part by part, and at last its row in gleif_files."""
    copy, contract = published.copy, contracts.load_packaged(PACKAGE, dataset)
    content = f"content={to_partition_value(copy.header.content_date)}"
    for number, part in enumerate(copy.parts(), 1):
        _commit_part(job, lake, contract, f"{content}/file={published.file_kind}/part={number:04}", part, published.url)
    of_files, partition = contracts.load_packaged(PACKAGE, FILES), f"dataset={dataset}/{content}/file={published.file_kind}"
    _commit_part(job, lake, of_files, partition, copy.head + copy.tail, published.url)


def _commit_part(job: Job, lake: Lake, contract: Contract, partition: str, part: bytes, url: str) -> None:
    """Commit one partition from its bytes."""
    columns = parser.parse(part, Request(contract.dataset, (partition,), ""))[partition]
    metadata = SourceMetadata(url, MEDIA_TYPE, None, None)
    outcome = partition_writer.commit(
        job,
        lake,
        contract,
        partition,
        contracts.validate(contract, columns),
        lambda: (lake.store_source(contract.dataset, part, metadata),),
        shrunken=_shrunken,
        allow_shrinking=False,
    )
    partition_writer.record(job, outcome)


def _record_unchanged(job: Job, lake: Lake, dataset: str, last: str) -> None:
    """Record the partitions of the newest file as unchanged."""
    of_file = last.partition("/")[2] + "/"
    for name, partition in [*((dataset, part) for part in lake.partitions(dataset) if part.startswith(of_file)), (FILES, last)]:
        partition_writer.record_unchanged(job, lake.head(name, partition))


def _values(partition: str) -> list[str]:
    return [step.partition("=")[2] for step in partition.split("/")]


def _shrunken(problem: str) -> JobError:
    return BadDataError(f"{problem}; a published file never changes, so look at --base-url")


def _refuse_fetch(*_: object) -> Any:  # noqa: ANN401  never returns
    raise AssertionError("a replay fetches nothing")
