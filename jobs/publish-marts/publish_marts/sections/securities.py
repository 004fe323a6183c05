"""The list of securities, and the sections of a security's own page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from publish_marts import links
from publish_marts.charts import Chart, Line
from publish_marts.html_tables import EMPTY, Table, build_headers, format_date, format_number, format_percent
from publish_marts.sections.prices import BENCHMARK_NOTE, build_benchmark, format_valuation
from publish_marts.sections.restatements import build_company_restatements
from publish_marts.sections.section import (
    Section,
    build_figure,
    build_points,
    format_percent_tick,
    format_reason,
    iterate_rows,
)

if TYPE_CHECKING:
    import pandas as pd

    from publish_marts.frames import Frames
    from publish_marts.sections.section import Figure

NEWEST_SESSIONS = 30
OPEN_END_YEAR = 9999


def list_securities(frames: Frames) -> list[str]:
    """List the securities that have a page: those with prices, by ticker."""
    newest = frames.prices.sort_values(["trade_date", "ticker"]).drop_duplicates("security_id", keep="last")
    return list(newest.sort_values(["ticker", "security_id"])["security_id"])


def find_ticker(frames: Frames, security_id: str) -> str:
    """Return the newest ticker of a security."""
    return str(frames.prices.loc[frames.prices["security_id"] == security_id, "ticker"].iloc[-1])


def build_securities(frames: Frames) -> list[Section]:
    """List the securities that have a page."""
    numbers = ("Close", "Volatility", "Drawdown", "P/E")
    headers = build_headers("Ticker", "Name", "Kind", "Last session", *numbers, numbers=numbers)
    rows = [_security_row(frames.select_security(security_id), security_id) for security_id in list_securities(frames)]
    lead = "The securities with the largest turnover of the last year. The files have all securities."
    return [Section("securities", "Securities", lead, tables=(Table("Securities", headers, rows),))] if rows else []


def _security_row(security: Frames, security_id: str) -> list[str]:
    last = security.prices.iloc[-1]
    return [
        links.link_page("securities", security_id, str(last["ticker"])),
        _last_text(security.securities, "name"),
        _last_text(security.securities, "security_type"),
        format_date(last["trade_date"]),
        format_number(last["close"]),
        format_percent(_last_value(security.returns, "vol_63d")),
        format_percent(_last_value(security.returns, "drawdown")),
        format_valuation(security.valuation.tail(1)),
    ]


def describe_security(frames: Frames, security_id: str) -> str:
    """Describe a security in one sentence: name, kind, identifiers and tickers."""
    security = frames.select_security(security_id)
    cik = _last_value(security.securities, "cik")
    parts = [_last_text(security.securities, "name"), _last_text(security.securities, "security_type")]
    parts += [f"security {security_id}", *([f"CIK {int(cik)}"] if cik else [])]
    parts += [_format_ticker(row.ticker, row.valid_from, row.valid_to) for row in iterate_rows(security.securities)]
    return ", ".join(part for part in parts if part != EMPTY) + "."


def _format_ticker(ticker: str, valid_from: pd.Timestamp, valid_to: pd.Timestamp) -> str:
    is_current = valid_to != valid_to  # noqa: PLR0124  NaT
    return f"{ticker} since {format_date(valid_from)}" if is_current else f"{ticker} until {format_date(valid_to)}"


def build_security(frames: Frames, security_id: str) -> list[Section]:
    """Build the page of a security: charts, newest sessions, events, restated figures."""
    security = frames.select_security(security_id)
    all_sections = [
        _chart_section(frames, security),
        _sessions_section(security),
        _events_section(security.actions),
        _restatements_section(frames, security),
    ]
    return [section for section in all_sections if section]


def _chart_section(frames: Frames, security: Frames) -> Section:
    ticker = str(security.prices["ticker"].iloc[-1])
    figures = [_growth_figure(frames, security, ticker)]
    if len(returns := security.returns.dropna(subset=["drawdown"])):
        drawdown = Line("", build_points(returns, "trade_date", "drawdown"), 0)
        note = "Decline of the total return index from its highest value so far."
        chart = Chart("drawdown", f"Drawdown of {ticker}", note, [drawdown], format_percent_tick, unit="%", filled=True, percent=True)
        figures.append(build_figure(chart, note))
    if len(security.valuation.dropna(subset=["pe_ratio"])):
        line = Line("", build_points(security.valuation, "trade_date", "pe_ratio"), 0)
        note = "Close divided by the earnings per share of the last twelve months that were public at that session."
        chart = Chart(
            "pe", f"Price-earnings ratio of {ticker}", note, [line], format_number, unit="close / 12-month diluted EPS", zero=True
        )
        figures.append(build_figure(chart, note))
    return Section("charts", "Charts", "", figures=tuple(figures))


def _growth_figure(frames: Frames, security: Frames, ticker: str) -> Figure:
    prices = security.prices.dropna(subset=["adj_close"])
    lines = []
    if len(prices):
        indexed = prices.assign(value=prices["adj_close"] / prices["adj_close"].iloc[0] * 100)
        lines.append(Line(ticker, build_points(indexed, "trade_date", "value"), 0))
    benchmark = build_benchmark(frames.select_tickers(frames.charted).prices)
    lines += [benchmark] if benchmark else []
    note = f"Adjusted close, dividends reinvested. {BENCHMARK_NOTE.replace('these tickers', ', '.join(frames.charted))}"
    return build_figure(Chart("growth", f"Growth of 100 in {ticker}", note, lines, format_number, unit="index, first session = 100"), note)


def _sessions_section(security: Frames) -> Section:
    numbers = ("Close", "Adjusted close", "Drawdown", "P/E")
    headers = build_headers("Session", *numbers, "Why no P/E", numbers=numbers)
    newest = security.prices.tail(NEWEST_SESSIONS).iloc[::-1]
    drawdowns = dict(zip(security.returns["trade_date"], security.returns["drawdown"], strict=True))
    ratios = dict(zip(security.valuation["trade_date"], security.valuation["pe_ratio"], strict=True))
    reasons = dict(zip(security.valuation["trade_date"], security.valuation["pe_null_reason"], strict=True))
    rows = [
        [
            format_date(row.trade_date),
            format_number(row.close),
            format_number(row.adj_close),
            format_percent(drawdowns.get(row.trade_date)),
            format_number(ratios.get(row.trade_date), 1),
            format_reason(reasons.get(row.trade_date)) or EMPTY,
        ]
        for row in iterate_rows(newest)
    ]
    return Section("sessions", "Newest sessions", "", tables=(Table(f"Newest {len(rows)} sessions", headers, rows),))


def _events_section(actions: pd.DataFrame) -> Section | None:
    if actions.empty:
        return None
    headers = build_headers("Ex-date", "Event", "Amount", numbers=("Amount",))
    rows = [[format_date(row.ex_date), row.kind, _format_event(row)] for row in iterate_rows(actions.iloc[::-1])]
    return Section("events", "Dividends and splits", "", tables=(Table("Dividends and splits", headers, rows),))


def _format_event(row: object) -> str:
    cash, to, from_ = (getattr(row, name) for name in ("cash_amount", "split_to", "split_from"))
    return f"{format_number(cash, 4)} {getattr(row, 'currency')}" if cash == cash else f"{to:.0f} for {from_:.0f}"  # noqa: B009, PLR0124


def _restatements_section(frames: Frames, security: Frames) -> Section | None:
    cik = _last_value(security.securities, "cik")
    return build_company_restatements(frames, int(cik)) if cik else None


def _last_value(frame: pd.DataFrame, column: str) -> float | None:
    """Return the newest value of a column; None if it is null or there is no row."""
    value = float(frame[column].iloc[-1]) if len(frame) else None
    return None if value is None or value != value else value  # noqa: PLR0124  NaN


def _last_text(frame: pd.DataFrame, column: str) -> str:
    return str(frame[column].iloc[-1]) if len(frame) and frame[column].iloc[-1] is not None else EMPTY
