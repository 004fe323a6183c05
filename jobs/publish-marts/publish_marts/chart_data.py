"""The data of a chart as files: CSV to download, and a script for the interactive chart.

The script is JavaScript and not JSON, because a browser that opened the site from a folder loads no other data.
"""

from __future__ import annotations

import csv
import json
from datetime import date
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from publish_marts.charts import Chart

EPOCH = date(1970, 1, 1).toordinal()


def build_files(key: str, chart: Chart) -> dict[str, bytes]:
    """Build the files of a chart. `key` is their key within the version, without the ending."""
    positions, columns = _align_lines(chart)
    script = {f"{key}.js": _build_script(chart, positions, columns)} if chart.is_interactive else {}
    return {f"{key}.csv": _build_csv(chart, positions, columns), **script}


def _align_lines(chart: Chart) -> tuple[list[float], list[list[float | None]]]:
    """Return all positions on the horizontal axis, and the value of each line there. A stepped line keeps its value."""
    positions = sorted({x for line in chart.lines for x, _ in line.points})
    values = [dict(line.points) for line in chart.lines]
    return positions, [[by_position.get(position) for position in positions] for by_position in values]


def _build_csv(chart: Chart, positions: list[float], columns: list[list[float | None]]) -> bytes:
    labels = {tick.position: tick.text for tick in chart.x_ticks}
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["label" if labels else "date", *(line.name or chart.name for line in chart.lines)])
    for position, *row in zip(positions, *columns, strict=True):
        label = labels.get(position) or date.fromordinal(int(position)).isoformat()
        writer.writerow([label, *("" if value is None else f"{value:.10g}" for value in row)])
    return text.getvalue().encode()


def _build_script(chart: Chart, positions: list[float], columns: list[list[float | None]]) -> bytes:
    labels = {tick.position: tick.text for tick in chart.x_ticks}
    document: dict[str, Any] = {
        "unit": chart.unit,
        "percent": chart.percent,
        "zero": chart.zero,
        "labels": [labels.get(position, "") for position in positions] if labels else None,
        "x": positions if labels else [int(position) - EPOCH for position in positions],
        "lines": [
            {
                "name": line.name or chart.title,
                "tone": line.tone,
                "stepped": line.stepped,
                "dashed": line.dashed,
                "values": [None if value is None else float(f"{value:.7g}") for value in column],
            }
            for line, column in zip(chart.lines, columns, strict=True)
        ],
    }
    text = json.dumps(document, separators=(",", ":")).replace("</", "<\\/")
    return f"finelt.receive({json.dumps(chart.name)},{text});\n".encode()
