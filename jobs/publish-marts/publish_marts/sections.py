"""The sections of the landing page: each a pure function from frames to words, charts and tables, or None without rows to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from publish_marts import charts
from publish_marts.charts import Chart, Line, Tick
from publish_marts.html_tables import NOTHING, Table, count, day, headers, number, percent, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from publish_marts.frames import Frames

MOST_MONTHS, MOST_YEARS, MOST_RESTATEMENTS, MOST_FLAWS = 60, 8, 14, 14
YEAR_DAYS = 350  # a fiscal year has at least 52 weeks
MONTH_DAYS = 30.4
_DECEMBER = 12
_CONCEPTS = {"eps_basic": "Basic EPS", "eps_diluted": "Diluted EPS"}


@dataclass(frozen=True)
class Figure:
    """A chart, or several that are read together, with its caption."""

    title: str
    note: str
    svg: Markup
    panels: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page; `name` is its anchor."""

    name: str
    title: str
    lead: str
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()


def of_frames(frames: Frames) -> list[Section]:
    """The sections there is something to show in."""
    made = [
        glance(frames),
        prices(frames),
        risk(frames),
        rates(frames),
        fx(frames),
        valuation(frames),
        restatements(frames),
        freshness(frames),
        coverage(frames),
        quality(frames),
    ]
    return [section for section in made if section]


def glance(frames: Frames) -> Section | None:
    """Where each ticker stands on its last session."""
    if frames.prices.empty:
        return None
    numbers = ("Close, USD", "1 year", "Volatility", "From high", "P/E")
    heads = headers("Ticker", "Last session", *numbers, "Since start", numbers=numbers)
    rows = [_standing(frames, ticker, tone) for tone, ticker in enumerate(_tickers(frames))]
    note = (
        "1 year is the total return over the last 252 sessions, volatility that of 63 sessions a year, "
        "from high the distance of the total return index from its highest value."
    )
    return Section("glance", "At a glance", note, tables=(Table("Tickers on their last session", heads, rows),))


def _standing(frames: Frames, ticker: str, tone: int) -> list[str]:
    mine = _of(frames.prices, ticker)
    last = mine.iloc[-1]
    before = mine["adj_close"].iloc[-253] if len(mine) > 252 else np.nan  # noqa: PLR2004  252 returns need 253 prices
    risk_ = _of(frames.returns, ticker).tail(1)
    ratio = _of(frames.valuation, ticker).tail(1)
    described = f"{ticker}: adjusted close from {words(mine['trade_date'].iloc[0])} to {words(last['trade_date'])}"
    return [
        ticker,
        day(last["trade_date"]),
        number(last["close"]),
        percent(last["adj_close"] / before - 1),
        percent(_only(risk_, "vol_63d")),
        percent(_only(risk_, "drawdown")),
        number(_only(ratio, "pe_ratio"), 1),
        Markup(charts.sparkline(_points(mine, "trade_date", "adj_close"), described, tone)),  # noqa: S704  our own drawing
    ]


def prices(frames: Frames) -> Section | None:
    """What 100 became."""
    if frames.prices.empty:
        return None
    lines, ends = [], []
    for tone, ticker in enumerate(_tickers(frames)):
        mine = _of(frames.prices, ticker).dropna(subset=["adj_close"])
        grown = mine.assign(grown=mine["adj_close"] / mine["adj_close"].iloc[0] * 100)
        lines.append(Line(ticker, _points(grown, "trade_date", "grown"), tone))
        ends.append(f"{ticker} {count(grown['grown'].iloc[-1])}")
    first, last = words(frames.prices["trade_date"].min()), words(frames.prices["trade_date"].max())
    told = f"Value on {last} of 100 put in on {first}: {', '.join(ends)}."
    figure = _figure(
        Chart("growth", "Growth of 100, dividends reinvested", told, lines, number, unit="index, first session = 100"),
        f"Adjusted close of each ticker over that of its first session. {told}",
    )
    return Section("prices", "Prices", "Splits undone and dividends reinvested, as known today.", figures=(figure,))


def risk(frames: Frames) -> Section | None:
    """Drawdown and volatility."""
    if frames.returns.empty:
        return None
    lowest = float(frames.returns["drawdown"].min())
    tickers = _tickers(frames)
    panels = [_drawdown(_of(frames.returns, ticker), ticker, tone, lowest) for tone, ticker in enumerate(tickers)]
    note = "Total return index over its highest value so far. All panels have the same scale."
    drawdowns = Figure("Drawdown", note, Markup("".join(panels)), panels=True)  # noqa: S704  our own drawings
    lines = [Line(ticker, _points(_of(frames.returns, ticker), "trade_date", "vol_63d"), tone) for tone, ticker in enumerate(tickers)]
    told = "Standard deviation of 63 daily log total returns, times the square root of 252."
    vol = Chart("volatility", "Volatility over 63 sessions", told, lines, _percent_tick, unit="a year", zero=True)
    return Section("risk", "Risk", "", figures=(drawdowns, _figure(vol, told)))


def _drawdown(mine: pd.DataFrame, ticker: str, tone: int, lowest: float) -> str:
    deepest = mine.sort_values("drawdown", kind="stable").iloc[0]
    told = f"{ticker}: deepest {percent(deepest['drawdown'])} on {words(deepest['trade_date'])}"
    line = Line("", _points(mine, "trade_date", "drawdown"), tone)
    chart = Chart(
        f"drawdown-{tone}",
        f"Drawdown of {ticker}",
        told,
        [line],
        _percent_tick,
        filled=True,
        sizes=(charts.PANEL,),
        y_range=(lowest, 0.0),
    )
    return f"<div><h4>{Markup.escape(told)}</h4>{chart.svg()}</div>"


def rates(frames: Frames) -> Section | None:
    """The par yield curve on a few days, and its slope through time."""
    if frames.yields.empty:
        return None
    figures = [_curve(frames.yields)]
    legs = (("spread_3m10y_bp", "3m10y"), ("spread_2s10s_bp", "2s10s"), ("spread_5s30s_bp", "5s30s"))
    if len(frames.spreads):
        lines = [Line(name, _points(frames.spreads, "curve_date", column), tone) for tone, (column, name) in enumerate(legs)]
        last = frames.spreads.iloc[-1]
        told = f"On {words(last['curve_date'])}: " + ", ".join(f"{name} {count(last[column])}" for column, name in legs) + " basis points."
        chart = Chart("spreads", "Slope of the curve", told, lines, number, unit="basis points", zero=True)
        figures.append(_figure(chart, f"Difference of two par yields of the same day. {told}"))
    return Section("rates", "Rates", "US Treasury par yields as published; nothing is filled in.", figures=tuple(figures))


def _curve(yields: pd.DataFrame) -> Figure:
    wide = yields.pivot(index="curve_date", columns="tenor", values="yield_pct")  # noqa: PD010  keys are unique
    tenors = sorted(wide.columns.astype(str), key=_years)
    wide = wide[tenors]
    chosen = _days_back(pd.DatetimeIndex(wide.index), (0, 1, 3))
    lines = [
        Line(words(when), [(_years(str(tenor)) ** 0.5, _known(wide.loc[when, tenor])) for tenor in wide.columns], tone)
        for tone, when in enumerate(chosen)
    ]
    ticks = [Tick(_years(str(tenor)) ** 0.5, str(tenor)) for tenor in wide.columns]
    told = "; ".join(f"{words(when)}: 2Y {number(_at(wide, when, '2Y'))}, 10Y {number(_at(wide, when, '10Y'))} percent" for when in chosen)
    chart = Chart("curve", "Par yield curve", told, lines, number, unit="percent a year", x_ticks=ticks, dots=True, zero=True)
    return _figure(chart, f"The last day and the same day one and three years before; maturities on a square-root scale. {told}.")


def fx(frames: Frames) -> Section | None:
    """The dollar, and the last rates."""
    if frames.fx.empty:
        return None
    dollar = frames.fx[frames.fx["quote_currency"] == "USD"]
    figures: tuple[Figure, ...] = ()
    if len(dollar):
        last = dollar.iloc[-1]
        told = f"1 euro was {number(last['rate'], 4)} US dollars on {words(last['rate_date'])}."
        line = Line("EURUSD", _points(dollar, "rate_date", "rate"), 0)
        chart = Chart("eurusd", "US dollars per euro", told, [line], number, unit="USD per EUR")
        figures = (_figure(chart, f"ECB euro reference rate of each TARGET day. {told}"),)
    numbers = ("Units per euro", "A year before")
    heads = headers("Currency", "Day", *numbers, numbers=numbers)
    rows = [_rate(frames.fx[frames.fx["quote_currency"] == name], name) for name in dict.fromkeys(frames.fx["quote_currency"])]
    return Section("fx", "Exchange rates", "", figures=figures, tables=(Table("Last reference rates", heads, rows),))


def _rate(mine: pd.DataFrame, currency: str) -> list[str]:
    when = _days_back(pd.DatetimeIndex(mine["rate_date"]), (0, 1))
    rates_ = mine.set_index("rate_date")["rate"]
    before = number(float(rates_[when[1]]), 4) if len(when) > 1 else NOTHING
    return [currency, day(when[0]), number(float(rates_[when[0]]), 4), before]


def valuation(frames: Frames) -> Section | None:
    """Price over earnings that were known on the day."""
    known = frames.valuation.dropna(subset=["pe_ratio"])
    if known.empty:
        return None
    lines = [
        Line(ticker, _points(_of(frames.valuation, ticker), "trade_date", "pe_ratio"), tone)
        for tone, ticker in enumerate(_tickers(frames))
        if (known["ticker"] == ticker).any()
    ]
    last = known.groupby("ticker").tail(1)
    told = "Last: " + ", ".join(f"{row.ticker} {number(row.pe_ratio, 1)} on {words(row.trade_date)}" for row in _rows(last)) + "."
    chart = Chart("pe", "Price over trailing earnings", told, lines, number, unit="close / diluted EPS of twelve months", zero=True)
    note = f"Earnings from the filings that were public on each session, in that session's shares; a gap where they were not known. {told}"
    return Section("valuation", "Valuation", "Nothing here was known later than the day it stands on.", figures=(_figure(chart, note),))


def restatements(frames: Frames) -> Section | None:
    """Numbers that companies changed after they had filed them."""
    facts = frames.fundamentals
    if facts.empty:
        return None
    fact = ["cik", "concept", "period_start", "period_end", "unit"]
    versions = facts.sort_values("known_from").groupby(fact, dropna=False, sort=False)
    ends = versions.agg(
        first=("value", "first"),
        first_known=("known_from", "first"),
        now=("value", "last"),
        since=("known_from", "last"),
        times=("value", "size"),
    )
    changed = ends[ends["times"] > 1].reset_index()
    if changed.empty:
        return None
    changed["days"] = (changed["period_end"] - changed["period_start"]).dt.days.fillna(0)
    changed["by"] = changed["now"] / changed["first"] - 1
    changed = changed.sort_values(["days", "period_end", "concept"], ascending=[False, False, True], key=_whole_years_first)
    names = {row.cik: row.ticker for row in _rows(frames.securities.dropna(subset=["cik"]))}
    heads = headers(
        "Issuer", "What", "Period", "First filed", "Known from", "Now", "Known since", "Change", numbers=("First filed", "Now", "Change")
    )
    rows = [_restated(row, names) for row in _rows(changed.head(MOST_RESTATEMENTS))]
    more = f" of {len(changed)}" if len(changed) > len(rows) else ""
    table = Table(f"Restated facts, {len(rows)}{more}", heads, rows)
    figure = _known_when(facts, changed)
    lead = (
        "A number that a company restates is two facts: what was known before, and what is known since. Both are kept. "
        "Amounts are in millions, earnings per share in USD."
    )
    return Section("restatements", "What was known when", lead, figures=(figure,) if figure else (), tables=(table,))


def _whole_years_first(column: pd.Series[Any]) -> pd.Series[Any]:
    return (column >= YEAR_DAYS).astype(int) if column.name == "days" else column


def _restated(row: Any, names: dict[float, str]) -> list[str]:  # noqa: ANN401  a named tuple of pandas
    span = "Year to " if row.days >= YEAR_DAYS else f"{round(row.days / MONTH_DAYS)} months to " if row.days else ""
    return [
        names.get(row.cik, f"CIK {row.cik}"),
        _CONCEPTS.get(row.concept, row.concept.replace("_", " ").capitalize()),
        f"{span}{day(row.period_end)}",
        _amount(row.first, row.unit),
        day(row.first_known),
        _amount(row.now, row.unit),
        day(row.since),
        percent(row.by, 1 if abs(row.by) >= 0.001 else 2),  # noqa: PLR2004  a change too small to show must not look like none
    ]


def _amount(value: float, unit: str) -> str:
    return number(value, 2) if "/" in unit else count(value / 1e6)


def _known_when(facts: pd.DataFrame, changed: pd.DataFrame) -> Figure | None:
    """Restated yearly revenue of the issuer that restated it most, each year a line through the days on which it was known."""
    yearly = changed[(changed["concept"] == "revenue") & (changed["days"] >= YEAR_DAYS)].sort_values("period_end")
    if yearly.empty:
        return None
    mine = yearly[yearly["cik"] == yearly["cik"].value_counts().index[0]].tail(charts.TONES)
    until = min(facts["known_from"].max(), mine["since"].max() + pd.DateOffset(years=1))
    lines = [_staircase(facts, row, until, tone) for tone, row in enumerate(_rows(mine))]
    last = mine.iloc[-1]
    told = (
        f"Revenue of the year to {words(last['period_end'])} was {count(last['first'] / 1e6)} million when first filed, "
        f"and is {count(last['now'] / 1e6)} million since {words(last['since'])}."
    )
    chart = Chart(
        "known-when",
        "Restated yearly revenue, by the day on which it was known",
        told,
        lines,
        number,
        unit="USD billion",
        zero=True,
        values=_one_decimal,
    )
    return _figure(chart, f"Across is the day of knowing; each line is one fiscal year, from its first filing on. {told}")


def _staircase(facts: pd.DataFrame, row: Any, until: pd.Timestamp, tone: int) -> Line:  # noqa: ANN401  a named tuple of pandas
    period = (facts["cik"] == row.cik) & (facts["concept"] == row.concept) & (facts["unit"] == row.unit)
    versions = facts[period & (facts["period_start"] == row.period_start) & (facts["period_end"] == row.period_end)]
    points = [(float(one.known_from.toordinal()), one.value / 1e9) for one in _rows(versions.sort_values("known_from"))]
    return Line(f"to {row.period_end:%b %Y}", [*points, (float(until.toordinal()), points[-1][1])], tone, stepped=True)


def freshness(frames: Frames) -> Section | None:
    """How new each source dataset is."""
    if frames.freshness.empty:
        return None
    numbers = ("Partitions", "Rows")
    heads = headers("Dataset", "Last day with values", "Last known, UTC", *numbers, numbers=numbers)
    rows = [[row.dataset, day(row.last_day), row.last_known, count(row.partitions), count(row.rows)] for row in _rows(frames.freshness)]
    lead = "How far each source reaches, and when its newest commit became known here."
    return Section("freshness", "Freshness", lead, tables=(Table("Source datasets", heads, rows),))


def coverage(frames: Frames) -> Section | None:
    """On how many days of each month a source has values."""
    found = frames.coverage
    if found.empty:
        return None
    months = pd.period_range(found["month"].min(), found["month"].max(), freq="M")[-MOST_MONTHS:]
    shown = [(name, [_share(mine, month) for month in months]) for name, mine in _by_dataset(found)]
    span = f"{months[0]} to {months[-1]}"
    told = f"{len(shown)} datasets over {len(months)} months, {span}; the table below has the figures by year."
    svg = charts.heat_map("coverage-map", "Days with values by dataset and month", told, shown, [str(month) for month in months])
    note = f"{span}. The darker, the more sessions of the month have values; an outline where none has. Facts count when filed."
    years = sorted(set(found["month"].dt.year))[-MOST_YEARS:]
    names = [str(year) for year in years]
    rows = [[name, *(_days_of(mine, year) for year in years)] for name, mine in _by_dataset(found)]
    figure = Figure("Days with values by month", note, Markup(svg))  # noqa: S704  our own drawing
    table = Table("Days with values by year", headers("Dataset", *names, numbers=names), rows)
    return Section("coverage", "Coverage", "", figures=(figure,), tables=(table,))


def quality(frames: Frames) -> Section | None:
    """What is wrong with the data, as far as it shows: bad rows, days that are not whole, vendors that differ or correct themselves."""
    if frames.coverage.empty:
        return None
    told = {
        "rows in quarantine": frames.quarantine,
        "days not whole": frames.days,
        "closes on which two vendors differ": frames.differences,
        "numbers that vendors corrected": frames.corrections,
    }
    lead = "; ".join(f"{what}: {count(len(frame)) if len(frame) else 'none'}" for what, frame in told.items())
    made = (_bad_rows(frames.quarantine), _days_not_whole(frames.days), _differing(frames.differences), _corrected(frames.corrections))
    return Section("quality", "Quality", f"{lead[0].upper()}{lead[1:]}.", tables=tuple(table for table in made if table.rows))


def _bad_rows(found: pd.DataFrame) -> Table:
    heads = headers("Dataset", "Partition", "Row", "Why", numbers=("Row",), prose=("Why",))
    rows = [[row.dataset, row.lake_partition, count(row.row_number), row.reasons] for row in _rows(found.head(MOST_FLAWS))]
    return Table(_shown("Rows in quarantine", found), heads, rows)


def _days_not_whole(found: pd.DataFrame) -> Table:
    """The newest first."""
    numbers = ("Rows", "Usual")
    newest = found.sort_values(["coverage_date", "dataset"], ascending=[False, True])
    rows = [
        [row.dataset, day(row.coverage_date), row.status.replace("_", " "), count(row.row_count), count(row.usual_count)]
        for row in _rows(newest.head(MOST_FLAWS))
    ]
    return Table(_shown("Days that are not whole", found), headers("Dataset", "Day", "How", *numbers, numbers=numbers), rows)


def _differing(found: pd.DataFrame) -> Table:
    """The furthest apart first."""
    numbers = ("Tiingo", "Massive", "Apart")
    furthest = found.assign(apart=found["difference"].abs()).sort_values(
        ["apart", "trade_date", "ticker_tiingo"], ascending=[False, True, True]
    )
    rows = [
        [row.ticker_tiingo, day(row.trade_date), number(row.close_tiingo), number(row.close_massive), percent(row.difference, 2)]
        for row in _rows(furthest.head(MOST_FLAWS))
    ]
    return Table(_shown("Closes on which two vendors differ", found), headers("Ticker", "Session", *numbers, numbers=numbers), rows)


def _corrected(found: pd.DataFrame) -> Table:
    """The newest first."""
    numbers = ("Before", "Since")
    newest = found.sort_values(["known_date", "dataset", "subject", "item"], ascending=[False, True, True, True])
    rows = [
        [row.dataset, row.subject, row.item, number(row.value_before, 4), number(row.value_after, 4), day(row.known_date), row.origin]
        for row in _rows(newest.head(MOST_FLAWS))
    ]
    return Table(
        _shown("Numbers that vendors corrected", found), headers("Dataset", "Row", "What", *numbers, "Known", "By", numbers=numbers), rows
    )


def _shown(caption: str, found: pd.DataFrame) -> str:
    return f"{caption}, {MOST_FLAWS} of {count(len(found))}" if len(found) > MOST_FLAWS else caption


def _by_dataset(found: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for name, mine in found.groupby("dataset"):
        yield str(name), mine


def _share(mine: pd.DataFrame, month: pd.Period) -> float | None:
    """Days with values per session of the month, or per weekday where the dataset has no calendar."""
    found = mine[mine["month"] == month.to_timestamp()]
    if found.empty:
        return None
    weekdays = int(np.busday_count(month.start_time.date(), (month + 1).start_time.date()))
    return float(found["days"].iloc[0]) / float(found["sessions"].fillna(weekdays).iloc[0])


def _days_of(mine: pd.DataFrame, year: int) -> str:
    days = int(mine.loc[mine["month"].dt.year == year, "days"].sum())
    return count(days) if days else NOTHING


def _figure(chart: Chart, note: str) -> Figure:
    return Figure(chart.title, note, Markup(chart.svg()))  # noqa: S704  the drawing escapes what it is given


def _tickers(frames: Frames) -> list[str]:
    return sorted(set(frames.prices["ticker"]) | set(frames.returns["ticker"]) | set(frames.valuation["ticker"]))


def _of(frame: pd.DataFrame, ticker: str) -> pd.DataFrame:
    return frame[frame["ticker"] == ticker]


def _only(frame: pd.DataFrame, column: str) -> float | None:
    return float(frame[column].iloc[0]) if len(frame) else None


def _points(frame: pd.DataFrame, x: str, y: str) -> list[charts.Point]:
    return [(float(when.toordinal()), _known(value)) for when, value in zip(frame[x], frame[y], strict=True)]


def _known(value: Any) -> float | None:  # noqa: ANN401  a cell
    return None if pd.isna(value) else float(value)


def _at(wide: pd.DataFrame, when: pd.Timestamp, tenor: str) -> float | None:
    return _known(wide.loc[when, tenor]) if tenor in wide.columns else None


def _days_back(days: pd.DatetimeIndex, years: Sequence[int]) -> list[pd.Timestamp]:
    """The last day, and the last on or before the same day so many years earlier, as far as there are any."""
    ends = [days.max() - pd.DateOffset(years=back) for back in years]
    return list(dict.fromkeys(days[days <= end].max() for end in ends if (days <= end).any()))


def _years(tenor: str) -> float:
    """A tenor such as 3M or 10Y in years."""
    return float(tenor[:-1]) / (_DECEMBER if tenor.endswith("M") else 1)


def _rows(frame: pd.DataFrame) -> Iterable[Any]:
    """The rows as named tuples, whose cells pandas does not type."""
    return frame.itertuples()


def _one_decimal(value: float) -> str:
    return number(value, 1)


def _percent_tick(value: float, decimals: int) -> str:
    return percent(value, max(decimals - 2, 0))
