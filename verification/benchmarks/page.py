"""Write docs/benchmarks.md. A command writes its own section and keeps the others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jobs.catalogue import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = REPOSITORY / "docs" / "benchmarks.md"
TITLES = {
    "load": "Loading",
    "reload": "Incremental loading",
    "loaders": "Several loaders",
    "growth": "Growth of rows and partitions",
    "partitions": "Many small partitions",
    "extract": "Extracting",
    "publish": "Publishing",
    "start": "Starting",
    "steps": "The overhead of a step",
    "scale": "A backfill of many runs",
    "marts": "As-of views and one new day",
    "as-of": "Every mart as of a moment",
    "valuation": "Valuations as of a moment",
    "lake-marts": "Marts outside Postgres",
    "recovery": "Disaster recovery",
    "compare": "Compared with an earlier commit",
}
HEAD = """# Benchmarks

Each section names the command that writes it and the machine that it ran on. Without `--write`, the command only prints its section. The
targets and the bound of each figure are in [decision 0010](decisions/0010-performance-bounds.md).

Sections about an earlier commit are of alternating runs of both builds on the same rows. If the machine had other work meanwhile, which the
load average shows, only their ratios mean something, and those of CPU seconds more than those of seconds.
"""
PART = re.compile(r"^## (.+?)\n\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def render_part(part: str, lines: Sequence[str], *, words: str = "") -> str:
    """Return the text of a section, with the command that measures it. `words` are the command's arguments."""
    return "\n".join([*lines, "", f"Written by `scripts/bench --write {f'{part} {words}'.strip()}`.", ""])


def write_part(part: str, text: str, *, about: str = "") -> None:
    """Write a section to the page. `about` tells sections of one command apart."""
    parts_by_title = dict(PART.findall(PAGE.read_text(encoding="utf-8"))) if PAGE.exists() else {}
    parts_by_title[f"{TITLES[part]}{about and f': {about}'}"] = text
    order = list(TITLES.values())
    titles = sorted(
        parts_by_title, key=lambda title: order.index(title.partition(": ")[0])
    )  # stable: sections of one command stay in order
    parts = [f"## {title}\n\n{parts_by_title[title].strip()}\n" for title in titles]
    PAGE.write_text("\n".join([HEAD, *parts]), encoding="utf-8")
