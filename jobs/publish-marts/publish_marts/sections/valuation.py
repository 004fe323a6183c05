"""Price-earnings ratios from earnings that were public on each session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from publish_marts.charts import Chart, Line
from publish_marts.html_tables import format_long_date, format_number
from publish_marts.sections.section import Section, build_figure, build_points, iterate_rows, list_tickers, select_ticker

if TYPE_CHECKING:
    from publish_marts.frames import Frames


def build_valuation(frames: Frames) -> Section | None:
    """Chart the price-earnings ratio of each ticker."""
    defined = frames.valuation.dropna(subset=["pe_ratio"])
    if defined.empty:
        return None
    lines = [
        Line(ticker, build_points(select_ticker(frames.valuation, ticker), "trade_date", "pe_ratio"), tone)
        for tone, ticker in enumerate(list_tickers(frames))
        if (defined["ticker"] == ticker).any()
    ]
    last = defined.groupby("ticker").tail(1)
    values = ", ".join(f"{row.ticker} {format_number(row.pe_ratio, 1)} on {format_long_date(row.trade_date)}" for row in iterate_rows(last))
    caption = f"Last value: {values}."
    chart = Chart("pe", "Price-earnings ratio", caption, lines, format_number, unit="close / 12-month diluted EPS", zero=True)
    note = f"Close divided by the earnings per share of the last twelve months, adjusted for splits. {caption}"
    lead = "Each ratio uses only filings that were public at that session. The line has a gap where earnings were not yet known."
    return Section("valuation", "Valuation", lead, figures=(build_figure(chart, note),))
