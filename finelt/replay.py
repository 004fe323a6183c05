"""Run jobs again on stored vendor bytes, without network: in a lake itself, or in a scratch lake to rebuild one commit.

Jobs are run as commands and never imported, so that their dependencies and their parser are those of the job.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from jobkit.errors import BadDataError, UsageError
from jobkit.lake import CommitDraft, Lake, SourceMetadata
from jobkit.stores import open_store

from jobs.catalogue import DROP, catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.lake import Commit

    from jobs.catalogue import JobSpec

PARTITION_OPTIONS = {"ticker": ("--tickers",), "cik": ("--ciks",), "date": ("--start", "--end")}
DATASET_OPTIONS = {"ecb_fx_rates_daily": ("--file", "daily")}  # of a job that writes two datasets
# A job that is replayed reports to no launcher and takes no option from the environment.
HIDDEN_VARIABLES = ("FINELT_", "PREFECT_", "DAGSTER_", "OPENLINEAGE_", "OTEL_", "AIRFLOW_")
UNUSED_CONTACT = "Nobody nobody@example.com"  # required by the jobs that call SEC; a replay calls nobody


class RebuiltCommit(NamedTuple):
    """A commit made again from its vendor bytes: the record, the Parquet file of its valid rows, and that of its quarantined rows."""

    commit: Commit
    data: bytes
    quarantine: bytes | None

    @property
    def files(self) -> dict[str, bytes]:
        """The Parquet files by key. A key contains the digest of its file, so a file with the key of another is equal to it."""
        files = {self.commit.data.path: self.data}
        return files | ({self.commit.quarantine.path: self.quarantine} if self.commit.quarantine and self.quarantine else {})


def find_job(dataset: str) -> JobSpec:
    """Return the job that writes a dataset of the lake. Raises UsageError."""
    job = next((spec for spec in catalogue() if f"raw/{dataset}" in spec.writes), None)
    if job is None:
        raise UsageError(f"no job writes raw/{dataset}; is the dataset's name right?")
    return job


def replay(lake: str, dataset: str, partition: str, options: Sequence[str] = ()) -> int:
    """Replay a partition in its lake, with more options of the extractor. Its receipt goes to stdout; returns its exit code."""
    command = [*_command(find_job(dataset), lake), "--replay", *partition_options(dataset, partition), *options]
    return subprocess.run(command, check=False).returncode  # noqa: S603  our own job


def partition_options(dataset: str, partition: str) -> list[str]:
    """Return the options that make an extractor request one partition."""
    options = [*DATASET_OPTIONS.get(dataset, ())]
    for part in partition.split("/"):
        name, _, value = part.partition("=")
        if name == "year":
            options += ["--start", f"{value}-01-01", "--end", f"{value}-12-31"]
        else:
            options += [word for option in PARTITION_OPTIONS.get(name, ()) for word in (option, value)]
    return options


def rebuild_commit(lake: Lake, commit: Commit) -> RebuiltCommit:
    """Make a commit again from its vendor bytes, with the parser and contract of today, in a scratch lake.

    Raises BadDataError (65) if the job refuses the bytes or makes no rows of this partition, UsageError (2) if no job writes the dataset.
    """
    job = find_job(commit.dataset)
    if not commit.source:
        raise BadDataError("it names no vendor bytes")
    body = lake.read(commit.source[-1])
    with TemporaryDirectory(prefix="finelt-replay-") as folder:
        scratch = Lake(f"{folder}/lake")
        if DROP in job.reads:
            first, options = 1, _drop_file(f"{folder}/drop", commit, body)
        else:
            first, options = 2, _store_bytes(scratch, commit, body)
        _run(job, scratch, options)
        head = scratch.head(commit.dataset, commit.partition)
        if head is None or head.number < first:
            filled = ", ".join(scratch.partitions(commit.dataset)) or "no partition"
            raise BadDataError(f"its vendor bytes fill {filled} today")
        return RebuiltCommit(head, scratch.read(head.data), scratch.read(head.quarantine) if head.quarantine else None)


def _drop_file(drop: str, commit: Commit, body: bytes) -> list[str]:
    """Drop a file under the name that it had; return the options of the job."""
    key = "/".join(unquote(urlsplit(commit.source[-1].url).path).split("/")[-2:])
    open_store(drop).put(key, body)
    return ["--drop", drop, "--key", key]


def _store_bytes(scratch: Lake, commit: Commit, body: bytes) -> list[str]:
    """Commit vendor bytes without rows to a scratch lake; return the options of the job."""
    source = commit.source[-1]
    metadata = SourceMetadata(source.url, source.media_type, source.etag, source.last_modified)
    draft = CommitDraft(
        data=b"",
        rows=0,
        quarantine=None,
        quarantined=0,
        source=lambda: (scratch.store_source(commit.dataset, body, metadata),),
        key=commit.key,
        leaf=commit.leaf,
        writer=commit.writer,
    )
    scratch.commit(commit.dataset, commit.partition, draft)
    return ["--replay", *partition_options(commit.dataset, commit.partition)]


def _run(job: JobSpec, scratch: Lake, options: Sequence[str]) -> None:
    """Run a job in a scratch lake. Raises BadDataError with its message if it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(HIDDEN_VARIABLES)}
    ended = subprocess.run(  # noqa: S603  our own job
        [*_command(job, scratch.store.url), *options],
        env={**environment, "FINELT_CONTACT": UNUSED_CONTACT},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        try:
            error = json.loads(ended.stdout.splitlines()[-1])["error"]
        except (IndexError, ValueError, KeyError):
            error = f"{job.name} ended with exit code {ended.returncode}"
        raise BadDataError(error)


def _command(job: JobSpec, lake: str) -> list[str]:
    return [sys.executable, "-m", job.package, "run", "--lake", lake]
