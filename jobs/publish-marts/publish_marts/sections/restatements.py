"""Figures that companies restated after they had filed them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from markupsafe import Markup

from publish_marts import charts, links
from publish_marts.charts import Chart, Line
from publish_marts.html_tables import Table, build_headers, format_date, format_long_date, format_number, format_percent
from publish_marts.sections.section import Figure, Section, build_figure, iterate_rows

if TYPE_CHECKING:
    from publish_marts.frames import Frames

MAX_ROWS = 14
MIN_FISCAL_YEAR_DAYS = 350  # a fiscal year has at least 52 weeks
DAYS_PER_MONTH = 30.4
_FACT_KEY = ["cik", "concept", "period_start", "period_end", "unit"]
_UNITS = "Amounts and numbers of shares are in millions; earnings per share are in USD."
_CONCEPT_NAMES = {"eps_basic": "Basic EPS", "eps_diluted": "Diluted EPS"}


def build_restatements(frames: Frames) -> Section | None:
    """List restated figures with their first and current value, and chart the restated yearly revenue of one company."""
    facts = frames.fundamentals
    if facts.empty:
        return None
    restated = _find_restated(facts)
    if restated.empty:
        return None
    table = _restated_table(restated, frames)
    figure = _revenue_figure(facts, restated)
    lead = Markup(
        "When a company restates a figure, the old value is kept next to the new one, each with the date from which it was known. {}"
    ).format(_UNITS)
    if "fct_restatement" in frames.samples:
        lead += Markup(" {} lists every change.").format(links.link_page("marts", "fct_restatement"))
    return Section("restatements", "Restatements", lead, figures=(figure,) if figure else (), tables=(table,))


def build_company_restatements(frames: Frames, cik: int) -> Section | None:
    """List the restated figures of one company."""
    facts = frames.fundamentals[frames.fundamentals["cik"] == cik]
    restated = _find_restated(facts) if len(facts) else facts
    if restated.empty:
        return None
    lead = f"Figures of the issuer that a later filing changed. {_UNITS}"
    return Section("restatements", "Restatements", lead, tables=(_restated_table(restated, frames, max_rows=len(restated)),))


def _restated_table(restated: pd.DataFrame, frames: Frames, max_rows: int = MAX_ROWS) -> Table:
    newest = frames.securities.dropna(subset=["cik"]).sort_values(["valid_from", "ticker"])
    tickers = {row.cik: links.link_page("securities", row.security_id, row.ticker) for row in iterate_rows(newest)}
    headers = build_headers(
        "Company",
        "Figure",
        "Period",
        "First value",
        "Current value",
        "Change",
        "First filed",
        "Known since",
        "Filing",
        numbers=("First value", "Current value", "Change"),
    )
    rows = [_restatement_row(row, tickers) for row in iterate_rows(restated.head(max_rows))]
    total = f" of {len(restated)}" if len(restated) > len(rows) else ""
    return Table(f"Restated figures, {len(rows)}{total}", headers, rows)


def _find_restated(facts: pd.DataFrame) -> pd.DataFrame:
    """Return one row per restated fact with its first and current value and their dates. Fiscal years come first, then newer periods."""
    versions = facts.sort_values("known_from").groupby(_FACT_KEY, dropna=False, sort=False)
    totals = versions.agg(
        first_value=("value", "first"),
        first_known=("known_from", "first"),
        current_value=("value", "last"),
        known_since=("known_from", "last"),
        accession=("accession", "last"),
        versions=("value", "size"),
    )
    restated = totals[totals["versions"] > 1].reset_index()
    restated["days"] = (restated["period_end"] - restated["period_start"]).dt.days.fillna(0)
    restated["change"] = restated["current_value"] / restated["first_value"] - 1
    return restated.sort_values(["days", "period_end", "concept"], ascending=[False, False, True], key=_rank_fiscal_years_first)


def _rank_fiscal_years_first(column: pd.Series[Any]) -> pd.Series[Any]:
    return (column >= MIN_FISCAL_YEAR_DAYS).astype(int) if column.name == "days" else column


def _restatement_row(row: Any, tickers: dict[float, Markup]) -> list[str]:  # noqa: ANN401  a named tuple of pandas
    length = "Year to " if row.days >= MIN_FISCAL_YEAR_DAYS else f"{round(row.days / DAYS_PER_MONTH)} months to " if row.days else ""
    return [
        tickers.get(row.cik, f"CIK {row.cik}"),
        _CONCEPT_NAMES.get(row.concept, row.concept.replace("_", " ").capitalize()),
        f"{length}{format_date(row.period_end)}",
        *_format_amounts(row.first_value, row.current_value, row.unit),
        _format_change(row.change),
        format_date(row.first_known),
        format_date(row.known_since),
        links.link_filing(int(row.cik), row.accession),
    ]


def _format_amounts(first: float, current: float, unit: str) -> tuple[str, str]:
    """Format two amounts with as many decimals as it takes to see that they differ."""
    scale, least = (1, 2) if "/" in unit else (1e6, 0)
    for decimals in range(least, 7):
        texts = format_number(first / scale, decimals), format_number(current / scale, decimals)
        if texts[0] != texts[1]:
            break
    return texts


def _format_change(change: float) -> str:
    """Format a change in percent. A small one must not look like none."""
    return format_percent(change, next((decimals for decimals in range(1, 5) if round(abs(change) * 100, decimals)), 4))


def _revenue_figure(facts: pd.DataFrame, restated: pd.DataFrame) -> Figure | None:
    """Chart the yearly revenue of the company with the most restated years, over the dates on which each value was known."""
    yearly = restated[(restated["concept"] == "revenue") & (restated["days"] >= MIN_FISCAL_YEAR_DAYS)].sort_values("period_end")
    if yearly.empty:
        return None
    company = yearly[yearly["cik"] == yearly["cik"].value_counts().index[0]].tail(charts.TONE_COUNT)
    until = min(facts["known_from"].max(), company["known_since"].max() + pd.DateOffset(years=1))
    lines = [_revenue_line(facts, row, until, tone) for tone, row in enumerate(iterate_rows(company))]
    last = company.iloc[-1]
    caption = (
        f"Revenue of the year to {format_long_date(last['period_end'])} was {format_number(last['first_value'] / 1e9)} billion USD when "
        f"first filed, and has been {format_number(last['current_value'] / 1e9)} billion USD since {format_long_date(last['known_since'])}."
    )
    chart = Chart(
        "known-when",
        "Restated yearly revenue by the date on which it was known",
        caption,
        lines,
        format_number,
        unit="USD billion",
        zero=True,
        format_point=_format_one_decimal,
    )
    return build_figure(chart, f"Each line is one fiscal year and starts at its first filing. {caption}")


def _revenue_line(facts: pd.DataFrame, row: Any, until: pd.Timestamp, tone: int) -> Line:  # noqa: ANN401  a named tuple of pandas
    period = (facts["cik"] == row.cik) & (facts["concept"] == row.concept) & (facts["unit"] == row.unit)
    versions = facts[period & (facts["period_start"] == row.period_start) & (facts["period_end"] == row.period_end)]
    points = [(float(version.known_from.toordinal()), version.value / 1e9) for version in iterate_rows(versions.sort_values("known_from"))]
    return Line(f"to {row.period_end:%b %Y}", [*points, (float(until.toordinal()), points[-1][1])], tone, stepped=True)


def _format_one_decimal(value: float) -> str:
    return format_number(value, 1)
