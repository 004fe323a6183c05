"""Macro marts as of any day: what they say is what the vendors' bytes said, recomputed here from the bytes alone."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import psycopg
import pytest
from jobkit.lake import Lake

from tests import recorded_answers, recorded_lake
from tests.fixtures_postgres import Warehouse
from tests.recorded_answers import FEEDS
from tests.warehouse.samples import load
from verification.sample_vendors import fiscaldata, fred, nyfed, sample, sdmx, sec_filings, sec_insiders, sec_lists
from verification.sample_vendors.wire import Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestration.local.postgres import Postgres
    from tests.recorded_lake import Answer

ROOT = Path(__file__).parents[1]
QUESTIONS = 500
CORRECTED, CORRECTION = (f'"effectiveDate": "2023-04-28", "type": "EFFR" ,"percentRate": {rate}' for rate in ("4.83", "4.85"))
FIRST_DELIVERY = "2013-01-31"
DIRECTOR = ((sec_insiders.OWNER, "SACHS BRUCE I"),)
on_feeds = pytest.mark.skipif(not FEEDS.exists(), reason="the vendors' own files are not on this machine")


def sample_body(path: str, query: dict[str, str], today: str) -> bytes:
    """What the sample FRED sends on a day."""
    asked = {"realtime_start": "1776-07-04", "realtime_end": "9999-12-31", "api_key": "any", **query}
    return fred.answer(Request(path, asked, None, 0, today)).body  # type: ignore[arg-type]


def sample_answers(today: str) -> list[Answer]:
    """The sample vendors' answers on a day."""
    series = {"series_id": "GDP"}
    return [
        recorded_lake.fred("fred_series", "series=GDP", sample_body("/fred/series", series, today)),
        recorded_lake.fred("fred_series_releases", "series=GDP", sample_body("/fred/series/release", series, today)),
        recorded_lake.fred("fred_observations", "series=GDP", sample_body("/fred/series/observations", series, today)),
        recorded_lake.fred("fred_release_dates", "release=53", release_dates(today)),
        *described_answers(today),
        *nyfed_answers(CORRECTED if today == FIRST_DELIVERY else CORRECTION),
        *fiscaldata_answers("2025-03-28" if today == FIRST_DELIVERY else "2025-03-31"),
        *euro_answers("2025-01-09" if today == FIRST_DELIVERY else "2025-01-10"),
        *holdings_answers()[: 2 if today == FIRST_DELIVERY else 5],
        *insider_answers()[: 2 if today == FIRST_DELIVERY else None],
        recorded_lake.filing_lists(320193, sec_lists.join_documents()),
    ]


OUTPUT = {
    "id": "OUTPUT",
    "title": "Output",
    "frequency": "Monthly",
    "units": "Index 2002=100",
    "seasonal_adjustment": "Seasonally Adjusted",
}
QUARTERLY = {**OUTPUT, "frequency": "Quarterly", "units": "Index 2007=100"}
CLOSED = {**QUARTERLY, "title": "Output (DISCONTINUED)", "seasonal_adjustment": "Not Seasonally Adjusted"}
DIVISIA = {**CLOSED, "id": "DIVISIA", "title": "Monetary Services Index: M2 (preferred)"}


def described_answers(today: str) -> list[Answer]:
    """Two invented series: one is rebased, then quarterly, moves to another release and is discontinued; the other has no release yet."""
    rows = [(OUTPUT, "2005-01-10", "2010-06-24"), ({**OUTPUT, "units": "Index 2007=100"}, "2010-06-25", "9999-12-31")]
    releases = [(13, "G.17", "2006-05-01", "9999-12-31")]
    late_releases: list[tuple[int, str, str, str]] = []
    if today != FIRST_DELIVERY:
        rows[-1] = (rows[-1][0], "2010-06-25", "2012-03-14")
        rows += [(QUARTERLY, "2012-03-15", "2012-08-31"), (CLOSED, "2012-09-01", "9999-12-31")]
        releases = [(13, "G.17", "2006-05-01", "2011-12-31"), (21, "H.6", "2012-01-01", "9999-12-31")]
        late_releases = [(21, "H.6", "2012-10-01", "9999-12-31")]

    def write(name: str, found: list[dict[str, Any]]) -> bytes:
        return json.dumps({"realtime_start": "1776-07-04", "realtime_end": "9999-12-31", name: found}).encode()

    def write_series(found: Sequence[tuple[dict[str, str], str, str]]) -> bytes:
        return write("seriess", [{**fred.SERIES, **row, "realtime_start": first, "realtime_end": last} for row, first, last in found])

    def write_releases(found: list[tuple[int, str, str, str]]) -> bytes:
        rows = [{"id": number, "name": name, "realtime_start": first, "realtime_end": last} for number, name, first, last in found]
        return write("releases", [{**fred.RELEASE, **row} for row in rows])

    answers = [
        recorded_lake.fred("fred_series", "series=OUTPUT", write_series(rows)),
        recorded_lake.fred("fred_series_releases", "series=OUTPUT", write_releases(releases)),
        recorded_lake.fred("fred_series", "series=DIVISIA", write_series([(DIVISIA, "2008-03-03", "9999-12-31")])),
    ]
    if late_releases:
        answers.append(recorded_lake.fred("fred_series_releases", "series=DIVISIA", write_releases(late_releases)))
    return answers


def holdings_answers() -> list[Answer]:
    """The filing of ACTIAM for 2020, and invented amendments: new holdings, a restatement, new holdings, a restatement to nothing."""
    rows = sample.table("sec_13f_holdings")
    filings = (
        (rows, "21-000002", "20210212100642", ""),
        ([{**rows[0], "cusip": "000000AA1"}], "21-000005", "20210301160000", "NEW HOLDINGS"),
        ([{**row, "value": f"{int(row['value']) + 1}"} for row in rows[:3]], "21-000007", "20210514093000", "RESTATEMENT"),
        ([{**rows[1], "cusip": "000000BB1"}], "21-000009", "20210816170500", "new holdings"),
        ([], "21-000011", "20211115090000", "RESTATEMENT"),
    )
    numbers = [f"0001619124-{number}" for _, number, _, _ in filings]
    return [
        recorded_lake.holdings(sec_filings.CIK, number, sec_filings.write_filing(lines, number, accepted, kind))
        for (lines, _, accepted, kind), number in zip(filings, numbers, strict=True)
    ]


def insider_answers() -> list[Answer]:
    """The Form 4 of a director of Vertex, and invented ones: amendments that replace a filing, add to it, or may amend none or two."""
    (grant,) = sample.table("sec_insider_transactions")
    sale = {**grant, "transactionCode": "D", "transactionAcquiredDisposedCode": "D", "transactionShares": "5.5"}
    both = (*DIRECTOR, (1, "Fund"))
    filings: tuple[tuple[str, list[dict[str, str]], str, Sequence[tuple[int, str]]], ...] = (
        (sec_insiders.ACCEPTED, [grant], "", DIRECTOR),
        ("20201021120000", [sale], "2020-10-19", DIRECTOR),  # adds what was missing
        ("20201102213000", [{**grant, "transactionShares": "190"}], "2020-10-19", DIRECTOR),  # replaces the first, not the second
        ("20201103100000", [], "2020-10-19", DIRECTOR),  # holdings only
        ("20201201090000", [sale, sale], "", DIRECTOR),  # a row that repeats
        ("20201201100000", [sale], "2020-12-01", DIRECTOR),  # one line of the two
        ("20201201120000", [{**sale, "transactionShares": "6"}] * 2, "2020-12-01", DIRECTOR),  # replaces both
        ("20201201170000", [{**sale, "transactionShares": "7"}], "", DIRECTOR),  # a second original of the day
        ("20201203100000", [sale, sale], "2020-12-01", DIRECTOR),  # of which of the two?
        ("20201204100000", [grant], "2020-06-06", DIRECTOR),  # of none that is loaded
        ("20210105100000", [grant, sale], "", both),
        ("20210106100000", [sale], "2021-01-05", DIRECTOR),  # other owners
        ("20210107100000", [sale, grant], "2021-01-05", both[::-1]),  # replaces the one of both
    )
    numbers = [sec_insiders.ACCESSION, *(f"0001209191-20-1{number:05}" for number in range(1, len(filings)))]
    return [
        recorded_lake.insiders(number, sec_insiders.write_filing(lines, number, accepted, original, owners))
        for (accepted, lines, original, owners), number in zip(filings, numbers, strict=True)
    ]


def release_dates(today: str) -> bytes:
    """What the sample FRED sends about the calendar of releases. In the first delivery, the newest date is not yet announced."""
    body = sample_body("/fred/release/dates", {"release_id": "53", "include_release_dates_with_no_data": "true"}, today)
    if today != FIRST_DELIVERY:
        return body
    answer = json.loads(body)
    newest = max(row["date"] for row in answer["release_dates"])
    kept = [row for row in answer["release_dates"] if row["date"] != newest]
    return json.dumps({**answer, "count": len(kept), "release_dates": kept}).encode()


EURO_RATE = "EST.B.EU000A2X2A25"
RIGHT, WRONG = "2025-01-08,2.917,", "2025-01-08,2.951,"


def euro_answers(last_day: str) -> list[Answer]:
    """What the sample ECB sends on a day about the euro short-term rate up to another day. An invented rate of 2025-01-08 comes first."""
    bodies = {item: sdmx.observations(item, "2024-12-25", last_day) for item in ("WT", "R25", "R75", "TT")}
    assert RIGHT in bodies["WT"]
    if last_day == "2025-01-09":
        bodies["WT"] = bodies["WT"].replace(RIGHT, WRONG)
    return [recorded_lake.sdmx(f"{EURO_RATE}.{item}", 2025, body) for item, body in bodies.items()]


WITHOUT_A_CENT = {"debt_held_public_amt": "28914410587820.33", "tot_pub_debt_out_amt": "36218923369370.09"}


def fiscaldata_answers(last_day: str) -> list[Answer]:
    """What the sample FiscalData sends on a day: the debt up to it, and the auctions. An invented cent of 2025-02-28 comes later."""
    rows = fiscaldata.select("fiscaldata_debt", [("record_date", "lte", last_day)])
    if last_day == "2025-03-28":
        rows = [{**row, **WITHOUT_A_CENT} if row["record_date"] == "2025-02-28" else row for row in rows]
    auctions = fiscaldata.select("fiscaldata_auctions", [])
    years = {year: [row for row in auctions if row["auction_date"].startswith(str(year))] for year in (2014, 2024, 2026)}
    tables = (("fiscaldata_debt", 2025, rows), *(("fiscaldata_auctions", year, found) for year, found in years.items()))
    return [recorded_lake.fiscaldata(name, year, json.dumps(fiscaldata.page(found, 1, 1000))) for name, year, found in tables]


def nyfed_answers(rate: str) -> list[Answer]:
    """What the sample New York Fed sends, with this text for EFFR of 2023-04-28, the only invented figure."""
    years = {"effr": (2023, 2026), "sofr": (2024, 2026), "obfr": (2024,), "sofrai": (2026,)}
    bodies = {(name, year): nyfed.search(name, f"{year}-01-01", f"{year}-12-31") for name, found in years.items() for year in found}
    changed = bodies["effr", 2023].replace(CORRECTED, rate)
    return [recorded_lake.nyfed(name, year, body) for (name, year), body in (bodies | {("effr", 2023): changed}).items()]


@dataclass(frozen=True)
class Story:
    """A warehouse after two deliveries: the answers of each, the marts after the first, and a moment between them."""

    warehouse: Warehouse
    early: list[Answer]
    late: list[Answer]
    early_marts: dict[str, list[str]]
    between: str


@pytest.fixture(scope="module")
def story(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """The answers of the end of 2012, then the whole sample; the second build is incremental."""
    lake = Lake(str(tmp_path_factory.mktemp("macro") / "lake"))
    with psycopg.connect(postgres_server.url, password=postgres_server.password, autocommit=True) as admin:
        admin.execute("create database macro")
        url = postgres_server.url.replace("/warehouse", "/macro")
        warehouse = Warehouse(url, postgres_server.password, postgres_server.password_reference)
        early, late = sample_answers(FIRST_DELIVERY), sample_answers("9999-12-31")
        made = [commit for answer in early for commit, _ in recorded_lake.commit(lake, answer)]
        load(recorded_lake.lake_path(lake), warehouse)
        recorded_lake.transform(warehouse)
        early_marts = read_marts(warehouse)
        for answer in late:
            recorded_lake.commit(lake, answer)
        load(recorded_lake.lake_path(lake), warehouse)
        assert recorded_lake.transform(warehouse)["details"]["changes_only"] is True
        yield Story(warehouse, early, late, early_marts, max(commit.known_at for commit in made))
        admin.execute("drop database macro with (force)")


MARTS = (
    "fct_macro",
    "fct_macro_revision",
    "fct_macro_release",
    "dim_macro_series",
    "fct_reference_rate",
    "fct_sofr_average",
    "fct_public_debt",
    "fct_treasury_auction",
    "fct_13f_holding",
    "fct_insider_transaction",
)


def read_marts(warehouse: Warehouse, schema: str = "marts", as_of: str = "") -> dict[str, list[str]]:
    """The rows of the marts as JSON, in order."""
    with warehouse.connect() as connection:
        connection.execute("select set_config('finelt.as_of', %s, false)", [as_of])
        return {
            name: sorted(row for (row,) in connection.execute(f"select to_jsonb(mart)::text from {schema}.{name} as mart".encode()))
            for name in MARTS
        }


class Observation(NamedTuple):
    """A row of FRED's own answer, with ISO dates; the value is null for a dot."""

    period: str
    first: str
    last: str
    value: Decimal | None


def observations_of(answers: Sequence[Answer]) -> list[Observation]:
    (body,) = (answer.body for answer in answers if answer.dataset == "fred_observations")
    return [
        Observation(row["date"], row["realtime_start"], row["realtime_end"], None if row["value"] == "." else Decimal(row["value"]))
        for row in json.loads(body)["observations"]
    ]


def draw_days(rng: random.Random, days: Sequence[str], count: int = QUESTIONS) -> list[str]:
    """Days on, before and after random ones of the given days, where a wrong border shows, and others."""
    return [str(date.fromisoformat(rng.choice(days)) + timedelta(days=rng.choice((-400, -1, 0, 1, 2, 60)))) for _ in range(count)]


def ask_macro(warehouse: Warehouse, questions: Sequence[tuple[str, str]]) -> list[list[Any]]:
    """The value and vintage of GDP for a period as known on a day, for each question; an empty list if nothing is known."""
    sql = """
    select coalesce(json_agg(json_build_array(value::text, vintage_date)) filter (where series_id is not null), '[]')
    from unnest(%s::date[], %s::date[]) with ordinality as question (period, day, number)
    left join marts.fct_macro as mart
        on mart.series_id = 'GDP' and mart.period = question.period and known_from <= question.day and known_to > question.day
    group by number order by number
    """
    with warehouse.connect() as connection:
        periods, days = zip(*questions, strict=True)
        return [row[0] for row in connection.execute(sql, [list(periods), list(days)])]


def check_macro(warehouse: Warehouse, observations: list[Observation], seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311  the same questions every time
    days = draw_days(rng, [row.first for row in observations])
    questions = [(rng.choice(observations).period, day) for day in days]
    answers = ask_macro(warehouse, questions)
    assert not [
        (question, vintage) for question, found in zip(questions, answers, strict=True) for _, vintage in found if vintage >= question[1]
    ]
    known = 0
    for (period, day), found in zip(questions, answers, strict=True):
        eve = str(date.fromisoformat(day) - timedelta(days=1))  # the last day whose publications are known when the day begins
        expected = [row for row in observations if row.period == period and row.first <= eve <= row.last]
        assert [None if value is None else Decimal(value) for value, _ in found] == [row.value for row in expected], (period, day)
        known += bool(expected)
    assert QUESTIONS / 5 < known < QUESTIONS


def test_a_value_as_of_any_day_is_the_one_in_the_bytes_without_look_ahead(story: Story) -> None:
    check_macro(story.warehouse, observations_of(story.late), seed=1)


@on_feeds
def test_all_vintages_of_gdp_as_of_any_day_are_those_that_fred_sent(feeds: Warehouse) -> None:
    check_macro(feeds, observations_of(recorded_answers.fred("2024-11-03")), seed=2)
    (counted,) = feeds.rows("select count(*), count(*) filter (where value is null), min(known_from)::text from marts.fct_macro")
    assert counted == (3199, 245, "1991-12-05")


def check_revisions(warehouse: Warehouse, observations: list[Observation], seed: int) -> None:
    """Ask which revisions of GDP a reader knew on a day; recompute them from neighbouring versions in the bytes."""
    expected: set[tuple[str, str, str, str]] = set()
    before: dict[str, Observation] = {}
    named: set[str] = set()
    for row in sorted(observations, key=lambda row: row.first):
        previous = before.get(row.period)
        if row.period in named and previous and previous.value != row.value:
            expected.add((row.period, row.first, str(previous.value), str(row.value)))
        before[row.period] = row
        named |= {row.period} if row.value is not None else set()
    found = warehouse.rows(
        "select period::text, vintage_date::text, trim_scale(value_before)::text, trim_scale(value_after)::text, known_from"
        " from marts.fct_macro_revision"
    )

    def plain(text: str) -> str:
        return text if text == "None" else format(Decimal(text).normalize(), "f")

    assert {(period, vintage, str(old), str(new)) for period, vintage, old, new, _ in found} == {
        (period, vintage, plain(old), plain(new)) for period, vintage, old, new in expected
    }
    rng = random.Random(seed)  # noqa: S311  the same questions every time
    for day in draw_days(rng, [row.first for row in observations]):
        known = {(period, vintage) for period, vintage, _, _, since in found if since <= date.fromisoformat(day)}
        assert known == {(period, vintage) for period, vintage, _, _ in expected if vintage < day}


def test_the_revisions_known_on_any_day_are_those_in_the_bytes(story: Story) -> None:
    check_revisions(story.warehouse, observations_of(story.late), seed=3)


@on_feeds
def test_all_revisions_of_gdp_are_those_that_fred_sent(feeds: Warehouse) -> None:
    check_revisions(feeds, observations_of(recorded_answers.fred("2024-11-03")), seed=4)


def test_a_withdrawn_value_is_null_from_then_on_and_its_return_is_a_revision(story: Story) -> None:
    """GDP of 1946 was withdrawn at the benchmark revision of 1996; that of 1947-Q1 came back in 1997."""
    sql = "select value::float8 from marts.fct_macro where period = '1947-01-01' and known_from <= '{0}' and known_to > '{0}'"
    assert [story.warehouse.rows(sql.format(day)) for day in ("1991-12-31", "1996-01-19", "1996-01-20", "1997-05-08")] == [
        [], [(226.7,)], [(None,)], [(237.4,)],
    ]  # fmt: skip
    kinds = story.warehouse.rows("select kind from marts.fct_macro_revision where period = '1947-01-01' order by revision_number limit 3")
    assert kinds == [("withdrawn",), ("restored",), ("withdrawn",)]


def test_the_marts_as_of_the_first_delivery_are_those_that_were_built_then(story: Story) -> None:
    assert read_marts(story.warehouse, "as_of", story.between) == story.early_marts
    assert read_marts(story.warehouse) != story.early_marts


def test_a_release_closes_the_open_interval_and_changes_nothing_else(story: Story) -> None:
    early, late = ({(row.period, row.first): row for row in observations_of(answers)} for answers in (story.early, story.late))
    closed = [key for key, row in early.items() if row != late[key]]
    assert closed
    assert {early[key].last for key in closed} == {"9999-12-31"}
    versions = story.warehouse.rows(
        "select count(*) from raw.fred_observations where known_to < 'infinity' and realtime_end = '9999-12-31'"
    )
    assert versions == [(len(closed),)]


def test_the_calendar_has_days_to_come(story: Story) -> None:
    days = story.warehouse.rows("select release_name, release_date::text from marts.fct_macro_release order by release_date desc limit 1")
    assert days == [("Gross Domestic Product", "2013-03-28")]


def test_the_series_is_described_with_its_release(story: Story) -> None:
    described = story.warehouse.rows(
        "select title, frequency, unit, release_id, is_discontinued, known_from::text, known_to::text from marts.dim_macro_series"
        " where series_id = 'GDP'"
    )
    assert described == [("Gross Domestic Product", "Quarterly", "Billions of Dollars", 53, False, "1991-12-05", "9999-12-31")]


def describe(answers: Sequence[Answer], series: str, day: str) -> list[tuple[Any, ...]]:
    """What FRED's own answers say of a series when a day begins: the description of the day before, and the release until the next one."""
    eve = str(date.fromisoformat(day) - timedelta(days=1))

    def read(dataset: str, rows: str) -> list[dict[str, Any]]:
        bodies = [answer.body for answer in answers if answer.dataset == dataset and answer.partitions == (f"series={series}",)]
        return [row for body in bodies for row in json.loads(body)[rows] if row["realtime_start"] <= eve]

    releases = sorted(read("fred_series_releases", "releases"), key=lambda row: str(row["realtime_start"]))
    release = releases[-1]["id"] if releases else None
    return [
        (row["title"], row["frequency"], row["units"], row["seasonal_adjustment"], "DISCONTINUED" in row["title"], release)
        for row in read("fred_series", "seriess")
        if eve <= row["realtime_end"]
    ]


@pytest.mark.parametrize("schema", ["marts", "as_of"])
def test_a_series_on_any_day_is_described_as_in_the_bytes_without_look_ahead(story: Story, schema: str) -> None:
    """As known on a day of FRED's, and in the other schema also as it had reached us at a moment."""
    rng = random.Random(11)  # noqa: S311  the same questions every time
    arrivals: dict[str, list[datetime]] = {}
    for table, column in (("fred_series", "id"), ("fred_series_releases", "series_id")):
        for series, moment in story.warehouse.rows(f"select distinct {column}, known_from from raw.{table}"):
            arrivals.setdefault(f"{table} {series}", []).append(moment)
    moments = sorted({moment for found in arrivals.values() for moment in found})
    days = ["2005-01-10", "2006-05-01", "2008-03-03", "2010-06-25", "2012-01-01", "2012-03-15", "2012-09-01", "2012-10-01"]
    sql = f"""
    select title, frequency, unit, seasonal_adjustment, is_discontinued, release_id from {schema}.dim_macro_series
    where series_id = %s and known_from <= %s and known_to > %s
    """
    seen = set()
    with story.warehouse.connect() as connection:
        for day in draw_days(rng, days):
            series = rng.choice(("OUTPUT", "OUTPUT", "DIVISIA", "GDP"))
            answers = story.late
            if schema == "as_of":
                moment = rng.choice(moments) + timedelta(microseconds=rng.choice((-1, 0, 1)))
                connection.execute("select set_config('finelt.as_of', %s, false)", [moment.isoformat()])
                reached = {name: sum(arrival <= moment for arrival in found) for name, found in arrivals.items()}
                # an answer that the second delivery repeats unchanged has one arrival
                answers = [
                    answer
                    for dataset in ("fred_series", "fred_series_releases")
                    if (count := reached.get(f"{dataset} {series}", 0))
                    for answer in (story.late if count > 1 or not in_delivery(story.early, dataset, series) else story.early)
                    if answer.dataset == dataset
                ]
            found = connection.execute(sql.encode(), [series, day, day]).fetchall()
            assert found == describe(answers, series, day), (series, day)
            seen |= set(found)
    assert len(seen) > 6
    assert {row[4] for row in seen} == {True, False}


def in_delivery(answers: Sequence[Answer], dataset: str, series: str) -> bool:
    return any(answer.dataset == dataset and answer.partitions == (f"series={series}",) for answer in answers)


def test_a_series_without_new_figures_is_found_as_of_any_day(story: Story) -> None:
    """The query of docs/macro.md: no title says that GDP ended with the sample."""
    (sql,) = re.findall(r"```sql\n(select series_id, max\(period\).*?);\n```", (ROOT / "docs/macro.md").read_text(), re.DOTALL)
    last_quarter = date(2012, 10, 1)
    for day, expected in (("2013-03-01", []), ("2014-04-03", []), ("2014-04-06", [("GDP", last_quarter, date(2013, 2, 28))])):
        assert story.warehouse.rows(sql.replace("2026-11-30", day)) == expected, day


NEW_YORK = ZoneInfo("America/New_York")
HOLIDAYS = {"2023-01-16", "2023-02-20"}  # of the bond market in the days of the sample


def next_business_day(day: date) -> date:
    day += timedelta(days=1)
    while day.weekday() > 4 or str(day) in HOLIDAYS:
        day += timedelta(days=1)
    return day


def test_a_reference_rate_at_any_moment_is_the_one_in_the_bytes_without_look_ahead(story: Story) -> None:
    """Each delivery's bytes count from the publication on, the second delivery's only where they differ, from its commit on."""
    rates = [(row["type"], row["effectiveDate"], row) for answer in story.late for row in read_rates(answer, "nyfed_rates")]
    first = {(row["type"], row["effectiveDate"]): row for answer in story.early for row in read_rates(answer, "nyfed_rates")}
    rng = random.Random(5)  # noqa: S311  the same questions every time
    corrected_at = story.warehouse.rows("select max(known_from) from raw.nyfed_rates")[0][0]
    questions = []
    for _ in range(QUESTIONS):
        name, day, _row = rng.choice(rates)
        at = datetime.combine(next_business_day(date.fromisoformat(day)), time(9 if name in ("EFFR", "OBFR") else 8), NEW_YORK)
        shift = rng.choice((timedelta(seconds=-1), timedelta(), timedelta(days=2), timedelta(days=-1)))
        questions.append((name, day, at, rng.choice((at + shift, corrected_at + rng.choice((shift, timedelta(days=1)))))))
    questions += [("EFFR", "2023-04-28", questions[0][2], corrected_at + timedelta(seconds=n)) for n in (-1, 0, 1)]
    sql = """
    select mart.rate_pct from unnest(%s::text[], %s::date[], %s::timestamptz[]) with ordinality as question (name, day, moment, number)
    left join marts.fct_reference_rate as mart
        on mart.rate_name = name and mart.rate_date = question.day and known_at <= moment and known_to > moment
    order by number
    """
    with story.warehouse.connect() as connection:
        names, days, _, moments = map(list, zip(*questions, strict=True))
        found = [row[0] for row in connection.execute(sql, [names, days, moments])]
    assert len(found) == len(questions)
    late = {(name, day): row for name, day, row in rates}
    for (name, day, published, moment), rate in zip(questions, found, strict=True):
        is_new = late[name, day] != first[name, day] and moment >= corrected_at
        row = (late if is_new else first)[name, day]
        assert rate == (Decimal(str(row["percentRate"])) if moment >= published or is_new else None), (name, day, moment)
    assert set(map(str, found[-3:])) == {"4.8300", "4.8500"}


def read_rates(answer: Answer, dataset: str) -> list[dict[str, Any]]:
    return json.loads(answer.body)["refRates"] if answer.dataset == dataset else []


def test_the_correction_of_a_rate_is_a_restatement(story: Story) -> None:
    found = story.warehouse.rows("select subject, item, value_before::text, value_after::text from marts.fct_restatement")
    assert [row for row in found if row[1] == "percentRate"] == [("EFFR 2023-04-28", "percentRate", "4.83000000", "4.85000000")]


def test_the_averages_of_sofr_are_known_on_their_value_date_and_sofr_itself_a_day_later(story: Story) -> None:
    sql = "select index_value::text, known_at from marts.fct_sofr_average where value_date = '2026-08-05'"
    (index,) = story.warehouse.rows(sql)
    assert index == ("1.25363504", datetime(2026, 8, 5, 12, tzinfo=UTC))
    sql = "select rate_pct::text, known_at from marts.fct_reference_rate where rate_name = 'SOFR' and rate_date = '2026-08-05'"
    (rate,) = story.warehouse.rows(sql)
    assert rate == ("3.6400", datetime(2026, 8, 6, 12, tzinfo=UTC))


def test_the_debt_at_any_moment_is_the_one_in_the_bytes_without_look_ahead(story: Story) -> None:
    early, late = (
        {
            row["record_date"]: Decimal(row["tot_pub_debt_out_amt"])
            for answer in answers
            if answer.dataset == "fiscaldata_debt"
            for row in json.loads(answer.body)["data"]
        }
        for answers in (story.early, story.late)
    )
    loaded_at = story.warehouse.rows("select max(known_from) from raw.fiscaldata_debt")[0][0]
    rng = random.Random(6)  # noqa: S311  the same questions every time
    holidays = {"2025-01-20", "2025-02-17"}
    questions = []
    for day in rng.choices(sorted(late), k=QUESTIONS):
        following = date.fromisoformat(day) + timedelta(days=1)
        while following.weekday() > 4 or str(following) in holidays:
            following += timedelta(days=1)
        published = datetime.combine(following, time(18), NEW_YORK)
        shift = rng.choice((timedelta(seconds=-1), timedelta(), timedelta(days=3), timedelta(days=-1)))
        questions.append((day, published, rng.choice((published + shift, loaded_at + shift))))
    sql = """
    select mart.total_usd from unnest(%s::date[], %s::timestamptz[]) with ordinality as question (day, moment, number)
    left join marts.fct_public_debt as mart on mart.debt_date = question.day and known_at <= moment and known_to > moment
    order by number
    """
    with story.warehouse.connect() as connection:
        days, _, moments = map(list, zip(*questions, strict=True))
        found = [row[0] for row in connection.execute(sql, [days, moments])]
    for (day, published, moment), total in zip(questions, found, strict=True):
        is_corrected = day in early and early[day] != late[day] and moment >= loaded_at
        known = late if is_corrected or day not in early else early
        assert total == (known[day] if moment >= published else None), (day, moment)
    assert story.warehouse.rows("select count(*) from marts.fct_public_debt where debt_date = '2025-02-28'") == [(2,)]


@dataclass(frozen=True)
class Dated:
    """A mart whose rows are known from an hour of their day on, and where its key and figure are in the vendor's bytes and in the mart."""

    mart: str
    dataset: str
    rows: str
    key: tuple[str, ...]
    figure: str
    mart_key: tuple[str, ...]
    mart_figure: str
    hour: int

    def read(self, answers: Sequence[Answer]) -> dict[tuple[str, ...], Decimal]:
        """The figure of each key in the vendor's own bytes. The first part of a key is the day."""
        bodies = [json.loads(answer.body)[self.rows] for answer in answers if answer.dataset == self.dataset]
        return {
            tuple(str(row[name]) for name in self.key): Decimal(str(row[self.figure]))
            for rows in bodies
            for row in rows
            if row[self.figure] != "null"
        }


DATED = [
    Dated("fct_sofr_average", "nyfed_sofr_averages", "refRates", ("effectiveDate",), "index", ("value_date",), "index_value", 8),
    Dated(
        "fct_treasury_auction", "fiscaldata_auctions", "data", ("auction_date", "cusip"), "total_accepted",
        ("auction_date", "cusip"), "total_accepted_usd", 18,
    ),
]  # fmt: skip


@pytest.mark.parametrize("dated", DATED, ids=[dated.mart for dated in DATED])
def test_a_figure_at_any_moment_is_the_one_in_the_bytes_without_look_ahead(story: Story, dated: Dated) -> None:
    """Both deliveries have the same figures, so a figure is known from the hour of its publication on."""
    early, figures = dated.read(story.early), dated.read(story.late)
    assert early == figures
    rng = random.Random(8)  # noqa: S311  the same questions every time
    questions = []
    for _ in range(QUESTIONS):
        key = rng.choice(sorted(figures))
        published = datetime.combine(date.fromisoformat(key[0]), time(dated.hour), NEW_YORK)
        shift = timedelta(seconds=rng.choice((-1, 0, 1, rng.randint(-(10**6), 10**6), rng.randint(-(10**8), 10**7))))
        questions.append((key, published, published + shift))
    key_columns = ", ".join(dated.mart_key)
    sql = f"select {dated.mart_figure} from marts.{dated.mart} where ({key_columns})::text = %s and known_at <= %s and known_to > %s"
    with story.warehouse.connect() as connection:
        for key, published, moment in questions:
            found = connection.execute(sql.encode(), [f"({','.join(key)})" if len(key) > 1 else key[0], moment, moment]).fetchall()
            assert found == ([(figures[key],)] if moment >= published else []), (key, moment)


def test_the_calendar_and_the_series_at_any_moment_are_those_of_the_last_delivery(story: Story) -> None:
    """The calendar has no time of publication, so our own deliveries date it. The second changes the calendar and not the series."""

    def read(answers: Sequence[Answer], dataset: str, rows: str, name: str) -> list[str]:
        bodies = [json.loads(answer.body)[rows] for answer in answers if answer.dataset == dataset]
        return sorted(row[name] for found in bodies for row in found if row.get("id", "GDP") == "GDP")

    moments = [moment for (moment,) in story.warehouse.rows("select distinct known_from from raw.fred_release_dates order by 1")]
    first, second = moments
    described_at = story.warehouse.rows("select min(known_from) from raw.fred_series where id = 'GDP'")[0][0]
    rng = random.Random(9)  # noqa: S311  the same questions every time
    sql = """
    select
        (select array_agg(release_date::text order by release_date) from as_of.fct_macro_release),
        (select array_agg(title) from as_of.dim_macro_series where series_id = 'GDP')
    """
    with story.warehouse.connect() as connection:
        for _ in range(QUESTIONS):
            shift = timedelta(microseconds=rng.choice((-1, 0, 1, rng.randint(-(10**12), 0))))
            moment = rng.choice((first, second, described_at)) + shift
            connection.execute("select set_config('finelt.as_of', %s, false)", [moment.isoformat()])
            found = connection.execute(sql).fetchone()
            known = [] if moment < first else story.early if moment < second else story.late
            described = story.early if moment >= described_at else []
            assert found == (
                read(known, "fred_release_dates", "release_dates", "date") or None,
                read(described, "fred_series", "seriess", "title") or None,
            ), moment


def test_the_results_of_an_auction_add_up_and_are_known_on_its_day(story: Story) -> None:
    """The bid-to-cover ratio leaves out what the Federal Reserve bought for itself."""
    sql = """
    select
        cusip,
        round((total_tendered_usd - soma_accepted_usd) / (total_accepted_usd - soma_accepted_usd), 2) = bid_to_cover_ratio,
        maturity_date::text,
        total_accepted_usd::bigint,
        high_yield_pct::float8,
        high_discount_margin_pct::float8,
        coupon_pct::float8,
        array[is_reopening, is_inflation_indexed, is_floating_rate],
        known_at
    from marts.fct_treasury_auction
    order by auction_date
    """
    floating, indexed, bill = story.warehouse.rows(sql)
    assert floating == (
        *("912828WK2", True, "2016-01-31", 15000071200, None, 0.045, None, [False, False, True]),
        datetime(2014, 1, 29, 23, tzinfo=UTC),
    )
    assert indexed[:-1] == ("91282CJY8", True, "2034-01-15", 18000021100, 1.81, None, 1.75, [False, True, False])
    assert bill == (
        *("912797SL2", True, "2026-04-09", 90430132400, 3.622, None, None, [True, False, False]),
        datetime(2026, 1, 5, 23, tzinfo=UTC),
    )


def test_the_euro_short_term_rate_at_any_moment_is_the_one_in_the_bytes_without_look_ahead(story: Story) -> None:
    """Known at 8:00 in Frankfurt of the next weekday (the sample has no holiday); what the second delivery changed, from its commit on."""
    early, late = (
        {
            (row["KEY"].rpartition(".")[2], row["TIME_PERIOD"]): Decimal(row["OBS_VALUE"])
            for answer in answers
            if answer.dataset == "sdmx_observations"
            for row in csv.DictReader(io.StringIO(answer.body.decode()))
        }
        for answers in (story.early, story.late)
    )
    rate_query = f"select max(known_from) from raw.sdmx_observations where series_key = '{EURO_RATE}.WT'"
    loaded_at = story.warehouse.rows(rate_query)[0][0]
    rng = random.Random(7)  # noqa: S311  the same questions every time
    questions = []
    for day in rng.choices(sorted({day for _, day in late}), k=QUESTIONS):
        following = date.fromisoformat(day) + timedelta(days=1)
        while following.weekday() > 4:
            following += timedelta(days=1)
        published = datetime.combine(following, time(8), ZoneInfo("Europe/Berlin"))
        shift = rng.choice((timedelta(seconds=-1), timedelta(), timedelta(days=3), timedelta(days=-1)))
        questions.append((day, published, rng.choice((published + shift, loaded_at + shift))))
    sql = """
    select mart.rate_pct, mart.percentile_25_pct, mart.percentile_75_pct, mart.volume_eur_bn
    from unnest(%s::date[], %s::timestamptz[]) with ordinality as question (day, moment, number)
    left join marts.fct_reference_rate as mart
        on mart.source = 'ECB' and mart.rate_name = 'ESTR' and mart.rate_date = question.day and known_at <= moment and known_to > moment
    order by number
    """
    with story.warehouse.connect() as connection:
        days, _, moments = map(list, zip(*questions, strict=True))
        found = connection.execute(sql, [days, moments]).fetchall()
    assert len(found) == len(questions)
    for (day, published, moment), figures in zip(questions, found, strict=True):
        is_corrected = day == "2025-01-08" and moment >= loaded_at
        known = late if is_corrected or ("WT", day) not in early else early
        expected = (*(known[item, day] for item in ("WT", "R25", "R75")), known["TT", day] / 1000)
        assert figures == (expected if moment >= published else (None,) * 4), (day, moment)
    assert {rate for (day, *_), (rate, *_) in zip(questions, found, strict=True) if day == "2025-01-08"} == {
        None,
        Decimal("2.951"),
        Decimal("2.917"),
    }


def test_the_correction_of_an_sdmx_observation_is_a_restatement(story: Story) -> None:
    found = story.warehouse.rows(
        "select subject, value_before::numeric, value_after::numeric from marts.fct_restatement where item = 'obs_value'"
    )
    assert found == [(f"ECB {EURO_RATE}.WT 2025-01-08", Decimal("2.951"), Decimal("2.917"))]


def test_the_holdings_known_at_any_moment_are_those_in_the_filings(story: Story) -> None:
    """A restatement replaces what was filed before; new holdings are added. Recomputed from the bytes by their texts."""
    filings = []
    for body in (answer.body.decode() for answer in story.late if answer.dataset == "sec_13f_holdings"):
        accepted = datetime.strptime(re.findall(r"<ACCEPTANCE-DATETIME>(\d+)", body)[0], "%Y%m%d%H%M%S").replace(tzinfo=NEW_YORK)
        lines = list(zip(*(re.findall(f"<ns1:{name}>([^<]+)<", body) for name in ("cusip", "value", "sshPrnamt")), strict=True))
        filings.append((accepted, "RESTATEMENT" in body, lines))
    rng = random.Random(9)  # noqa: S311  the same questions every time
    shifts = (timedelta(microseconds=-1), timedelta(), timedelta(seconds=1), timedelta(days=-20), timedelta(days=40))
    moments = [rng.choice(filings)[0] + rng.choice(shifts) for _ in range(QUESTIONS)]
    sql = """
    select number, cusip, value_usd, amount from unnest(%s::timestamptz[]) with ordinality as question (moment, number)
    inner join marts.fct_13f_holding on cik = 1619124 and period = '2020-12-31' and known_at <= moment and known_to > moment
    """
    known: list[list[tuple[str, Decimal, Decimal]]] = [[] for _ in moments]
    with story.warehouse.connect() as connection:
        for number, cusip, value, amount in connection.execute(sql, [moments]):
            known[number - 1].append((cusip, value, amount))
    for moment, found in zip(moments, known, strict=True):
        accepted_filings = [filing for filing in filings if filing[0] <= moment]
        first = max((number for number, (_, restates, _) in enumerate(accepted_filings) if restates), default=0)
        expected = [
            (cusip, 1000 * Decimal(value), Decimal(shares)) for *_, lines in accepted_filings[first:] for cusip, value, shares in lines
        ]
        assert sorted(found) == sorted(expected), moment
    assert {len(found) for found in known} == {0, 5, 6, 3, 4}


class Form4(NamedTuple):
    """A filing by its texts: when it was accepted, the day it amends, who filed, and its lines with title, day, code, shares and price."""

    accepted: datetime
    filed: str
    original: str
    owners: tuple[str, ...]
    lines: list[tuple[str, ...]]


def read_form_4(body: str) -> Form4:
    accepted, filed = (re.findall(f"{name}[>:]\\s*(\\d+)", body)[0] for name in ("ACCEPTANCE-DATETIME", "FILED AS OF DATE"))
    names = ("securityTitle", "transactionDate", "transactionCode", "transactionShares", "transactionPricePerShare")
    lines = list(zip(*(re.findall(f"<{name}>(?:<value>)?([^<]+)<", body) for name in names), strict=True))
    original = "".join(re.findall("<dateOfOriginalSubmission>([^<]+)<", body)).replace("-", "")
    moment = datetime.strptime(accepted, "%Y%m%d%H%M%S").replace(tzinfo=NEW_YORK)
    return Form4(moment, filed, original, tuple(sorted(re.findall("<rptOwnerCik>([^<]+)<", body))), lines)


def amended_by(amendment: Form4, known: Sequence[Form4]) -> list[Form4]:
    """What a filing may amend, of the filings that were known before it; nothing for an original."""
    return [
        filing
        for filing in known
        if not filing.original
        and (filing.filed, filing.owners) == (amendment.original, amendment.owners)
        and filing.accepted < amendment.accepted
    ]


def holds(filing: Form4, known: Sequence[Form4]) -> bool:
    """Whether no known amendment replaces a filing: one with the same single original, and with each of its lines but for the figures."""
    family = amended_by(filing, known) if filing.original else [filing]
    for amendment in known if len(family) == 1 else ():
        repeated = Counter(line[:3] for line in amendment.lines) >= Counter(line[:3] for line in filing.lines)
        if amendment.accepted > filing.accepted and amended_by(amendment, known) == family and repeated:
            return False
    return True


def test_the_filings_of_all_lists_are_staged_and_their_last_day_is_known(story: Story) -> None:
    rows = sample.table("sec_filing_list")
    with story.warehouse.connect() as connection:
        found = connection.execute(
            b"select accession, form, filed_date::text, report_date::text, acceptance_text, coalesce(items, ''), size_bytes::text,"
            b" is_xbrl::int::text, primary_document from staging.stg_sec__filings where cik = 320193 order by filed_date desc"
        ).fetchall()
        fresh = connection.execute(b"select last_date::text from marts.fct_freshness where dataset = 'sec_filings'").fetchone()
    names = ["accessionNumber", "form", "filingDate", "reportDate", "acceptanceDateTime", "items", "size", "isXBRL", "primaryDocument"]
    assert found == [tuple(row[name] for name in names) for row in rows]
    assert fresh == (rows[0]["filingDate"],)


@pytest.mark.parametrize("schema", ["marts", "as_of"])
def test_the_insider_transactions_known_at_any_moment_are_those_in_the_filings(story: Story, schema: str) -> None:
    """An amendment closes the only filing that it can amend if it repeats its lines; otherwise both stay. Recomputed from the bytes."""
    answers = story.late if schema == "marts" else story.early
    filings = [read_form_4(answer.body.decode()) for answer in answers if answer.dataset == "sec_insider_entries"]
    rng = random.Random(10)  # noqa: S311  the same questions every time
    shifts = (timedelta(microseconds=-1), timedelta(), timedelta(seconds=1), timedelta(days=-20), timedelta(days=40))
    moments = [rng.choice(filings).accepted + rng.choice(shifts) for _ in range(QUESTIONS)]
    sql = f"""
    select number, known_at, security_title, transaction_date::text, transaction_code, shares, price_usd
    from unnest(%s::timestamptz[]) with ordinality as question (moment, number)
    inner join {schema}.fct_insider_transaction on issuer_cik = 875320 and known_at <= moment and known_to > moment
    """
    known: list[list[tuple[Any, ...]]] = [[] for _ in moments]
    with story.warehouse.connect() as connection:
        connection.execute("select set_config('finelt.as_of', %s, false)", [story.between if schema == "as_of" else ""])
        for number, *row in connection.execute(sql.encode(), [moments]):
            known[number - 1].append(tuple(row))
    for moment, found in zip(moments, known, strict=True):
        accepted = [filing for filing in filings if filing.accepted <= moment]
        expected = [
            (filing.accepted, title, day, code, Decimal(shares), Decimal(price))
            for filing in accepted
            if holds(filing, accepted)
            for title, day, code, shares, price in filing.lines
        ]
        assert sorted(found) == sorted(expected), moment
    assert {len(found) for found in known} == ({0, 1, 2, 4, 5, 7, 8, 10, 11} if schema == "marts" else {0, 1, 2})


def test_an_amendment_says_whether_it_replaces_what_it_can_amend(story: Story) -> None:
    sql = """
    select distinct accession, original_count, amends, is_replacement from marts.fct_insider_transaction where form = '4/A'
    """
    found = {accession[-2:]: (count, amends and amends[-2:], replaces) for accession, count, amends, replaces in story.warehouse.rows(sql)}
    assert found == {
        "01": (1, "64", False),
        "02": (1, "64", True),
        "05": (1, "04", False),
        "06": (1, "04", True),
        "08": (2, None, False),
        "09": (0, None, False),
        "11": (0, None, False),
        "12": (1, "10", True),
    }
    joint = story.warehouse.rows(
        "select owner_ciks, owner_names, owner_count, is_director, count(*) from marts.fct_insider_transaction"
        " where accession = '0001209191-20-100012' group by 1, 2, 3, 4"
    )
    assert joint == [("1 1197036", "Fund; SACHS BRUCE I", 2, True, 2)]
