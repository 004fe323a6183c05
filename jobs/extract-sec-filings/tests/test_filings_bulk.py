"""The archive of all lists fills the same partitions as the lists one by one; of a million members only those of named filers are kept."""

from __future__ import annotations

import io
import json
import logging
import tracemalloc
import zipfile
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from extract_sec_filings import parser, source
from jobkit import archives, extraction
from jobkit.archives import ArchiveClient
from jobkit.body import Body
from jobkit.edgar import filer_documents
from jobkit.errors import JobError, TemporaryError
from jobkit.http import Client, ResourceNotFoundError, Response
from jobkit.lake import Lake
from jobkit.requests import Extractor

if TYPE_CHECKING:
    from pathlib import Path

    from jobkit.requests import VendorClient

DATASET = "sec_filings"


def page(cik: int, year: int, *numbers: int) -> dict[str, list[Any]]:
    return {
        "accessionNumber": [f"{cik:010}-{year % 100:02}-{number:06}" for number in numbers],
        "filingDate": [f"{year}-02-14" for _ in numbers],
        "reportDate": ["" for _ in numbers],
        "acceptanceDateTime": [f"{year}-02-14T18:34:19.000Z" for _ in numbers],
        "form": ["8-K" for _ in numbers],
        "size": [*numbers],
    }


def write_lists(cik: int, recent: dict[str, list[Any]], *older: dict[str, list[Any]]) -> dict[str, bytes]:
    """The documents of a filer by name, as the archive and the API have them."""
    names = [f"CIK{cik:010}-submissions-{number:03}.json" for number in range(1, len(older) + 1)]
    counts = [len(page["accessionNumber"]) for page in older]
    files = [{"name": name, "filingCount": count, "filingTo": "2014-12-31"} for name, count in zip(names, counts, strict=True)]
    pages = {name: json.dumps(page).encode() for name, page in zip(names, older, strict=True)}
    return {**pages, f"CIK{cik:010}.json": json.dumps({"cik": str(cik), "filings": {"recent": recent, "files": files}}).encode()}


def pack(texts: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted({**texts, "placeholder.txt": b"not a filer"}.items()):
            archive.writestr(name, text)
    return file.getvalue()


class Job:
    """Where a run records its outcomes."""

    name, version, log = "extract-sec-filings", "0", logging.getLogger("finelt.test")

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.failed: JobError | None = None
        self.requested = list[str | int]()

    def record_partition(self, _dataset: str, partition: str, outcome: str, **_: Any) -> None:
        self.outcomes[partition.removeprefix("cik=").lstrip("0")] = outcome

    def progress(self, *_: object) -> None:
        """Show nothing."""


def run(lake: Path, texts: dict[str, bytes], *ciks: str, bulk: bool, max_bytes: int = 10_000) -> Job:
    """Extract the lists of the named filers into a lake, from the archive or one by one."""
    job = Job()
    options: dict[str, Any] = {
        "ciks": ciks,
        "bulk": bulk,
        "base_url": filer_documents.BASE_URL,
        "contact": "Example Ltd a@example.com",
    }
    archive = pack(texts)

    def build_client() -> VendorClient:
        client = source.LISTS.build_client(["www.sec.gov", "data.sec.gov"], **options)
        client.max_body_bytes = max_bytes

        def get_part(path: str, first: int, size: int) -> tuple[bytes, int]:
            assert client.url(path) == "https://www.sec.gov/Archives/edgar/daily-index/bulkdata/submissions.zip"
            job.requested.append(first)
            return archive[first : first + size], len(archive)

        def get(path: str, *_: object, **__: object) -> Response:
            job.requested.append(path)
            name = path.removeprefix("/submissions/")
            if name not in texts:
                raise ResourceNotFoundError(f"{path} does not exist (404)")
            body = Body()
            body.write(texts[name])
            return Response(body, client.url(path), "application/json", None, None)

        if isinstance(client, ArchiveClient):
            client.get_part = get_part  # type: ignore[method-assign]
        else:
            client.get = get  # type: ignore[method-assign]
        return client

    extractor = Extractor("extract_sec_filings", build_client, source.fetch, parser.parse)
    try:
        extraction.run(job, extractor, source.LISTS.build_requests(**options), lake=str(lake), replay=False)  # type: ignore[arg-type]
    except JobError as error:
        job.failed = error
    return job


APPLE = write_lists(320193, page(320193, 2024, 2, 1), page(320193, 2014, 4, 3), page(320193, 2004, 5))
MICROSOFT = write_lists(789019, page(789019, 2024, 1))
OTHER = write_lists(5, page(5, 2024, 1))


def test_the_rows_are_the_same_from_the_archive_and_one_by_one(tmp_path: Path) -> None:
    texts = {**APPLE, **MICROSOFT, **OTHER}
    lakes = []
    for folder, bulk in (("bulk", True), ("single", False)):
        job = run(tmp_path / folder, texts, "320193", "0000789019", bulk=bulk)
        assert (job.outcomes, job.failed) == ({"320193": "committed", "789019": "committed"}, None)
        lakes.append(Lake(str(tmp_path / folder)))
    assert lakes[0].partitions(DATASET) == ["cik=0000320193", "cik=0000789019"]
    bulk, single = ([head for head in map(partial(lake.head, DATASET), lake.partitions(DATASET)) if head] for lake in lakes)
    assert [head.data.rows for head in bulk] == [5, 1]
    assert [lakes[0].read(head.data) for head in bulk] == [lakes[1].read(head.data) for head in single]
    assert run(tmp_path / "single", texts, "320193", "789019", bulk=True).outcomes == {"320193": "unchanged", "789019": "unchanged"}
    assert run(tmp_path / "bulk", texts, "320193", "789019", bulk=False).outcomes == {"320193": "unchanged", "789019": "unchanged"}


def test_a_filer_is_read_again_only_if_one_of_its_members_changed(tmp_path: Path) -> None:
    texts = {**APPLE, **MICROSOFT, **OTHER}
    run(tmp_path, texts, "320193", "789019", bulk=True)
    again = run(tmp_path, texts, "320193", "789019", bulk=True)
    assert again.outcomes == {"320193": "unchanged", "789019": "unchanged"}
    assert len(again.requested) == 3  # the size, the end and the directory of the archive
    others = run(tmp_path, {**texts, **write_lists(5, page(5, 2024, 2, 1))}, "320193", "789019", bulk=True)
    assert (set(others.outcomes.values()), len(others.requested)) == ({"unchanged"}, 3)
    older = {**texts, "CIK0000320193-submissions-002.json": json.dumps(page(320193, 2003, 5)).encode()}
    third = run(tmp_path, older, "320193", "789019", bulk=True)
    assert third.outcomes == {"320193": "failed", "789019": "unchanged"}  # a filing is missing
    newer = {**texts, **write_lists(320193, page(320193, 2024, 3, 2, 1), page(320193, 2014, 4, 3), page(320193, 2004, 5))}
    fourth = run(tmp_path, newer, "320193", "789019", bulk=True)
    assert fourth.outcomes == {"320193": "committed", "789019": "unchanged"}
    assert [commit.data.rows for commit in Lake(str(tmp_path)).history(DATASET, "cik=0000320193")] == [5, 6]


def test_filings_that_move_to_an_older_list_change_no_row(tmp_path: Path) -> None:
    first = write_lists(7, page(7, 2024, 3, 2, 1))
    moved = write_lists(7, page(7, 2024, 3), page(7, 2024, 2, 1))
    assert run(tmp_path, first, "7", bulk=True).outcomes == {"7": "committed"}
    assert run(tmp_path, moved, "7", bulk=True).outcomes == {"7": "unchanged"}


def test_an_archive_that_is_older_than_the_list_loaded_before_closes_no_filing(tmp_path: Path) -> None:
    texts = {**write_lists(7, page(7, 2024, 3, 2, 1)), **MICROSOFT}
    assert run(tmp_path, texts, "7", bulk=False).outcomes == {"7": "committed"}
    night = run(tmp_path, {**texts, **write_lists(7, page(7, 2024, 2, 1))}, "7", "789019", bulk=True)
    assert night.outcomes == {"7": "failed", "789019": "committed"}
    assert isinstance(night.failed, TemporaryError)
    assert [commit.data.rows for commit in Lake(str(tmp_path)).history(DATASET, "cik=0000000007")] == [3]


@pytest.mark.parametrize("bulk", [True, False])
def test_a_filer_that_cannot_be_used_does_not_stop_the_others(tmp_path: Path, bulk: bool) -> None:  # noqa: FBT001  a parameter of the test
    texts = {**MICROSOFT, **write_lists(1, page(1, 2024, *range(400))), **write_lists(2, {"form": []}), **write_lists(4, page(4, 2024, 1))}
    job = run(tmp_path, texts, "1", "2", "3", "4", "789019", bulk=bulk)
    assert job.outcomes == {"1": "failed", "2": "failed", "3": "failed", "4": "committed", "789019": "committed"}
    assert "(and 2 more partitions, see the receipt)" in str(job.failed)
    unknown = run(tmp_path, texts, "3", bulk=bulk).failed
    assert isinstance(unknown, ResourceNotFoundError)
    assert "SEC has no CIK0000000003.json with filings of 0000000003; look the number up with extract-sec-filers" in str(unknown)


@pytest.mark.parametrize("bulk", [True, False])
def test_lists_that_are_larger_together_than_the_limit_are_refused(tmp_path: Path, bulk: bool) -> None:  # noqa: FBT001  the same
    largest = max(map(len, APPLE.values()))
    job = run(tmp_path, APPLE, "320193", bulk=bulk, max_bytes=largest)
    assert job.outcomes == {"320193": "failed"}
    assert f"have more than {largest:,} bytes" in str(job.failed)


def test_of_many_members_only_those_of_named_filers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory is made of one entry with other names, as it is read: all its members would take 6 MiB."""
    monkeypatch.setattr(archives, "BLOCK_BYTES", 64 << 10)
    count, wanted = 20_000, 12_345
    entry = pack({f"CIK{wanted:010}.json": b"{}"})
    begin, end = entry.index(b"PK\1\2"), entry.index(b"PK\1\2", entry.index(b"PK\1\2") + 1)
    head, tail = entry[begin:end].split(b"CIK%010d.json" % wanted)
    size = end - begin
    record = b"PK\5\6" + bytes(4) + b"\xff\xff" * 2 + b"\xff" * 8 + bytes(2)
    wide = b"PK\6\6" + (44).to_bytes(8, "little") + bytes(12)
    wide += b"".join(number.to_bytes(8, "little") for number in (count, count, count * size, 1000))
    after = wide + b"PK\6\7" + bytes(4) + (1000 + count * size).to_bytes(8, "little") + b"\1\0\0\0" + record

    def get_part(_path: str, first: int, length: int) -> tuple[bytes, int]:
        if first < 1000:
            return b"PK", 1000 + count * size + len(after)
        first -= 1000
        if first >= count * size:
            return after[first - count * size :][:length], 1000 + count * size + len(after)
        numbers = range(first // size, min(count, (first + length) // size + 1))
        block = b"".join(head + b"CIK%010d.json" % number + tail for number in numbers)
        return (block + after)[first % size :][:length], 1000 + count * size + len(after)

    client: Client = source.LISTS.build_client(
        ["www.sec.gov"], base_url=filer_documents.BASE_URL, contact="a@example.com", ciks=(str(wanted), "7"), bulk=True
    )
    assert isinstance(client, ArchiveClient)
    client.get_part = get_part  # type: ignore[method-assign]
    tracemalloc.start()
    found = client.list_members()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == [f"CIK{number:010}.json" for number in (7, wanted)]
    assert peak < 1 << 20
