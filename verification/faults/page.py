"""docs/reliability.md: the scorecard, a row for each fault, each written by the run that measured it; what tests hold; what was mended."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jobs.catalogue import REPOSITORY

if TYPE_CHECKING:
    from verification.faults.scorecard import Row

PAGE = REPOSITORY / "docs" / "reliability.md"
LINE = "| `{name}` | {row.fault} | {row.trials:,} | {verdict} | {day} |"
BEGIN, END = "<!-- scorecard: written by scripts/faults -->", "<!-- end of the scorecard -->"
HEAD = ["| row | fault | trials | found | measured |", "| --- | --- | ---: | --- | --- |"]


def write(name: str, row: Row, seed: int, machine: str) -> None:
    """Put a row into the page; the others stay as they are. `machine` begins with the day."""
    text = PAGE.read_text(encoding="utf-8")
    before, table, after = text.partition(BEGIN)[0], text.partition(BEGIN)[2].partition(END)[0], text.partition(END)[2]
    lines = {match[1]: match[0] for match in re.finditer(r"^\| `([a-z]+)` \|.*$", table, re.MULTILINE)}
    verdict = f"**does not hold**: {'; '.join(row.wrong)}" if row.wrong else f"holds: {row.seen}"
    day = machine.partition(" ")[0]
    lines[name] = LINE.format(name=name, row=row, verdict=verdict.replace("|", "\\|").replace("\n", " "), day=day)
    told = f"The newest measurement: {machine} Seed {seed}."
    body = "\n".join([BEGIN, *HEAD, *lines.values(), "", told, END])
    PAGE.write_text(f"{before}{body}{after}", encoding="utf-8")
