"""Euro reference rates of the ECB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from publish_marts.charts import Chart, Line
from publish_marts.html_tables import EMPTY, Table, build_headers, format_date, format_long_date, format_number
from publish_marts.sections.section import Figure, Section, build_figure, build_points, find_dates_back

if TYPE_CHECKING:
    from publish_marts.frames import Frames


def build_exchange_rates(frames: Frames) -> Section | None:
    """Chart the US dollar against the euro, and list the last rate of each currency."""
    if frames.fx.empty:
        return None
    dollar = frames.fx[frames.fx["quote_currency"] == "USD"]
    figures = (_dollar_figure(dollar),) if len(dollar) else ()
    numbers = ("Units per euro", "One year earlier")
    headers = build_headers("Currency", "Date", *numbers, numbers=numbers)
    rows = [_currency_row(frames.fx[frames.fx["quote_currency"] == name], name) for name in dict.fromkeys(frames.fx["quote_currency"])]
    return Section("fx", "Exchange rates", "", figures=figures, tables=(Table("Last reference rates", headers, rows),))


def _dollar_figure(rates: pd.DataFrame) -> Figure:
    last = rates.iloc[-1]
    caption = f"1 euro was {format_number(last['rate'], 4)} US dollars on {format_long_date(last['rate_date'])}."
    line = Line("EURUSD", build_points(rates, "rate_date", "rate"), 0)
    chart = Chart("eurusd", "US dollars per euro", caption, [line], format_number, unit="USD per EUR")
    return build_figure(chart, f"Euro reference rate of the ECB, published on each TARGET business day. {caption}")


def _currency_row(rates: pd.DataFrame, currency: str) -> list[str]:
    dates = find_dates_back(pd.DatetimeIndex(rates["rate_date"]), (0, 1))
    rate_by_date = rates.set_index("rate_date")["rate"]
    year_earlier = format_number(float(rate_by_date[dates[1]]), 4) if len(dates) > 1 else EMPTY
    return [currency, format_date(dates[0]), format_number(float(rate_by_date[dates[0]]), 4), year_earlier]
