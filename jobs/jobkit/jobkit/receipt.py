"""The receipt: the one JSON object on stdout that says what a job did."""

from __future__ import annotations

import os
import resource
import sys
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobkit.errors import ExitCode

if TYPE_CHECKING:
    from jobkit.declaration import Declaration

Outcome = Literal["committed", "unchanged", "skipped", "failed"]

# Fargate, Linux x86, us-east-1, per hour; billed by the second, one minute at least. Source: AWS Fargate pricing page.
VCPU_HOUR_USD, GB_HOUR_USD, MINIMUM_S = 0.04048, 0.004445, 60


@dataclass
class Account:
    """What a run has done so far, and what it cost this process."""

    declaration: Declaration
    verb: str
    arguments: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    partitions: list[dict[str, Any]] = field(default_factory=list)
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _clock_s: float = field(default_factory=time.monotonic)

    def receipt(self, *, exit_code: int, error: str | None) -> dict[str, Any]:
        """The receipt as of now. Sizes in bytes, durations in seconds, times in UTC."""
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
            **{name: sum(partition[name] for partition in self.partitions) for name in ("rows", "bytes", "quarantined")},
            **{name: outcomes.count(name) for name in ("committed", "unchanged", "skipped", "failed")},
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
        hours = max(elapsed_s, MINIMUM_S) / 3600
        vcpu, gb = self.declaration.cpu / 1024, self.declaration.memory / 1024
        return round(hours * (vcpu * VCPU_HOUR_USD + gb * GB_HOUR_USD), 6)


def _peak_rss_bytes() -> int:
    """The most memory this process ever held. On Linux not ru_maxrss: that begins with what the process that forked us held."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return 1024 * int(status.partition("VmHWM:")[2].split(maxsplit=1)[0])


def _status(exit_code: int, outcomes: list[str]) -> str:
    if exit_code == ExitCode.DONE:
        return "done" if "committed" in outcomes or "unchanged" not in outcomes else "unchanged"
    return "stopped" if exit_code == ExitCode.STOPPED else "failed"


def sentence(receipt: dict[str, Any]) -> str:
    """One line for a person: what the receipt says in short."""
    if receipt["error"]:
        return str(receipt["error"])
    if (plan := receipt["details"].get("plan")) is not None:
        return f"plan: {len(plan):,} partition{'s' * (len(plan) != 1)}"
    if receipt["verb"] != "run":
        return f"{receipt['verb']}: ok"
    told = [f"{receipt[name]:,} {name}" for name in ("committed", "unchanged", "skipped") if receipt[name]]
    extra = f", {receipt['quarantined']:,} quarantined" if receipt["quarantined"] else ""
    parts = len(receipt["partitions"])
    return f"{parts:,} partition{'s' * (parts != 1)}: {', '.join(told) or 'nothing to do'}; {receipt['rows']:,} rows{extra}"
