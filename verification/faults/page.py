"""Write measured rows of the scorecard into docs/reliability.md."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jobs.catalogue import REPOSITORY

if TYPE_CHECKING:
    from verification.faults.trials import Row

PAGE = REPOSITORY / "docs" / "reliability.md"
LINE = "| `{name}` | {fault} | {row.trials:,} | {verdict} | {day} |"
BEGIN, END = "<!-- scorecard: written by scripts/faults -->", "<!-- end of the scorecard -->"
HEAD = ["| row | fault | trials | found | measured |", "| --- | --- | ---: | --- | --- |"]


def write(name: str, fault: str, row: Row, seed: int, machine: str) -> None:
    """Replace one row of the page. `fault` is its description; `machine` begins with the date."""
    text = PAGE.read_text(encoding="utf-8")
    before, table, after = text.partition(BEGIN)[0], text.partition(BEGIN)[2].partition(END)[0], text.partition(END)[2]
    lines = {match[1]: match[0] for match in re.finditer(r"^\| `([a-z]+)` \|.*$", table, re.MULTILINE)}
    verdict = f"**does not hold**: {'; '.join(row.violations)}" if row.violations else f"holds: {row.result}"
    day = machine.partition(" ")[0]
    lines[name] = LINE.format(name=name, fault=fault, row=row, verdict=verdict.replace("|", "\\|").replace("\n", " "), day=day)
    detail = f"The newest measurement: {machine} Seed {seed}."
    body = "\n".join([BEGIN, *HEAD, *lines.values(), "", detail, END])
    PAGE.write_text(f"{before}{body}{after}", encoding="utf-8")
