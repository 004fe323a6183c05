"""The archive of all filers fills the same partitions as the filers one by one; a rerun reads only what changed."""

from __future__ import annotations

import io
import logging
import pickle
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from extract_sec_company_facts import fact_table, parser, source
from jobkit import contracts, extraction, parse_processes
from jobkit.archives import ArchiveClient
from jobkit.edgar import filer_documents
from jobkit.errors import BadDataError, TemporaryError, UsageError
from jobkit.lake import Lake
from jobkit.requests import Extractor, Request

if TYPE_CHECKING:
    from pathlib import Path

FACT = '{"end":"2014-03-29","val":%s,"accn":"0001193125-14-157311","fy":2014,"fp":"Q2","form":"10-Q","filed":"2014-04-24"}'
DATASET = "sec_company_facts"


def document(cik: int, *values: object) -> bytes:
    tags = ",".join(f'"Tag{n}":{{"units":{{"USD":[{FACT % value}]}}}}' for n, value in enumerate(values))
    return f'{{"cik":{cik},"entityName":"Example {cik}","facts":{{"us-gaap":{{{tags}}}}}}}'.encode()


def pack(*documents: tuple[int, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("placeholder.txt", b"not a filer")
        for cik, body in documents:
            archive.writestr(f"CIK{cik:010}.json", body)
    return file.getvalue()


class Job:
    """Where a run records its outcomes."""

    name, version, log = "extract-sec-company-facts", "0", logging.getLogger("finelt.test")

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.entries: dict[str, dict[str, Any]] = {}
        self.failed: BadDataError | UsageError | TemporaryError | None = None
        self.parts = 0

    def record_partition(self, _dataset: str, partition: str, outcome: str, **entry: Any) -> None:
        cik = partition.removeprefix("cik=").lstrip("0")
        self.outcomes[cik], self.entries[cik] = outcome, entry

    def progress(self, *_: object) -> None:
        """Show nothing."""


def run(lake: Path, archive: bytes, *ciks: str, has_ranges: bool = True, max_body_bytes: int = 1000) -> Job:
    """Extract the archive, or the named filers of it, into a lake."""
    job, options = Job(), {"ciks": ciks, "bulk": True, "base_url": filer_documents.BASE_URL, "contact": "Example Ltd a@example.com"}

    def build_client() -> ArchiveClient:
        client = source.FACTS.build_client(["www.sec.gov"], **options)
        assert isinstance(client, ArchiveClient)

        def get_part(path: str, first: int, size: int) -> tuple[bytes, int]:
            assert client.url(path) == "https://www.sec.gov/Archives/edgar/daily-index/xbrl/companyfacts.zip"
            job.parts += 1
            if not has_ranges:
                raise BadDataError("sent the whole file where a part was requested")
            return archive[first : first + size], len(archive)

        client.get_part = get_part  # type: ignore[method-assign]
        client.max_body_bytes = max_body_bytes
        return client

    extractor = Extractor(
        "extract_sec_company_facts",
        build_client,
        source.fetch,
        fact_table.parse,
        list_requests=source.find_lister(**options),
        parse_module="fact_table",
    )
    try:
        extraction.run(job, extractor, source.build_requests(**options), lake=str(lake), replay=False)  # type: ignore[arg-type]
    except (BadDataError, UsageError, TemporaryError) as error:
        job.failed = error
    return job


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[parse_processes.ParseProcesses]:
    """Parse in other processes even few documents. Returns those that were used."""
    used = []

    class Processes(parse_processes.ParseProcesses):
        def __init__(self, count: int, package: str, module: str) -> None:
            super().__init__(count, package, module)
            used.append(self)
            self.parsed = 0

        def parse(self, body: bytes, request: Request) -> contracts.EncodedRows | None:
            found = super().parse(body, request)
            self.parsed += found is not None
            return found

    monkeypatch.setattr(parse_processes, "MIN_DOCUMENTS", 1)
    monkeypatch.setattr(parse_processes.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(extraction, "ParseProcesses", Processes)
    return used


def test_only_changed_members_are_read_and_committed(tmp_path: Path) -> None:
    members = [(320193, document(320193, 1, "2.50")), (5, document(5)), (789019, document(789019, "1e-05"))]
    first = run(tmp_path, pack(*members))
    assert first.outcomes == dict.fromkeys(("5", "320193", "789019"), "committed")
    lake = Lake(str(tmp_path))
    assert [lake.head(DATASET, partition).data.rows for partition in lake.partitions(DATASET)] == [0, 2, 1]  # type: ignore[union-attr]
    second = run(tmp_path, pack(*members))
    assert second.outcomes == dict.fromkeys(("5", "320193", "789019"), "unchanged")
    assert second.parts == 3  # the size, the end and the directory of the archive
    third = run(tmp_path, pack(*members[1:], (320193, document(320193, 1, "2.51"))))
    assert third.outcomes == {"5": "unchanged", "320193": "committed", "789019": "unchanged"}
    assert third.parts == 4
    assert [commit.number for commit in lake.history(DATASET, "cik=0000320193")] == [1, 2]


def test_a_partition_is_that_of_the_filer_alone(tmp_path: Path) -> None:
    body = document(320193, 1, "-2.50")
    run(tmp_path, pack((320193, body), (5, document(5, 3))), "320193")
    lake = Lake(str(tmp_path))
    assert lake.partitions(DATASET) == ["cik=0000320193"]
    head = lake.head(DATASET, "cik=0000320193")
    assert head is not None
    rules = contracts.load_packaged("extract_sec_company_facts", DATASET)
    alone = contracts.validate(rules, parser.parse(body, Request(DATASET, ("cik=0000320193",), "/"))["cik=0000320193"])
    assert lake.read(head.data) == contracts.to_parquet(alone.table)
    assert lake.read(head.source[0]) == body


def test_a_member_that_cannot_be_used_does_not_stop_the_others(tmp_path: Path) -> None:
    job = run(tmp_path, pack((1, document(2, 1)), (3, document(3, 1)), (4, document(4, '"x"')), (6, document(6, 1))))
    assert job.outcomes == {"1": "failed", "3": "committed", "4": "failed", "6": "committed"}
    assert "is about cik 2 (and 1 more partitions" in str(job.failed)


def test_a_member_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    archive = pack((1, document(1, *range(9))), (2, document(2, 1)), (3, document(3, 1)))
    packed_otherwise = archive[archive.rindex(b"PK\1\2") :].replace(b"\x08\0", b"\x0c\0", 1)  # bzip2, in the directory's last entry
    job = run(tmp_path, archive[: archive.rindex(b"PK\1\2")] + packed_otherwise)
    assert job.outcomes == {"1": "failed", "2": "committed", "3": "failed"}
    assert "bytes, more than the 1,000 that this job has the memory for (and 1 more partitions" in str(job.failed)


def test_a_server_without_parts_ends_the_run(tmp_path: Path) -> None:
    job = run(tmp_path, pack((1, document(1, 1)), (2, document(2, 1))), has_ranges=False)
    assert (job.outcomes, job.parts, type(job.failed)) == ({}, 1, BadDataError)


def test_a_filer_that_the_archive_lacks_is_named_and_the_others_are_taken(tmp_path: Path) -> None:
    job = run(tmp_path, pack((3, document(3, 1)), (8, document(8, 1))), "3", "7", "8")
    assert job.outcomes == {"3": "committed", "7": "failed", "8": "committed"}
    assert isinstance(job.failed, UsageError)
    assert "SEC has no reported facts for cik=0000000007" in str(job.failed)


def test_filers_have_to_be_named_without_the_archive() -> None:
    with pytest.raises(UsageError, match="no filer is named; repeat --ciks for each, or take all with --bulk"):
        source.build_requests(ciks=())
    assert source.build_requests(ciks=("320193",))[0].path == "/api/xbrl/companyfacts/CIK0000320193.json"


UNUSUAL = {
    1: document(1, 1, "2.50"),
    2: document(3, 1),  # another filer's
    4: document(4, '"x"'),  # no number
    5: document(5, 1, 1),
    6: document(6, *["9" * 40] * 3),  # more digits than the contract has
    7: document(7),
    8: document(8, "1e-05"),
    9: b"{",
    10: document(10, *range(999), '"x"'),  # one row for the quarantine
}


def test_other_processes_make_the_same_commits_and_receipts(tmp_path: Path, processes: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {**UNUSUAL, 1: document(1, 1, "2.51", 4), 5: document(5, 1), 8: document(8, "1e-05", 3)}
    parallel = [run(tmp_path / "parallel", pack(*members.items()), max_body_bytes=1 << 20) for members in (UNUSUAL, changed)]
    assert [each.parsed for each in processes] == [4, 3]
    monkeypatch.setattr(parse_processes.os, "cpu_count", lambda: 1)
    alone = [run(tmp_path / "alone", pack(*members.items()), max_body_bytes=1 << 20) for members in (UNUSUAL, changed)]
    assert len(processes) == 2
    for one, other in zip(parallel, alone, strict=True):
        assert (one.outcomes, one.entries, str(one.failed)) == (other.outcomes, other.entries, str(other.failed))
    whole = ("1", "5", "7", "8", "10")
    assert alone[0].outcomes == {str(cik): "committed" if str(cik) in whole else "failed" for cik in UNUSUAL}
    outcomes = {"1": "committed", "8": "committed", "7": "unchanged", "10": "unchanged"}
    assert alone[1].outcomes == {str(cik): outcomes.get(str(cik), "failed") for cik in UNUSUAL}
    assert alone[0].entries["10"]["quarantined"] == 1
    files = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.parquet")}
        for folder in (tmp_path / "parallel", tmp_path / "alone")
    ]
    assert files[0] == files[1]


class PanicError(BaseException):
    """As arro3 raises it."""


def test_whatever_a_document_raises_is_left_to_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(_body: bytes, _request: Request) -> None:
        raise PanicError

    monkeypatch.setattr(fact_table, "parse", panic)
    documents, answers = io.BytesIO(pickle.dumps((b"{}", Request(DATASET, ("cik=0000000001",), "/")))), io.BytesIO()
    parse_processes.serve("extract_sec_company_facts", "fact_table", documents, answers)
    assert answers.getvalue() == pickle.dumps(None)


def test_a_process_that_is_killed_ends_the_run_and_the_next_one_does_the_rest(
    tmp_path: Path, processes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(*((cik, document(cik, cik)) for cik in range(1, 30)))
    record = Job.record_partition

    def kill(job: Job, dataset: str, partition: str, outcome: str, **entry: Any) -> None:
        record(job, dataset, partition, outcome, **entry)
        for process in processes[0]._started:
            process.kill()

    with monkeypatch.context() as patch:
        patch.setattr(Job, "record_partition", kill)
        killed = run(tmp_path, archive)
    assert isinstance(killed.failed, TemporaryError)
    assert "ended early, perhaps for lack of memory; run it again" in str(killed.failed)
    assert 0 < len(Lake(str(tmp_path)).partitions(DATASET)) < 29
    assert set(run(tmp_path, archive).outcomes) == {str(cik) for cik in range(1, 30)}
    assert len(Lake(str(tmp_path)).partitions(DATASET)) == 29


def test_no_process_outlives_the_run(tmp_path: Path, processes: list[Any]) -> None:
    run(tmp_path, pack((1, document(1, 1)), (2, document(2, 1))))
    assert processes[0]._started
    assert all(process.returncode is not None for process in processes[0]._started)


JOB = f"""
import signal
from jobkit.parse_processes import ParseProcesses
from jobkit.requests import Request

processes = ParseProcesses(1, "extract_sec_company_facts", "fact_table")
processes.parse(b"{{", Request({DATASET!r}, ("cik=0000000001",), "/"))
print(processes._started[0].pid, flush=True)
signal.pause()
"""


def test_a_process_ends_with_a_job_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", JOB], stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout
        process = psutil.Process(int(job.stdout.readline()))
        job.kill()
    psutil.wait_procs([process], timeout=60)
    assert not process.is_running()
