"""docs/benchmarks.md: a part for each measurement, each written by the command that measured it and left alone by the others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jobs.catalogue import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = REPOSITORY / "docs" / "benchmarks.md"
TITLES = {
    "load": "Loading",
    "reload": "Loading again",
    "growth": "What more rows and partitions cost",
    "extract": "Extracting",
    "publish": "Publishing",
    "start": "Starting",
    "steps": "What a step costs beyond its job",
    "scale": "A backfill of many runs",
    "marts": "What was known, and one new day",
    "valuation": "Valuations as of a moment",
}
HEAD = """# Benchmarks

The command under each part writes it, and the part names the machine; run the command to measure yours. The targets and what bounds each
figure are in [decision 0010](decisions/0010-performance-bounds.md).
"""
PART = re.compile(r"^## (.+?)\n\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def write(part: str, lines: Sequence[str]) -> str:
    """The part's text, which is in the page now in its place."""
    there = dict(PART.findall(PAGE.read_text(encoding="utf-8"))) if PAGE.exists() else {}
    text = "\n".join([*lines, "", f"Written by `scripts/bench {part}`.", ""])
    there[TITLES[part]] = text
    parts = [f"## {title}\n\n{there[title].strip()}\n" for title in TITLES.values() if title in there]
    PAGE.write_text("\n".join([HEAD, *parts]), encoding="utf-8")
    return text
