"""Freshness and completeness of the source data, its tests, and its known problems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from publish_marts import charts, links
from publish_marts.html_tables import (
    EMPTY,
    Table,
    build_headers,
    format_count,
    format_date,
    format_long_date,
    format_number,
    format_percent,
)
from publish_marts.sections.section import Figure, Section, iterate_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from publish_marts.frames import Frames

MAX_MONTHS, MAX_YEARS, MAX_ROWS = 60, 15, 50
NEAR_MONTHS = 1  # an empty month is shown if there are data at most so far away
_STATUS_TEXTS = {"no_session": "no trading session"}


def build_freshness(frames: Frames) -> Section | None:
    """List the last date of each source dataset, and whether it is late by its contract."""
    if frames.freshness.empty:
        return None
    numbers = ("Partitions", "Rows")
    headers = build_headers("Dataset", "Status", "Last date", "Late after", "Newest data received, UTC", *numbers, numbers=numbers)
    rows = [
        [
            links.link_page("datasets", row.dataset),
            format_verdict(row),
            format_date(row.last_day),
            EMPTY if pd.isna(row.latency_days) else f"{int(row.latency_days)} days",
            row.last_known,
            format_count(row.partitions),
            format_count(row.rows),
        ]
        for row in iterate_rows(frames.freshness)
    ]
    late = sum(days_late(row) > 0 for row in iterate_rows(frames.freshness))
    checked_on = format_long_date(frames.freshness["checked_on"].iloc[0])
    verdict = f"{late} of {len(rows)} datasets are late" if late else "No dataset is late"
    lead = (
        f"{verdict} on {checked_on}. A dataset is late when its last date, or its newest data if its rows have no date, is older than its "
        "contract allows."
    )
    return Section("freshness", "Freshness", lead, tables=(Table("Source datasets", headers, rows),))


def days_late(row: Any) -> int:  # noqa: ANN401  a named tuple of pandas
    """Return by how many days a dataset is late: 0 if it is not, or if its contract states no latency."""
    if pd.isna(row.latency_days):
        return 0
    newest = pd.Timestamp(row.last_known).normalize() if pd.isna(row.last_day) else row.last_day
    age_days = int((row.checked_on - newest).days)
    return max(age_days - int(row.latency_days), 0)


def format_verdict(row: Any) -> Markup:  # noqa: ANN401  a named tuple of pandas
    """Format whether a dataset is fresh or late, in words and with a colour, and the day from which a fresh one is late."""
    if pd.isna(row.latency_days):
        return Markup('<span class="status">no limit stated</span>')
    if late := days_late(row):
        return Markup('<span class="status bad">late by {} {}</span>').format(format_count(late), "day" if late == 1 else "days")
    newest = pd.Timestamp(row.last_known).normalize() if pd.isna(row.last_day) else row.last_day
    late_after = format_date(newest + pd.Timedelta(days=int(row.latency_days)))
    return Markup('<span class="status good" data-late-after="{}">fresh</span>').format(late_after)


def build_coverage(coverage: pd.DataFrame) -> Section | None:
    """Show on how many days of each month each dataset has data, in the newest months. Years in which none has any are left out."""
    if coverage.empty:
        return None
    near = {month + shift for month in set(coverage["month"].dt.to_period("M")) for shift in range(-NEAR_MONTHS, NEAR_MONTHS + 1)}
    span_months = pd.period_range(coverage["month"].min(), coverage["month"].max(), freq="M")
    months = [month for month in span_months if month in near][-MAX_MONTHS:]
    ratios = [(name, [_month_ratio(dataset, month) for month in months]) for name, dataset in _group_by_dataset(coverage)]
    span = f"{months[0]} to {months[-1]}"
    caption = f"Datasets: {len(ratios)}; months: {len(months)}, {span}. The table below has the figures by year."
    title = "Days with data by month"
    svg = charts.draw_heat_map("coverage-map", title, caption, ratios, [str(month) for month in months])
    note = (
        f"{span}. The darker the cell, the more of the month's trading sessions have data. An empty outline means no data. Long spans "
        "in which no dataset has data are left out. "
        "Company facts count on the date of their filing."
    )
    years = sorted(set(coverage["month"].dt.year))[-MAX_YEARS:]
    names = [str(year) for year in years]
    rows = [[name, *(_format_days(dataset, year) for year in years)] for name, dataset in _group_by_dataset(coverage)]
    figure = Figure(title, note, Markup(svg))  # noqa: S704  our own drawing
    table = Table("Days with data by year", build_headers("Dataset", *names, numbers=names), rows)
    return Section("coverage", "Coverage", "", figures=(figure,), tables=(table,))


def build_problems(frames: Frames) -> Section | None:
    """Count and list known problems: quarantined rows, incomplete days, closes that differ, values that vendors restated."""
    if frames.coverage.empty:
        return None
    problems = {
        "quarantined rows": frames.quarantine,
        "incomplete days": frames.incomplete_days,
        "closing prices on which two vendors differ": frames.close_differences,
        "values restated by a vendor": frames.vendor_restatements,
    }
    lead = "; ".join(f"{name}: {format_count(len(frame)) if len(frame) else 'none'}" for name, frame in problems.items())
    tables = (
        _quarantine_table(frames.quarantine),
        _incomplete_days_table(frames.incomplete_days),
        _close_differences_table(frames.close_differences),
        _vendor_restatements_table(frames.vendor_restatements),
    )
    return Section("problems", "Known problems", f"{lead[0].upper()}{lead[1:]}.", tables=tuple(table for table in tables if table.rows))


def build_quarantine(frames: Frames, dataset: str) -> Section | None:
    """List the quarantined rows of one dataset with their reasons."""
    rows = frames.quarantine[frames.quarantine["dataset"] == dataset]
    lead = "Rows that broke the contract. They are in no other mart." if len(rows) else "No row is in quarantine."
    return Section("quarantine", "Quarantine", lead, tables=(_quarantine_table(rows),) if len(rows) else ())


def _quarantine_table(frame: pd.DataFrame) -> Table:
    headers = build_headers("Dataset", "Partition", "Row", "Reason", numbers=("Row",), prose=("Reason",))
    rows = [
        [links.link_page("datasets", row.dataset), row.lake_partition, format_count(row.row_number), row.reasons]
        for row in iterate_rows(frame.head(MAX_ROWS))
    ]
    return Table(_caption("Quarantined rows", frame), headers, rows)


def _incomplete_days_table(frame: pd.DataFrame) -> Table:
    """List the newest days first."""
    numbers = ("Rows", "Usual rows")
    newest = frame.sort_values(["coverage_date", "dataset"], ascending=[False, True])
    rows = [
        [
            row.dataset,
            format_date(row.coverage_date),
            _STATUS_TEXTS.get(row.status, row.status.replace("_", " ")),
            format_count(row.row_count),
            format_count(row.usual_count),
        ]
        for row in iterate_rows(newest.head(MAX_ROWS))
    ]
    return Table(_caption("Incomplete days", frame), build_headers("Dataset", "Date", "Problem", *numbers, numbers=numbers), rows)


def _close_differences_table(frame: pd.DataFrame) -> Table:
    """List the largest differences first."""
    numbers = ("Tiingo", "Massive", "Difference")
    largest = frame.assign(size=frame["difference"].abs()).sort_values(
        ["size", "trade_date", "ticker_tiingo"], ascending=[False, True, True]
    )
    rows = [
        [
            row.ticker_tiingo,
            format_date(row.trade_date),
            format_number(row.close_tiingo),
            format_number(row.close_massive),
            format_percent(row.difference, 2),
        ]
        for row in iterate_rows(largest.head(MAX_ROWS))
    ]
    caption = _caption("Closing prices on which two vendors differ", frame)
    return Table(caption, build_headers("Ticker", "Session", *numbers, numbers=numbers), rows)


def _vendor_restatements_table(frame: pd.DataFrame) -> Table:
    """List the newest restatements first."""
    numbers = ("Before", "After")
    newest = frame.sort_values(["known_date", "dataset", "subject", "item"], ascending=[False, True, True, True])
    rows = [
        [
            row.dataset,
            row.subject,
            row.item,
            format_number(row.value_before, 4),
            format_number(row.value_after, 4),
            format_date(row.known_date),
            row.origin,
        ]
        for row in iterate_rows(newest.head(MAX_ROWS))
    ]
    headers = build_headers("Dataset", "Row", "Field", *numbers, "Known since", "Origin", numbers=numbers)
    return Table(_caption("Values restated by a vendor", frame), headers, rows)


def _caption(text: str, frame: pd.DataFrame) -> str:
    return f"{text}, {MAX_ROWS} of {format_count(len(frame))}" if len(frame) > MAX_ROWS else text


def _group_by_dataset(coverage: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for name, dataset in coverage.groupby("dataset"):
        yield str(name), dataset


def _month_ratio(coverage: pd.DataFrame, month: pd.Period) -> float | None:
    """Return the days with data per session of the month, or per weekday for a dataset without a calendar; None without data."""
    days = coverage[coverage["month"] == month.to_timestamp()]
    if days.empty:
        return None
    weekdays = int(np.busday_count(month.start_time.date(), (month + 1).start_time.date()))
    return float(days["days"].iloc[0]) / float(days["sessions"].fillna(weekdays).iloc[0])


def _format_days(coverage: pd.DataFrame, year: int) -> str:
    days = int(coverage.loc[coverage["month"].dt.year == year, "days"].sum())
    return format_count(days) if days else EMPTY
