"""Prices, returns and risk of each ticker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from publish_marts import charts, links
from publish_marts.charts import Chart, Line
from publish_marts.html_tables import Table, build_headers, format_count, format_date, format_long_date, format_number, format_percent
from publish_marts.sections.section import (
    Figure,
    Section,
    build_figure,
    build_points,
    format_percent_tick,
    format_reason,
    list_tickers,
    select_ticker,
)

if TYPE_CHECKING:
    import pandas as pd

    from publish_marts.frames import Frames


def build_overview(frames: Frames) -> Section | None:
    """Show each ticker's figures on its last session."""
    if frames.prices.empty:
        return None
    numbers = ("Close, USD", "1-year return", "Volatility", "Drawdown", "P/E")
    headers = build_headers("Ticker", "Last session", *numbers, "Adjusted close", numbers=numbers)
    rows = [_ticker_row(frames, ticker, tone) for tone, ticker in enumerate(list_tickers(frames))]
    note = (
        "The 1-year return is the total return over 252 sessions, dividends included. Volatility is measured over 63 sessions and "
        "annualized. Drawdown is the decline of the total return index from its highest value so far. A missing P/E has its reason."
    )
    return Section("overview", "Overview", note, tables=(Table("Tickers on their last session", headers, rows),))


def _ticker_row(frames: Frames, ticker: str, tone: int) -> list[str]:
    prices = select_ticker(frames.prices, ticker)
    last = prices.iloc[-1]
    year_ago = prices["adj_close"].iloc[-253] if len(prices) > 252 else np.nan  # noqa: PLR2004  252 returns need 253 prices
    last_return = select_ticker(frames.returns, ticker).tail(1)
    last_valuation = select_ticker(frames.valuation, ticker).tail(1)
    description = (
        f"{ticker}: adjusted close from {format_long_date(prices['trade_date'].iloc[0])} to {format_long_date(last['trade_date'])}"
    )
    sparkline = charts.draw_sparkline(build_points(prices, "trade_date", "adj_close"), description, tone)
    return [
        links.link_page("securities", str(last["security_id"]), ticker),
        format_date(last["trade_date"]),
        format_number(last["close"]),
        format_percent(last["adj_close"] / year_ago - 1),
        format_percent(_first_value(last_return, "vol_63d")),
        format_percent(_first_value(last_return, "drawdown")),
        format_valuation(last_valuation),
        Markup(sparkline),  # noqa: S704  our own drawing
    ]


def format_valuation(last_valuation: pd.DataFrame) -> str:
    """Format the last P/E, or the reason why there is none."""
    reason = format_reason(last_valuation["pe_null_reason"].iloc[0]) if len(last_valuation) else ""
    if reason:
        return Markup('<span class="reason">{}</span>').format(reason)
    return format_number(_first_value(last_valuation, "pe_ratio"), 1)


def _first_value(frame: pd.DataFrame, column: str) -> float | None:
    return float(frame[column].iloc[0]) if len(frame) else None


def build_prices(frames: Frames) -> Section | None:
    """Chart the growth of 100 invested in each ticker."""
    if frames.prices.empty:
        return None
    lines, final_values = [], []
    for tone, ticker in enumerate(list_tickers(frames)):
        prices = select_ticker(frames.prices, ticker).dropna(subset=["adj_close"])
        indexed = prices.assign(value=prices["adj_close"] / prices["adj_close"].iloc[0] * 100)
        lines.append(Line(ticker, build_points(indexed, "trade_date", "value"), tone))
        final_values.append(f"{ticker} {format_count(indexed['value'].iloc[-1])}")
    if len(lines) > 1 and (benchmark := build_benchmark(frames.prices)):
        lines.append(benchmark)
    first, last = format_long_date(frames.prices["trade_date"].min()), format_long_date(frames.prices["trade_date"].max())
    caption = f"100 invested on {first} was worth on {last}: {', '.join(final_values)}."
    figure = build_figure(
        Chart("growth", "Growth of 100, dividends reinvested", caption, lines, format_number, unit="index, first session = 100"),
        f"Adjusted close of each ticker, relative to its first session. {BENCHMARK_NOTE} {caption}",
    )
    lead = "Prices are adjusted for all splits and dividends known as of the date of this data."
    return Section("prices", "Prices", lead, figures=(figure,))


BENCHMARK = "Equal weight"
BENCHMARK_NOTE = (
    "The dashed line is the benchmark: equal amounts in each of these tickers on the first session that all of them have, held since."
)


def build_benchmark(prices: pd.DataFrame) -> Line | None:
    """Build the growth of 100 invested in equal parts in all tickers; None if they have no session in common."""
    by_ticker = prices.pivot_table(index="trade_date", columns="ticker", values="adj_close").dropna()
    if by_ticker.empty:
        return None
    growth = (by_ticker / by_ticker.iloc[0]).mean(axis=1) * 100
    points = build_points(growth.rename("value").reset_index(), "trade_date", "value")
    return Line(BENCHMARK, points, charts.BENCHMARK_TONE, dashed=True)


def build_risk(frames: Frames) -> Section | None:
    """Chart drawdown and volatility."""
    if frames.returns.empty:
        return None
    lowest = float(frames.returns["drawdown"].min())
    tickers = list_tickers(frames)
    panels = [_drawdown_panel(select_ticker(frames.returns, ticker), ticker, tone, lowest) for tone, ticker in enumerate(tickers)]
    note = "Decline of the total return index from its highest value so far, all on one scale."
    drawdown_lines = [
        Line(ticker, build_points(select_ticker(frames.returns, ticker), "trade_date", "drawdown"), tone)
        for tone, ticker in enumerate(tickers)
    ]
    all_drawdowns = Chart("drawdown", "Drawdown", note, drawdown_lines, format_percent_tick, percent=True)
    drawdowns = Figure("Drawdown", note, Markup("".join(panels)), panels=True, chart=all_drawdowns)  # noqa: S704  our own drawings
    lines = [
        Line(ticker, build_points(select_ticker(frames.returns, ticker), "trade_date", "vol_63d"), tone)
        for tone, ticker in enumerate(tickers)
    ]
    caption = "Standard deviation of the daily log total returns of the last 63 sessions, annualized (times the square root of 252)."
    chart = Chart(
        "volatility", "Volatility over 63 sessions", caption, lines, format_percent_tick, unit="% per year", zero=True, percent=True
    )
    return Section("risk", "Risk", "", figures=(drawdowns, build_figure(chart, caption)))


def _drawdown_panel(returns: pd.DataFrame, ticker: str, tone: int, lowest: float) -> str:
    deepest = returns.sort_values("drawdown", kind="stable").iloc[0]
    caption = f"{ticker}: lowest at {format_percent(deepest['drawdown'])} on {format_long_date(deepest['trade_date'])}"
    line = Line("", build_points(returns, "trade_date", "drawdown"), tone)
    chart = Chart(
        f"drawdown-{tone}",
        f"Drawdown of {ticker}",
        caption,
        [line],
        format_percent_tick,
        filled=True,
        sizes=(charts.PANEL,),
        y_range=(lowest, 0.0),
    )
    return f"<div><h4>{Markup.escape(caption)}</h4>{chart.draw()}</div>"
