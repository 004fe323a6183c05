"""The independent check: returns, risk, trailing twelve months and P/E, computed with pandas from the vendors' bytes alone.

Nothing of the project's SQL or parsers is used on this side; the sessions are those of exchange_calendars.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import exchange_calendars
import numpy as np
import pandas as pd
import psycopg
import pytest
from jobkit.lake import Lake

from tests import recorded_answers, recorded_lake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestration.local.postgres import Postgres
    from tests.fixtures_postgres import Warehouse
    from tests.recorded_lake import Answer

TOLERANCE = 1e-6
CONCEPTS = {
    "revenue": ("USD", ["SalesRevenueNet", "Revenues", "RevenueFromContractWithCustomerExcludingAssessedTax",
                        "RevenueFromContractWithCustomerIncludingAssessedTax", "SalesRevenueGoodsNet"]),
    "net_income": ("USD", ["NetIncomeLoss", "ProfitLoss"]),
    "eps_diluted": ("USD/shares", ["EarningsPerShareDiluted", "EarningsPerShareBasicAndDiluted"]),
}  # fmt: skip
FACT = ("start", "end", "val", "accn", "filed")
FORMS = {"10-K", "10-K/A", "10-KT", "10-KT/A", "10-Q", "10-Q/A"}


class World:
    """Vendors' answers, and the marts that were made of them."""

    def __init__(self, answers: list[Answer], marts: Warehouse) -> None:
        self.answers, self.marts = answers, marts

    def frame(self, query: str) -> pd.DataFrame:
        """The rows of a query; days as timestamps, numbers as floats."""
        with self.marts.connect() as connection, connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            found = pd.DataFrame(cursor.execute(query.encode()).fetchall())
        for name in found.columns:
            if name.endswith("_date"):
                found[name] = pd.to_datetime(found[name].astype(str))
            elif name not in ("ticker", "security_id", "concept", "reason", "known_at"):
                found[name] = found[name].astype(float)
        return found

    def of(self, dataset: str) -> list[Answer]:
        """The answers for a dataset."""
        return [answer for answer in self.answers if answer.dataset == dataset]


@pytest.fixture(scope="module", params=["sample", "feeds"])
def world(request: pytest.FixtureRequest, postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The sample of 2009 to 2013, and real files of 2015 to 2017."""
    if request.param == "feeds":
        marts = request.getfixturevalue("feeds")
        yield World(recorded_answers.of_the_feeds(), marts)
        return
    answers = recorded_answers.of_the_sample()
    yield World(answers, recorded_lake.build(postgres_server, "independent", Lake(str(tmp_path_factory.mktemp("lake"))), answers))
    with psycopg.connect(postgres_server.url, password=postgres_server.password, autocommit=True) as admin:
        admin.execute("drop database independent with (force)")


@pytest.fixture(scope="module")
def sessions() -> pd.DatetimeIndex:
    """The sessions of New York."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return exchange_calendars.get_calendar("XNYS", start="2005-01-01", end="2027-12-31").sessions


def prices(answer: Answer, sessions: pd.DatetimeIndex) -> pd.DataFrame:
    """The days of one ticker that are sessions and whose prices are possible."""
    found = pd.DataFrame(json.loads(answer.body))
    found["day"] = pd.to_datetime(found["date"].str[:10])
    possible = (found["close"] > 0) & (found["low"] <= found["close"]) & (found["close"] <= found["high"])
    return found[possible & found["day"].isin(sessions)].sort_values("day").reset_index(drop=True)


def bills(answers: list[Answer]) -> pd.DataFrame:
    """The three-month yield by day, as a return of one session."""
    tables = [pd.read_csv(io.BytesIO(answer.body)) for answer in answers]
    found = pd.concat([table.rename(columns=str.lower)[["date", "3 mo"]] for table in tables]).dropna()
    return pd.DataFrame({"day": pd.to_datetime(found["date"]), "bill": found["3 mo"].astype(float) / 100 / 252}).sort_values("day")


def dollars(answer: Answer) -> pd.DataFrame:
    """US dollars per euro by day."""
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        table = pd.read_csv(archive.open(archive.namelist()[0]), usecols=["Date", "USD"])
    return pd.DataFrame({"day": pd.to_datetime(table["Date"]), "usd": table["USD"]}).sort_values("day")


def test_returns_and_risk_of_every_ticker_and_year(world: World, sessions: pd.DatetimeIndex) -> None:
    marts = world.frame("select * from marts.fct_return_daily").drop(columns="known_at", errors="ignore").set_index("ticker")
    (history,) = world.of("ecb_fx_rates")
    yields, rates = bills(world.of("treasury_par_yields")), dollars(history)
    years = set()
    for answer in world.of("tiingo_prices"):
        ticker = answer.partitions[0].split("/")[0].removeprefix("ticker=")
        day = prices(answer, sessions)
        day = pd.merge_asof(day, yields, on="day", allow_exact_matches=False, tolerance=pd.Timedelta(days=7))
        day = pd.merge_asof(day, rates, on="day", tolerance=pd.Timedelta(days=5))
        split = day["close"] * day["splitFactor"]
        price, total = split / day["close"].shift() - 1, (split + day["divCash"]) / day["close"].shift() - 1
        log, excess, wealth = np.log1p(total), total - day["bill"], (1 + total.fillna(0)).cumprod()
        euro = day["usd"].shift() / day["usd"]
        expected = {
            "return_price": price,
            "return_total": total,
            "return_total_log": log,
            "return_price_eur": (1 + price) * euro - 1,
            "return_total_eur": (1 + total) * euro - 1,
            **{f"vol_{window}d": log.rolling(window).std(ddof=1) * np.sqrt(252) for window in (21, 63, 252)},
            "drawdown": wealth / wealth.cummax() - 1,
            "sharpe_252d": excess.rolling(252).mean() / excess.rolling(252).std(ddof=1) * np.sqrt(252),
        }
        ours = marts.loc[[ticker]].sort_values("trade_date")
        assert list(ours["trade_date"]) == list(day["day"]), ticker
        for column, values in expected.items():
            np.testing.assert_allclose(ours[column].astype(float), values, rtol=TOLERANCE, atol=1e-9, err_msg=f"{ticker} {column}")
        years |= {(ticker, year) for year in day["day"].dt.year}
    assert len(years) == len({(key, day.year) for key, day in zip(marts.index, marts["trade_date"], strict=True)})


def facts(answer: Answer) -> pd.DataFrame:
    """Each reported number of the concepts, one for each period and filing: the first tag that the filing uses."""
    document = json.loads(answer.body)
    rows: list[dict[str, Any]] = []
    for concept, (unit, tags) in CONCEPTS.items():
        for rank, tag in enumerate(tags):
            given = document["facts"]["us-gaap"].get(tag, {}).get("units", {}).get(unit, [])
            flows = [fact for fact in given if fact["form"] in FORMS and "start" in fact]
            rows += [{"concept": concept, "rank": rank, **{name: fact[name] for name in FACT}} for fact in flows]
    found = pd.DataFrame(rows)
    for name in ("start", "end", "filed"):
        found[name] = pd.to_datetime(found[name])
    return found.sort_values("rank").drop_duplicates(["concept", "start", "end", "accn"])


def trailing(known: pd.DataFrame) -> tuple[list[pd.Series[Any]], str | None]:
    """The three parts of the last twelve months in what was known, or why there are none."""
    newest = known.sort_values(["filed", "accn"]).drop_duplicates(["start", "end"], keep="last")
    length = (newest["end"] - newest["start"]).dt.days + 1
    years = newest[(length >= 350) & (length <= 380)].sort_values("end")
    if years.empty:
        return [], "no_fiscal_year"
    year = years.iloc[-1]
    later = newest[(length < 350) & (newest["end"] > year["end"]) & ((newest["start"] - year["end"]).dt.days.sub(1).abs() <= 10)]
    if later.empty:
        return [year], None
    now = later.sort_values("end").iloc[-1]
    apart = (newest["end"] - (now["end"] - pd.Timedelta(days=365))).dt.days.abs()
    same = newest[((newest["start"] - year["start"]).dt.days.abs() <= 10) & (apart <= 10)]
    if same.empty:
        return [year, now], "no_prior_year_to_date"
    return [year, now, same.loc[apart[same.index].sort_values(kind="stable").index[0]]], None


def test_trailing_twelve_months_of_every_filing(world: World, sessions: pd.DatetimeIndex) -> None:
    query = "select cik, concept, known_from as known_date, ttm_value, null_reason as reason from intermediate.int_fundamentals_ttm"
    marts = world.frame(f"{query} where concept in ('revenue', 'net_income', 'eps_diluted') and unit <> 'shares'")
    compared = 0
    for answer in world.of("sec_company_facts"):
        cik = int(answer.partitions[0].removeprefix("cik="))
        reported = facts(answer)
        for row in marts[marts["cik"] == cik].itertuples():
            filed_before = sessions[sessions.get_loc(row.known_date) - 1]
            known = reported[(reported["concept"] == row.concept) & (reported["filed"] <= filed_before)]
            known = known[known["end"] > row.known_date - pd.Timedelta(days=800)]
            parts, reason = trailing(known)
            assert (row.reason if isinstance(row.reason, str) else None) == reason, row
            if reason is None:
                value = sum(sign * part["val"] for sign, part in zip((1, 1, -1), parts, strict=False))
                np.testing.assert_allclose(row.ttm_value, value, rtol=TOLERANCE, err_msg=str(row))
                compared += 1
    assert compared > 30


def test_price_over_earnings_of_every_session(world: World, sessions: pd.DatetimeIndex) -> None:
    marts = world.frame(
        "select ticker, trade_date, close, ttm_eps_diluted, pe_ratio, pe_null_reason as reason from marts.fct_valuation_daily"
    )
    issuers = {int(answer.partitions[0].removeprefix("cik=")): answer for answer in world.of("sec_company_facts")}
    compared = 0
    for ticker, cik in recorded_answers.ISSUERS.items():
        answers = [answer for answer in world.of("tiingo_prices") if answer.partitions[0].startswith(f"ticker={ticker}/")]
        if not answers or cik not in issuers:
            continue
        day = prices(answers[0], sessions).set_index("day")
        shares = day["splitFactor"][::-1].cumprod()[::-1] / day["splitFactor"]  # new shares for one of that day's
        reported = facts(issuers[cik])
        earnings = reported[reported["concept"] == "eps_diluted"]
        for row in marts[marts["ticker"] == ticker].itertuples():
            known = earnings[(earnings["filed"] < row.trade_date) & (earnings["end"] > row.trade_date - pd.Timedelta(days=800))]
            parts, reason = trailing(known) if len(known) else ([], "no_filing")
            if reason or (row.trade_date - parts[min(1, len(parts) - 1)]["end"]).days > 200:
                continue
            basis = [
                shares[shares.index <= part["filed"]].iloc[-1] if part["filed"] >= shares.index[0] else shares.iloc[0] for part in parts
            ]
            eps = sum(sign * part["val"] / old for sign, part, old in zip((1, 1, -1), parts, basis, strict=False)) * shares[row.trade_date]
            np.testing.assert_allclose(row.ttm_eps_diluted, eps, rtol=TOLERANCE, err_msg=str(row))
            if eps > 0:
                np.testing.assert_allclose(row.pe_ratio, day["close"][row.trade_date] / eps, rtol=TOLERANCE, err_msg=str(row))
                compared += 1
    assert compared > 700
