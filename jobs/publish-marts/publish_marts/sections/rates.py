"""US Treasury par yields: the curve and its slope."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from publish_marts.charts import Chart, Line, Tick
from publish_marts.html_tables import format_count, format_long_date, format_number
from publish_marts.sections.section import Figure, Section, build_figure, build_points, find_dates_back, to_float

if TYPE_CHECKING:
    from publish_marts.frames import Frames

MONTHS_PER_YEAR = 12
_SPREADS = (("spread_3m10y_bp", "3m10y"), ("spread_2s10s_bp", "2s10s"), ("spread_5s30s_bp", "5s30s"))


def build_rates(frames: Frames) -> Section | None:
    """Chart the par yield curve on a few dates, and its slope over time."""
    if frames.yields.empty:
        return None
    figures = [_curve_figure(frames.yields)]
    if len(frames.spreads):
        figures.append(_spread_figure(frames.spreads))
    lead = "US Treasury par yields as published. Missing values are not filled in."
    return Section("rates", "Rates", lead, figures=tuple(figures))


def _spread_figure(spreads: pd.DataFrame) -> Figure:
    lines = [Line(name, build_points(spreads, "curve_date", column), tone) for tone, (column, name) in enumerate(_SPREADS)]
    last = spreads.iloc[-1]
    values = ", ".join(f"{name} {format_count(last[column])}" for column, name in _SPREADS)
    caption = f"On {format_long_date(last['curve_date'])}: {values} basis points."
    chart = Chart("spreads", "Slope of the curve", caption, lines, format_number, unit="basis points", zero=True)
    return build_figure(chart, f"Difference between two par yields on the same date; 2s10s is 10 years minus 2 years. {caption}")


def _curve_figure(yields: pd.DataFrame) -> Figure:
    by_tenor = yields.pivot(index="curve_date", columns="tenor", values="yield_pct")  # noqa: PD010  keys are unique
    tenors = sorted(by_tenor.columns.astype(str), key=_tenor_years)
    by_tenor = by_tenor[tenors]
    dates = find_dates_back(pd.DatetimeIndex(by_tenor.index), (0, 1, 3))
    lines = [
        Line(format_long_date(date), [(_tenor_position(tenor), to_float(by_tenor.loc[date, tenor])) for tenor in tenors], tone)
        for tone, date in enumerate(dates)
    ]
    ticks = [Tick(_tenor_position(tenor), tenor) for tenor in tenors]
    caption = "; ".join(
        f"{format_long_date(date)}: 2Y {format_number(_yield_at(by_tenor, date, '2Y'))}, "
        f"10Y {format_number(_yield_at(by_tenor, date, '10Y'))} percent"
        for date in dates
    )
    chart = Chart("curve", "Par yield curve", caption, lines, format_number, unit="percent per year", x_ticks=ticks, dots=True, zero=True)
    note = f"On the last date, one year earlier and three years earlier. Maturities are on a square-root scale. {caption}."
    return build_figure(chart, note)


def _yield_at(by_tenor: pd.DataFrame, date: pd.Timestamp, tenor: str) -> float | None:
    return to_float(by_tenor.loc[date, tenor]) if tenor in by_tenor.columns else None


def _tenor_position(tenor: str) -> float:
    return math.sqrt(_tenor_years(tenor))


def _tenor_years(tenor: str) -> float:
    """Convert a tenor such as 3M or 10Y to years."""
    return float(tenor[:-1]) / (MONTHS_PER_YEAR if tenor.endswith("M") else 1)
