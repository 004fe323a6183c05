"""Charts as inline SVG: numbers in, text out. No script, no font and no colour of their own: the page's style sheet has both.

Each chart is drawn twice, for a wide and for a narrow page, and the style sheet shows one: text scales with a drawing, so that one
drawing would be unreadable on a phone or clumsy on a desk.
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

TONES = 6  # colours in the style sheet
_GLYPH = 6.7  # mean width of a character of the 12-unit text
_BOLD_GLYPH = 7.6
_LINE_GAP = 14.0
_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True)
class Line:
    """A named line. A None breaks it; `stepped` holds a value until the next one, `tone` is a colour of the style sheet."""

    name: str
    points: Sequence[Point]
    tone: int
    stepped: bool = False


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Size:
    """A drawing's measures, the style sheet's name for it, and how many points of a line can be told apart in it."""

    name: str
    width: float
    height: float
    x_ticks: int
    y_ticks: int
    points: int = 0


WIDE = Size("wide", 760, 300, x_ticks=8, y_ticks=5, points=380)
NARROW = Size("narrow", 360, 270, x_ticks=4, y_ticks=5, points=190)
PANEL = Size("panel", 360, 150, x_ticks=4, y_ticks=3, points=190)


@dataclass(frozen=True)
class Chart:
    """Lines over a horizontal axis, which holds days (as ordinals) unless `x_ticks` says otherwise.

    `text` writes a value of the vertical axis with so many decimals, `unit` says what it is; `zero` puts 0 on the axis; `filled` shades
    from 0 to the line; `dots` marks each point, `values` writes each point's value above it.
    """

    name: str
    title: str
    description: str
    lines: Sequence[Line]
    text: Callable[[float, int], str]
    unit: str = ""
    zero: bool = False
    filled: bool = False
    x_ticks: Sequence[Tick] = ()
    dots: bool = False
    values: Callable[[float], str] | None = None
    sizes: Sequence[Size] = (WIDE, NARROW)
    y_range: tuple[float, float] | None = None

    def svg(self) -> str:
        """The drawings, one after the other."""
        return "\n".join(_drawing(self, size) for size in self.sizes)


@dataclass(frozen=True)
class _Frame:
    """The plot inside a drawing and the values at its edges."""

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
        """Where a value of the horizontal axis is."""
        span = (self.x_high - self.x_low) or 1
        return self.left + (value - self.x_low) / span * (self.right - self.left)

    def y(self, value: float) -> float:
        """Where a value of the vertical axis is."""
        span = (self.y_high - self.y_low) or 1
        return self.bottom - (value - self.y_low) / span * (self.bottom - self.top)


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Round values that enclose a range: steps of 1, 2 or 5 times a power of ten, about so many."""
    if high <= low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    raw = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in _STEPS if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def decimals(ticks: Sequence[float]) -> int:
    """How many decimals it takes to tell ticks apart."""
    step = ticks[1] - ticks[0]
    return next(places for places in range(13) if abs(round(step, places) - step) < step * 1e-6)


def date_ticks(low: int, high: int, about: int) -> list[Tick]:
    """First days of years, quarters or months between two days, at most so many."""
    first, last = date.fromordinal(low), date.fromordinal(high)
    months = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    for step in (1, 2, 3, 6, 12, 24, 60, 120, 240):
        days = [date(month // 12, month % 12 + 1, 1) for month in months if month % step == 0]
        ticks = [Tick(day.toordinal(), _day_text(day, step)) for day in days if low <= day.toordinal() <= high]
        if len(ticks) <= about:
            return ticks or [Tick(low, first.isoformat())]
    return [Tick(low, str(first.year))]


def _day_text(day: date, step_months: int) -> str:
    return str(day.year) if step_months % 12 == 0 else f"{day:%b %Y}" if day.month == 1 or step_months > 2 else f"{day:%b}"  # noqa: PLR2004


def spread_apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions as near as can be to those wanted, in their order, at least `gap` apart and within bounds where there is room."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed: list[float] = []
    for index in order:
        placed.append(max(wanted[index], placed[-1] + gap if placed else low))
    ceiling = high
    for at in reversed(range(len(placed))):
        placed[at] = min(placed[at], ceiling)
        ceiling = placed[at] - gap
    result = [0.0] * len(wanted)
    for index, position in zip(order, placed, strict=True):
        result[index] = position
    return result


def sparkline(points: Sequence[Point], description: str, tone: int) -> str:
    """A word-sized line without axes."""
    known = [(x, y) for x, y in points if y is not None]
    if len(known) < 2:  # noqa: PLR2004
        return ""
    size = Size("spark", 96, 24, x_ticks=0, y_ticks=0, points=90)
    frame = _Frame(size, 2, 94, 3, 21, known[0][0], known[-1][0], *_extent([y for _, y in known]))
    return (
        f'<svg class="spark" viewBox="0 0 96 24" width="96" height="24" role="img" aria-label="{escape(description)}">'
        f'<path class="line t{tone}" d="{_path(frame, simplified(points, size.points), stepped=False)}"/></svg>'
    )


def heat_map(name: str, title: str, description: str, rows: Sequence[tuple[str, Sequence[float | None]]], columns: Sequence[str]) -> str:
    """A row of cells per name, a column per month 'YYYY-MM'; a cell is 0 to 1, None where nothing is."""
    wide = _heat_drawing(f"{name}-wide", "wide", 760, title, description, rows, columns)
    return f"{wide}\n{_heat_drawing(f'{name}-narrow', 'narrow', 360, title, description, rows, columns)}"


def _heat_drawing(
    name: str,
    size: str,
    width: float,
    title: str,
    description: str,
    rows: Sequence[tuple[str, Sequence[float | None]]],
    columns: Sequence[str],
) -> str:
    above = size == "narrow"  # no room for names beside the cells: they stand above them
    left = 0.0 if above else max((len(label) for label, _ in rows), default=0) * _BOLD_GLYPH + 8
    pitch, cell_height = (36.0, 14.0) if above else (22.0, 16.0)
    cell = (width - left) / max(len(columns), 1)
    gap = min(1.5, cell * 0.2)
    parts = []
    for index, (label, values) in enumerate(rows):
        top = index * pitch + (16 if above else 0)
        parts.append(f'<text class="name" x="0" y="{top - 4 if above else top + 12:.1f}">{escape(label)}</text>')
        for at, value in enumerate(values):
            if value is not None:
                box = f'x="{left + at * cell:.1f}" y="{top:.1f}" width="{cell - gap:.1f}" height="{cell_height}"'
                parts.append(f'<rect class="cell" {box} fill-opacity="{max(0.12, min(value, 1)):.2f}"/>')
            else:
                box = f'x="{left + at * cell:.1f}" y="{top:.1f}" width="{cell - gap:.1f}" height="{cell_height}"'
                parts.append(f'<rect class="void" {box}/>')
    bottom = len(rows) * pitch + 14
    parts += [
        f'<text class="tick" x="{left + at * cell:.1f}" y="{bottom:.1f}">{month[:4]}</text>'
        for at, month in enumerate(columns)
        if month.endswith("-01") and left + at * cell < width - 28
    ]
    return _svg(name, size, width, bottom + 6, title, description, parts)


def _drawing(chart: Chart, size: Size) -> str:
    values = [y for line in chart.lines for _, y in line.points if y is not None]
    days = [x for line in chart.lines for x, y in line.points if y is not None]
    if not values:
        return ""
    frame = _frame(chart, size, values, days)
    ticks = nice_ticks(frame.y_low, frame.y_high, size.y_ticks)
    frame = replace(frame, y_low=ticks[0], y_high=ticks[-1])
    parts = [*_y_axis(chart, frame, ticks), *_x_axis(chart, frame)]
    for line in chart.lines:
        parts += _line(chart, frame, line)
    parts += _labels(chart, frame)
    return _svg(f"{chart.name}-{size.name}", size.name, size.width, size.height, chart.title, chart.description, parts)


def _frame(chart: Chart, size: Size, values: Sequence[float], days: Sequence[float]) -> _Frame:
    low, high = chart.y_range or _extent([*values, 0.0] if chart.zero or chart.filled else values)
    ticks = nice_ticks(low, high, size.y_ticks)
    left = max(len(text) for text in _texts(chart, ticks)) * _GLYPH + 8
    longest = max(len(line.name) for line in chart.lines)
    right = longest * _BOLD_GLYPH + 10 if longest else 4.0
    top = 26.0 if chart.unit else 10.0
    return _Frame(size, left, size.width - right, top, size.height - 26, min(days), max(days), low, high)


def _extent(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - (abs(low) or 1) * 0.5, high + (abs(high) or 1) * 0.5)


def _y_axis(chart: Chart, frame: _Frame, ticks: Sequence[float]) -> list[str]:
    parts = [f'<text class="unit" x="0" y="12">{escape(chart.unit)}</text>'] if chart.unit else []
    for tick, text in zip(ticks, _texts(chart, ticks), strict=True):
        y = frame.y(tick)
        kind = "zero" if tick == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{frame.left:.1f}" x2="{frame.right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" text-anchor="end" x="{frame.left - 6:.1f}" y="{y + 4:.1f}">{escape(text)}</text>')
    return parts


def _texts(chart: Chart, ticks: Sequence[float]) -> list[str]:
    places = decimals(ticks)
    return [chart.text(tick, places) for tick in ticks]


def _x_axis(chart: Chart, frame: _Frame) -> list[str]:
    ticks = chart.x_ticks or date_ticks(int(frame.x_low), int(frame.x_high), frame.size.x_ticks)
    y, parts, free = frame.bottom, [], -math.inf
    for tick in ticks:
        x, half = frame.x(tick.at), len(tick.text) * _GLYPH / 2
        centre = min(max(x, half), frame.size.width - half)
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{y:.1f}" y2="{y + 4:.1f}"/>')
        if centre - half >= free:  # two labels never touch; the later one gives way
            parts.append(f'<text class="tick" text-anchor="middle" x="{centre:.1f}" y="{y + 18:.1f}">{escape(tick.text)}</text>')
            free = centre + half + 4
    return parts


def _line(chart: Chart, frame: _Frame, line: Line) -> list[str]:
    points = line.points if line.stepped else simplified(line.points, frame.size.points)
    parts = [f'<path class="area t{line.tone}" d="{_area(frame, points)}"/>'] if chart.filled else []
    parts.append(f'<path class="line t{line.tone}" d="{_path(frame, points, stepped=line.stepped)}"/>')
    known = [(x, y) for x, y in points if y is not None]
    if chart.values:
        parts += [
            f'<text class="value" x="{frame.x(x) + 3:.1f}" y="{frame.y(y) - 5:.1f}">{escape(chart.values(y))}</text>'
            for x, y in known[: -1 if line.stepped else None]
        ]
    if chart.dots:
        parts += [f'<circle class="dot t{line.tone}" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="2.6"/>' for x, y in known]
    return parts


def _path(frame: _Frame, points: Sequence[Point], *, stepped: bool) -> str:
    """The d of a path; a lone point becomes a short dash, so that it is seen."""
    parts, pen = [], False
    for x, y in points:
        if y is None:
            pen = False
        elif not pen:
            parts.append(f"M{frame.x(x):.1f} {frame.y(y):.1f}h0.1")
            pen = True
        elif stepped:
            parts.append(f"H{frame.x(x):.1f}V{frame.y(y):.1f}")
        else:
            parts.append(f"L{frame.x(x):.1f} {frame.y(y):.1f}")
    return "".join(parts)


def _area(frame: _Frame, points: Sequence[Point]) -> str:
    known = [(x, y) for x, y in points if y is not None]
    edge = "".join(f"L{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in known)
    return f"M{frame.x(known[0][0]):.1f} {frame.y(0):.1f}{edge}L{frame.x(known[-1][0]):.1f} {frame.y(0):.1f}Z" if known else ""


def _labels(chart: Chart, frame: _Frame) -> list[str]:
    """Each line's name at its right end, moved apart where they would touch, with a thin leader where one had to move."""
    ends = [(line, _last(line)) for line in chart.lines if line.name and _last(line)]
    wanted = [frame.y(end[1]) for _, end in ends if end]
    placed = spread_apart(wanted, _LINE_GAP, frame.top, frame.bottom)
    parts = []
    for (line, end), y in zip(ends, placed, strict=True):
        if end:
            x = frame.x(end[0])
            if abs(y - frame.y(end[1])) > _LINE_GAP / 2 or frame.right - x > _LINE_GAP:
                parts.append(f'<path class="leader" d="M{x + 2:.1f} {frame.y(end[1]):.1f}L{frame.right + 4:.1f} {y:.1f}"/>')
            parts.append(f'<text class="name t{line.tone}" x="{frame.right + 7:.1f}" y="{y + 4:.1f}">{escape(line.name)}</text>')
    return parts


def _last(line: Line) -> tuple[float, float] | None:
    return next(((x, y) for x, y in reversed(line.points) if y is not None), None)


def _svg(name: str, size: str, width: float, height: float, title: str, description: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="{size}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(description)}</desc>{"".join(parts)}</svg>'
    )


def simplified(points: Sequence[Point], most: int) -> list[Point]:
    """At most about so many points that keep a line's shape: of each stretch the lowest and the highest, and the ends."""
    if len(points) <= most:
        return list(points)
    stretch = math.ceil(len(points) * 2 / most)
    cuts = [*range(0, len(points), stretch), len(points)]
    kept: set[int] = {0, len(points) - 1}
    for begin, end in pairwise(cuts):
        known = {index: y for index in range(begin, end) if (y := points[index][1]) is not None}
        gap = next((index for index in range(begin, end) if index not in known), None)
        kept |= {min(known, key=known.__getitem__), max(known, key=known.__getitem__)} if known else set()
        kept |= {gap} if gap is not None else set()
    return [points[index] for index in sorted(kept)]
