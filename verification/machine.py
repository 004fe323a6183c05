"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil  # type: ignore[import-untyped]


def describe_machine() -> str:
    """Return one paragraph: processors, memory, system, versions and load average."""
    memory_gib = psutil.virtual_memory().total / 1024**3
    versions = f"Python {platform.python_version()}, Prefect {version('prefect')}"
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d} on {psutil.cpu_count()} cores of {_processor()}, {memory_gib:.0f} GiB, {platform.system()} "
        f"{platform.machine()}; {versions}; load average {load:.1f} before the measurement."
    )


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "an unnamed processor"
    return next((line.partition(":")[2].strip() for line in text.split("\n") if line.startswith("model name")), "an unnamed processor")
