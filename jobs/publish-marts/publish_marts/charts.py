"""Charts as inline SVG without scripts. Fonts and colours come from the page's style sheet.

Each chart is drawn twice, for wide and for narrow pages, and the style sheet shows one of them. Text scales with the drawing, so a single
one would be too small on a phone or too large on a desktop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import date
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Point = tuple[float, float | None]

TONE_COUNT = 6  # colours of lines in the style sheet
BENCHMARK_TONE = TONE_COUNT  # the colour after them
_CHARACTER_WIDTH = 6.7  # mean width of a character of the 12-unit font
_YEAR_WIDTH = 28.0
_BOLD_CHARACTER_WIDTH = 7.6
_LABEL_GAP = 14.0
_ROUND_FACTORS = (1, 2, 5, 10)


@dataclass(frozen=True)
class Line:
    """A named line. A None is a gap. `stepped` keeps each value until the next point. `tone` is a colour of the style sheet.

    A benchmark is `dashed`.
    """

    name: str
    points: Sequence[Point]
    tone: int
    stepped: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    position: float
    text: str


@dataclass(frozen=True)
class Size:
    """The dimensions of a drawing, its class in the style sheet, and the number of points that a line can show in it."""

    name: str
    width: float
    height: float
    x_ticks: int
    y_ticks: int
    points: int = 0


WIDE = Size("wide", 760, 300, x_ticks=8, y_ticks=5, points=300)
NARROW = Size("narrow", 360, 270, x_ticks=4, y_ticks=5, points=150)
PANEL = Size("panel", 360, 150, x_ticks=4, y_ticks=3, points=150)


@dataclass(frozen=True)
class Chart:
    """Lines over a horizontal axis of dates (as ordinals), or of the values of `x_ticks`.

    `format_tick` formats a value of the vertical axis with a number of decimals; `unit` is its unit. `percent` says that values are
    ratios shown as percentages. `zero` includes 0 in the axis,
    `filled` shades the area between 0 and the line, `dots` marks each point, `format_point` writes each point's value above it.
    """

    name: str
    title: str
    description: str
    lines: Sequence[Line]
    format_tick: Callable[[float, int], str]
    unit: str = ""
    zero: bool = False
    filled: bool = False
    x_ticks: Sequence[Tick] = ()
    dots: bool = False
    format_point: Callable[[float], str] | None = None
    sizes: Sequence[Size] = (WIDE, NARROW)
    y_range: tuple[float, float] | None = None
    percent: bool = False

    @property
    def is_interactive(self) -> bool:
        """Whether a browser draws it again with values, ranges and zoom. A chart that writes its values says more as it is."""
        return self.format_point is None

    def draw(self) -> str:
        """Draw the chart once in each size."""
        return "\n".join(_draw_chart(self, size) for size in self.sizes)


@dataclass(frozen=True)
class _Plot:
    """The plot area inside a drawing, and the values at its edges."""

    size: Size
    left: float
    right: float
    top: float
    bottom: float
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        """Convert a value of the horizontal axis to a coordinate."""
        span = (self.x_high - self.x_low) or 1
        return self.left + (value - self.x_low) / span * (self.right - self.left)

    def y(self, value: float) -> float:
        """Convert a value of the vertical axis to a coordinate."""
        span = (self.y_high - self.y_low) or 1
        return self.bottom - (value - self.y_low) / span * (self.bottom - self.top)


def nice_ticks(low: float, high: float, max_ticks: int) -> list[float]:
    """Choose about `max_ticks` round values that enclose a range, in steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    raw_step = (high - low) / max(max_ticks, 1)
    power = 10.0 ** math.floor(math.log10(raw_step))
    step = next(factor * power for factor in _ROUND_FACTORS if factor * power >= raw_step * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def count_decimals(ticks: Sequence[float]) -> int:
    """Count the decimals that are needed to distinguish the ticks."""
    step = ticks[1] - ticks[0]
    return next(places for places in range(13) if abs(round(step, places) - step) < step * 1e-6)


def date_ticks(low: int, high: int, max_ticks: int) -> list[Tick]:
    """Choose at most `max_ticks` first days of months, quarters or years between two dates."""
    first, last = date.fromordinal(low), date.fromordinal(high)
    months = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    for step in (1, 2, 3, 6, 12, 24, 60, 120, 240):
        days = [date(month // 12, month % 12 + 1, 1) for month in months if month % step == 0]
        ticks = [Tick(day.toordinal(), _format_tick(day, step)) for day in days if low <= day.toordinal() <= high]
        if len(ticks) <= max_ticks:
            return ticks or [Tick(low, first.isoformat())]
    return [Tick(low, str(first.year))]


def _format_tick(day: date, step_months: int) -> str:
    return str(day.year) if step_months % 12 == 0 else f"{day:%b %Y}" if day.month == 1 or step_months > 2 else f"{day:%b}"  # noqa: PLR2004


def spread_apart(targets: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move positions apart: in the same order, as near as possible to the targets, at least `gap` apart, within bounds if they fit."""
    order = sorted(range(len(targets)), key=lambda index: targets[index])
    positions: list[float] = []
    for index in order:
        positions.append(max(targets[index], positions[-1] + gap if positions else low))
    ceiling = high
    for rank in reversed(range(len(positions))):
        positions[rank] = min(positions[rank], ceiling)
        ceiling = positions[rank] - gap
    result = [0.0] * len(targets)
    for index, position in zip(order, positions, strict=True):
        result[index] = position
    return result


def draw_sparkline(points: Sequence[Point], description: str, tone: int) -> str:
    """Draw a word-sized line without axes. It is empty with fewer than two points."""
    defined = [(x, y) for x, y in points if y is not None]
    if len(defined) < 2:  # noqa: PLR2004
        return ""
    size = Size("spark", 96, 24, x_ticks=0, y_ticks=0, points=90)
    plot = _Plot(size, 2, 94, 3, 21, defined[0][0], defined[-1][0], *_pad_range([y for _, y in defined]))
    return (
        f'<svg class="spark" viewBox="0 0 96 24" width="96" height="24" role="img" aria-label="{escape(description)}">'
        f'<path class="line t{tone}" d="{_line_path(plot, downsample(points, size.points), stepped=False)}"/></svg>'
    )


def draw_heat_map(
    name: str, title: str, description: str, rows: Sequence[tuple[str, Sequence[float | None]]], columns: Sequence[str]
) -> str:
    """Draw a row of cells per name and a column per month YYYY-MM. A cell is between 0 and 1, or None without data."""
    wide = _draw_heat_map(f"{name}-wide", "wide", 760, title, description, rows, columns)
    return f"{wide}\n{_draw_heat_map(f'{name}-narrow', 'narrow', 360, title, description, rows, columns)}"


def _draw_heat_map(
    name: str,
    size: str,
    width: float,
    title: str,
    description: str,
    rows: Sequence[tuple[str, Sequence[float | None]]],
    columns: Sequence[str],
) -> str:
    names_above = size == "narrow"  # there is no room to the left of the cells
    left = 0.0 if names_above else max((len(label) for label, _ in rows), default=0) * _BOLD_CHARACTER_WIDTH + 8
    pitch, cell_height = (36.0, 14.0) if names_above else (22.0, 16.0)
    cell = (width - left) / max(len(columns), 1)
    gap = min(1.5, cell * 0.2)
    parts = []
    for index, (label, values) in enumerate(rows):
        top = index * pitch + (16 if names_above else 0)
        parts.append(f'<text class="name" x="0" y="{top - 4 if names_above else top + 12:.1f}">{escape(label)}</text>')
        for position, value in enumerate(values):
            if value is not None:
                box = f'x="{left + position * cell:.1f}" y="{top:.1f}" width="{cell - gap:.1f}" height="{cell_height}"'
                parts.append(f'<rect class="cell" {box} fill-opacity="{max(0.12, min(value, 1)):.2f}"/>')
            else:
                box = f'x="{left + position * cell:.1f}" y="{top:.1f}" width="{cell - gap:.1f}" height="{cell_height}"'
                parts.append(f'<rect class="void" {box}/>')
    bottom = len(rows) * pitch + 14
    free_from = left
    for position, month in enumerate(columns):
        x = left + position * cell
        if month.endswith("-01") and free_from <= x < width - _YEAR_WIDTH:
            parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom:.1f}">{month[:4]}</text>')
            free_from = x + _YEAR_WIDTH + 4
    return _build_svg(name, size, width, bottom + 6, title, description, parts)


def _draw_chart(chart: Chart, size: Size) -> str:
    values = [y for line in chart.lines for _, y in line.points if y is not None]
    days = [x for line in chart.lines for x, y in line.points if y is not None]
    if not values:
        return ""
    plot = _layout_plot(chart, size, values, days)
    ticks = nice_ticks(plot.y_low, plot.y_high, size.y_ticks)
    plot = replace(plot, y_low=ticks[0], y_high=ticks[-1])
    parts = [*_draw_y_axis(chart, plot, ticks), *_draw_x_axis(chart, plot)]
    for line in chart.lines:
        parts += _draw_line(chart, plot, line)
    parts += _draw_line_names(chart, plot)
    return _build_svg(f"{chart.name}-{size.name}", size.name, size.width, size.height, chart.title, chart.description, parts)


def _layout_plot(chart: Chart, size: Size, values: Sequence[float], days: Sequence[float]) -> _Plot:
    low, high = chart.y_range or _pad_range([*values, 0.0] if chart.zero or chart.filled else values)
    ticks = nice_ticks(low, high, size.y_ticks)
    left = max(len(text) for text in _tick_labels(chart, ticks)) * _CHARACTER_WIDTH + 8
    longest = max(len(line.name) for line in chart.lines)
    right = longest * _BOLD_CHARACTER_WIDTH + 10 if longest else 4.0
    top = 26.0 if chart.unit else 10.0
    return _Plot(size, left, size.width - right, top, size.height - 26, min(days), max(days), low, high)


def _pad_range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - (abs(low) or 1) * 0.5, high + (abs(high) or 1) * 0.5)


def _draw_y_axis(chart: Chart, plot: _Plot, ticks: Sequence[float]) -> list[str]:
    parts = [f'<text class="unit" x="0" y="12">{escape(chart.unit)}</text>'] if chart.unit else []
    for tick, text in zip(ticks, _tick_labels(chart, ticks), strict=True):
        y = plot.y(tick)
        kind = "zero" if tick == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{plot.left:.1f}" x2="{plot.right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" text-anchor="end" x="{plot.left - 6:.1f}" y="{y + 4:.1f}">{escape(text)}</text>')
    return parts


def _tick_labels(chart: Chart, ticks: Sequence[float]) -> list[str]:
    places = count_decimals(ticks)
    return [chart.format_tick(tick, places) for tick in ticks]


def _draw_x_axis(chart: Chart, plot: _Plot) -> list[str]:
    ticks = chart.x_ticks or date_ticks(int(plot.x_low), int(plot.x_high), plot.size.x_ticks)
    y, parts, free = plot.bottom, [], -math.inf
    for tick in ticks:
        x, half = plot.x(tick.position), len(tick.text) * _CHARACTER_WIDTH / 2
        centre = min(max(x, half), plot.size.width - half)
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{y:.1f}" y2="{y + 4:.1f}"/>')
        if centre - half >= free:  # drop a label that would touch the previous one
            parts.append(f'<text class="tick" text-anchor="middle" x="{centre:.1f}" y="{y + 18:.1f}">{escape(tick.text)}</text>')
            free = centre + half + 4
    return parts


def _draw_line(chart: Chart, plot: _Plot, line: Line) -> list[str]:
    points = line.points if line.stepped else downsample(line.points, plot.size.points)
    parts = [f'<path class="area t{line.tone}" d="{_area_path(plot, points)}"/>'] if chart.filled else []
    css = f"line t{line.tone} dashed" if line.dashed else f"line t{line.tone}"
    parts.append(f'<path class="{css}" d="{_line_path(plot, points, stepped=line.stepped)}"/>')
    defined = [(x, y) for x, y in points if y is not None]
    if chart.format_point:
        parts += [
            f'<text class="value" x="{plot.x(x) + 3:.1f}" y="{plot.y(y) - 5:.1f}">{escape(chart.format_point(y))}</text>'
            for x, y in defined[: -1 if line.stepped else None]
        ]
    if chart.dots:
        parts += [f'<circle class="dot t{line.tone}" cx="{plot.x(x):.1f}" cy="{plot.y(y):.1f}" r="2.6"/>' for x, y in defined]
    return parts


def _line_path(plot: _Plot, points: Sequence[Point], *, stepped: bool) -> str:
    """Build the `d` attribute of a path. A single point becomes a short dash, to be visible."""
    parts, pen = [], False
    for x, y in points:
        if y is None:
            pen = False
        elif not pen:
            parts.append(f"M{plot.x(x):.1f} {plot.y(y):.1f}h0.1")
            pen = True
        elif stepped:
            parts.append(f"H{plot.x(x):.1f}V{plot.y(y):.1f}")
        else:
            parts.append(f"L{plot.x(x):.1f} {plot.y(y):.1f}")
    return "".join(parts)


def _area_path(plot: _Plot, points: Sequence[Point]) -> str:
    defined = [(x, y) for x, y in points if y is not None]
    edge = "".join(f"L{plot.x(x):.1f} {plot.y(y):.1f}" for x, y in defined)
    return f"M{plot.x(defined[0][0]):.1f} {plot.y(0):.1f}{edge}L{plot.x(defined[-1][0]):.1f} {plot.y(0):.1f}Z" if defined else ""


def _draw_line_names(chart: Chart, plot: _Plot) -> list[str]:
    """Write each line's name at its right end. Names that would overlap are moved apart and connected by a thin line."""
    ends = [(line, _find_last_point(line)) for line in chart.lines if line.name and _find_last_point(line)]
    targets = [plot.y(end[1]) for _, end in ends if end]
    positions = spread_apart(targets, _LABEL_GAP, plot.top, plot.bottom)
    parts = []
    for (line, end), y in zip(ends, positions, strict=True):
        if end:
            x = plot.x(end[0])
            if abs(y - plot.y(end[1])) > _LABEL_GAP / 2 or plot.right - x > _LABEL_GAP:
                parts.append(f'<path class="leader" d="M{x + 2:.1f} {plot.y(end[1]):.1f}L{plot.right + 4:.1f} {y:.1f}"/>')
            parts.append(f'<text class="name t{line.tone}" x="{plot.right + 7:.1f}" y="{y + 4:.1f}">{escape(line.name)}</text>')
    return parts


def _find_last_point(line: Line) -> tuple[float, float] | None:
    return next(((x, y) for x, y in reversed(line.points) if y is not None), None)


def _build_svg(name: str, size: str, width: float, height: float, title: str, description: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="{size}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(description)}</desc>{"".join(parts)}</svg>'
    )


def downsample(points: Sequence[Point], max_points: int) -> list[Point]:
    """Reduce a line to about `max_points` points that keep its shape: the ends, gaps, and each stretch's lowest and highest point."""
    if len(points) <= max_points:
        return list(points)
    stretch = math.ceil(len(points) * 2 / max_points)
    cuts = [*range(0, len(points), stretch), len(points)]
    kept_indexes: set[int] = {0, len(points) - 1}
    for begin, end in pairwise(cuts):
        defined = {index: y for index in range(begin, end) if (y := points[index][1]) is not None}
        gap = next((index for index in range(begin, end) if index not in defined), None)
        kept_indexes |= {min(defined, key=defined.__getitem__), max(defined, key=defined.__getitem__)} if defined else set()
        kept_indexes |= {gap} if gap is not None else set()
    return [points[index] for index in sorted(kept_indexes)]
