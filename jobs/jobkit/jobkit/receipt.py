"""The receipt: the one JSON object on stdout that says what a job did and what it cost.

Every verb but `describe` prints one, whatever the exit code. A process that ends without a receipt has failed.
"""

from __future__ import annotations

import os
import resource
import sys
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

from jobkit.errors import ExitCode

if TYPE_CHECKING:
    from jobkit.declaration import Declaration

Outcome = Literal["committed", "unchanged", "skipped", "failed"]
Status = Literal["done", "unchanged", "failed", "stopped"]

# Fargate, Linux x86, us-east-1, per hour; billed by the second, one minute at least. Source: AWS Fargate pricing page.
VCPU_HOUR_USD, GB_HOUR_USD, MINIMUM_S = 0.04048, 0.004445, 60


class Partition(TypedDict):
    """What happened to one partition of one dataset. A job may add keys of its own; those that other programs read are listed here.

    outcome: committed (a new version), unchanged (the newest version is the same), skipped (the vendor has no data) or failed.
    rows, quarantined: rows that are valid, and rows in quarantine.
    bytes, sha256: size and digest of the data file.
    reason: why it was skipped or failed.
    commit: the number of the newest commit.
    rows_added, rows_closed: rows that are new or changed, and rows that are gone or changed since the previous commit.
    added, removed, changed: rows of a mart that differ from its previous version.
    gaps: a message for each commit that could not be loaded.
    clock_corrected: rows whose time of commit was corrected.
    """

    dataset: str
    partition: str
    outcome: Outcome
    rows: int
    bytes: int
    sha256: str | None
    quarantined: int
    reason: NotRequired[str]
    commit: NotRequired[int]
    rows_added: NotRequired[int]
    rows_closed: NotRequired[int]
    added: NotRequired[int]
    removed: NotRequired[int]
    changed: NotRequired[int]
    gaps: NotRequired[list[str]]
    clock_corrected: NotRequired[int]


class Receipt(TypedDict):
    """What a job did and what it cost: sizes in bytes, durations in seconds, times in UTC (ISO 8601), cost in US dollars.

    arguments: the options by name, with `***` in place of references to secrets.
    status: done, unchanged (done, and no partition has a new version), failed, or stopped (SIGTERM).
    error: one sentence; None with exit code 0.
    rows, bytes, quarantined: sums over the partitions.
    committed, unchanged, skipped, failed: numbers of partitions by outcome.
    cpu_s: user and system time of this process, without its children.
    peak_rss_bytes: the largest resident set of this process.
    fargate_usd: an estimate, by the size that the job declares.
    details: what one job alone reports.
    """

    job: str
    version: str
    verb: str
    image_digest: str | None
    run_id: str
    arguments: dict[str, Any]
    status: Status
    exit_code: int
    error: str | None
    rows: int
    bytes: int
    quarantined: int
    committed: int
    unchanged: int
    skipped: int
    failed: int
    partitions: list[Partition]
    started_at: str
    ended_at: str
    elapsed_s: float
    cpu_s: float
    peak_rss_bytes: int
    fargate_usd: float
    details: dict[str, Any]


@dataclass
class RunRecord:
    """What a run has done so far. Its clock starts when it is created, before the options are read."""

    declaration: Declaration
    verb: str
    arguments: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    partitions: list[Partition] = field(default_factory=list)
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _clock_s: float = field(default_factory=time.monotonic)

    def make_receipt(self, *, exit_code: int, error: str | None) -> Receipt:
        """Return the receipt as of now. May be called while the run still adds partitions, as after SIGTERM."""
        elapsed_s = time.monotonic() - self._clock_s
        usage = resource.getrusage(resource.RUSAGE_SELF)
        outcomes = [partition["outcome"] for partition in self.partitions]
        return {
            "job": self.declaration.name,
            "version": self.declaration.version,
            "verb": self.verb,
            "image_digest": os.environ.get("FINELT_IMAGE_DIGEST"),
            "run_id": self.run_id,
            "arguments": self.arguments,
            "status": _status(exit_code, outcomes),
            "exit_code": exit_code,
            "error": error,
            "rows": sum(partition["rows"] for partition in self.partitions),
            "bytes": sum(partition["bytes"] for partition in self.partitions),
            "quarantined": sum(partition["quarantined"] for partition in self.partitions),
            "committed": outcomes.count("committed"),
            "unchanged": outcomes.count("unchanged"),
            "skipped": outcomes.count("skipped"),
            "failed": outcomes.count("failed"),
            "partitions": self.partitions,
            "started_at": self.started_at.isoformat(),
            "ended_at": datetime.now(UTC).isoformat(),
            "elapsed_s": round(elapsed_s, 3),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
            "peak_rss_bytes": _peak_rss_bytes(),
            "fargate_usd": self._fargate_usd(elapsed_s),
            "details": self.details,
        }

    def _fargate_usd(self, elapsed_s: float) -> float:
        """Return the cost of one Fargate task in US dollars: https://aws.amazon.com/fargate/pricing/."""
        hours = max(elapsed_s, MINIMUM_S) / 3600
        vcpu, gb = self.declaration.cpu / 1024, self.declaration.memory / 1024
        return round(hours * (vcpu * VCPU_HOUR_USD + gb * GB_HOUR_USD), 6)


def _peak_rss_bytes() -> int:
    """Return the largest resident set of this process, from VmHWM of proc_pid_status(5).

    Not from ru_maxrss on Linux, which starts at the size of the process that forked this one.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return 1024 * int(status.partition("VmHWM:")[2].split(maxsplit=1)[0])


def _status(exit_code: int, outcomes: list[Outcome]) -> Status:
    if exit_code == ExitCode.DONE:
        return "done" if "committed" in outcomes or "unchanged" not in outcomes else "unchanged"
    return "stopped" if exit_code == ExitCode.STOPPED else "failed"


def summary(receipt: Receipt) -> str:
    """Return the receipt as one line for people: the error, or the partitions by outcome and their rows."""
    if receipt["error"]:
        return receipt["error"]
    if (plan := receipt["details"].get("plan")) is not None:
        return f"plan: {len(plan):,} partition{'s' * (len(plan) != 1)}"
    if receipt["verb"] != "run":
        return f"{receipt['verb']}: ok"
    counts = {"committed": receipt["committed"], "unchanged": receipt["unchanged"], "skipped": receipt["skipped"]}
    outcomes = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    quarantined = f", {receipt['quarantined']:,} quarantined" if receipt["quarantined"] else ""
    total = len(receipt["partitions"])
    return f"{total:,} partition{'s' * (total != 1)}: {outcomes or 'nothing to do'}; {receipt['rows']:,} rows{quarantined}"
