"""The parts of a section of the landing page, and the helpers that all sections share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from markupsafe import Markup

from publish_marts.html_tables import format_percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from publish_marts.charts import Chart, Point
    from publish_marts.frames import Frames
    from publish_marts.html_tables import Table


@dataclass(frozen=True)
class Figure:
    """A chart with its caption, or several small charts to compare (`panels`). `chart` has the data that readers can download."""

    title: str
    note: str
    svg: Markup
    panels: bool = False
    chart: Chart | None = None


@dataclass(frozen=True)
class Section:
    """A part of a page. `name` is its anchor, `lead` the text under its title."""

    name: str
    title: str
    lead: str | Markup
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()


def build_figure(chart: Chart, note: str) -> Figure:
    """Draw a chart and give it a caption."""
    return Figure(chart.title, note, Markup(chart.draw()), chart=chart)  # noqa: S704  the chart escapes its texts


def list_tickers(frames: Frames) -> list[str]:
    """List every ticker that has prices, returns or a valuation, sorted. A ticker has the same colour in each chart of a page."""
    return sorted(set(frames.prices["ticker"]) | set(frames.returns["ticker"]) | set(frames.valuation["ticker"]))


def select_ticker(frame: pd.DataFrame, ticker: str) -> pd.DataFrame:
    """Select the rows of one ticker."""
    return frame[frame["ticker"] == ticker]


def iterate_rows(frame: pd.DataFrame) -> Iterable[Any]:
    """Iterate over the rows as named tuples. pandas does not type their cells."""
    return frame.itertuples()


def build_points(frame: pd.DataFrame, x: str, y: str) -> list[Point]:
    """Build the points of a line from a column of dates and a column of numbers."""
    return [(float(date.toordinal()), to_float(value)) for date, value in zip(frame[x], frame[y], strict=True)]


def to_float(value: Any) -> float | None:  # noqa: ANN401  a cell
    """Convert a cell to a float, or to None if it is null."""
    return None if pd.isna(value) else float(value)


def find_dates_back(dates: pd.DatetimeIndex, years_back: Sequence[int]) -> list[pd.Timestamp]:
    """Find, for each number of years, the last date that is at least that many years before the newest one.

    Years before the first date are left out.
    """
    limits = [dates.max() - pd.DateOffset(years=years) for years in years_back]
    return list(dict.fromkeys(dates[dates <= limit].max() for limit in limits if (dates <= limit).any()))


def format_percent_tick(value: float, decimals: int) -> str:
    """Format a ratio on an axis as a percentage. `decimals` counts the decimals of the ratio."""
    return format_percent(value, max(decimals - 2, 0))


def format_reason(reason: Any) -> str:  # noqa: ANN401  a cell
    """Format a code such as no_filing as text."""
    return "" if pd.isna(reason) else str(reason).replace("_", " ")
