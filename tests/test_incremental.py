"""An incremental build equals a full build, and as-of queries return the marts of an earlier moment."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from jobkit.lake import Lake

from tests import recorded_lake
from tests.fixtures_postgres import Warehouse
from tests.warehouse.samples import load
from verification.sample_vendors import ecb, sample, sec, tiingo, treasury

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobkit.receipt import Receipt

    from orchestration.local.postgres import Postgres
    from tests.recorded_lake import Answer

CHANGE_FINGERPRINT = "update ops.transforms set fingerprint = 'another' where transform_id = (select max(transform_id) from ops.transforms)"
BUILT_IN_FULL = (6,)  # the last step; the as-of views compute the rows of every step in full, too
Tables = dict[str, list[str]]


def answers_until(last: str, tickers: tuple[str, ...] = ("AAPL", "IBM", "MSFT")) -> list[Answer]:
    """What the sample vendors would have answered at the end of this day."""
    facts = json.loads(sec.company_facts())
    for tags in facts["facts"].values():
        for tag in tags.values():
            tag["units"] = {unit: [fact for fact in found if fact["filed"] <= last] for unit, found in tag["units"].items()}
    curves = {year: treasury.curve(year).splitlines() for year in ("2011", "2012", "2013") if year <= last[:4]}
    days = {
        year: [line for line in lines[1:] if line[6:10] + line[:2] + line[3:5] <= last.replace("-", "")] for year, lines in curves.items()
    }
    return [
        *(
            recorded_lake.tiingo(ticker, [dict(day) for day in tiingo.history(ticker) if "2011" <= day["date"][:10] <= last])
            for ticker in tickers
        ),
        recorded_lake.ecb(zip_rates([line for line in ecb.history().splitlines()[1:] if line[:10] <= last]), 2009, 2013),
        *(recorded_lake.treasury(year, "\n".join([curves[year][0], *found])) for year, found in days.items() if found),
        recorded_lake.facts(320193, json.dumps(facts).encode()),
        recorded_lake.filers(sec.company_tickers()),
    ]


def zip_rates(days: list[str]) -> bytes:
    """Zip the ECB's history with these days."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("eurofxref-hist.csv", "\n".join([ecb.history().splitlines()[0], *days]))
    return packed.getvalue()


def corrected() -> list[Answer]:
    """All answers with corrections: a close, a removed day, a rate, a yield, a filing, another ticker, other filers."""
    [apple, ibm, msft, _, *rest] = answers_until(sample.LAST_SESSION)
    days = json.loads(apple.body)
    days[100]["close"] += 0.01
    days[100]["high"] += 0.01
    gone = [day for day in json.loads(ibm.body) if day["date"][:10] != "2012-06-15"]
    lines = [line.replace("2012-12-31,1.3194", "2012-12-31,1.3195") for line in ecb.history().splitlines()[1:]]
    rest = [answer._replace(body=answer.body.replace(b"12/28/2012,0.00", b"12/28/2012,0.03")) for answer in rest]
    facts = rest[-2]._replace(body=rest[-2].body.replace(b"44.15", b"44.16"))
    filers = rest[-1]._replace(body=rest[-1].body.replace(b"MICROSOFT CORP", b"Microsoft Corp"))
    prices = [recorded_lake.tiingo("AAPL", days), recorded_lake.tiingo("IBM", gone), msft]
    goog = recorded_lake.tiingo("GOOG", [dict(day) for day in tiingo.history("GOOG") if day["date"] > "2012"])
    return [*prices, goog, recorded_lake.ecb(zip_rates(lines), 2009, 2013), *rest[:-2], facts, filers]


def correct_again(source: str) -> list[Answer]:
    """Answers that correct one thing more: a close, a rate, or a yield and a filing."""
    if source == "prices":
        days: list[dict[str, Any]] = [dict(day) for day in tiingo.history("MSFT") if day["date"][:10] >= "2011"]
        days[50]["close"] -= 0.01
        return [recorded_lake.tiingo("MSFT", days)]
    if source == "rates":
        lines = [line.replace("2012-12-31,1.3194", "2012-12-31,1.3196") for line in ecb.history().splitlines()[1:]]
        return [recorded_lake.ecb(zip_rates(lines), 2009, 2013)]
    [yields] = [answer for answer in answers_until(sample.LAST_SESSION) if answer.partitions == ("year=2012",)]
    facts = answers_until(sample.LAST_SESSION)[-2]
    changed = yields._replace(body=yields.body.replace(b"12/28/2012,0.00", b"12/28/2012,0.04"))
    return [changed, facts._replace(body=facts.body.replace(b"44.15", b"44.17"))]


@dataclass
class Story:
    """A warehouse that is updated step by step, and its marts after each step, built incrementally and in full."""

    lake: Lake
    server: Postgres
    warehouse: Warehouse
    receipts: list[Receipt]
    marts: list[Tables]
    full: dict[int, Tables]
    known_at: list[str]
    versions: list[dict[str, set[tuple[Any, ...]]]]

    def step(self, answers: list[Answer], *, in_full: bool) -> None:
        """Load answers and build the marts incrementally. With `in_full`, build them in full in a new database too."""
        made = [commit for answer in answers for commit, _ in recorded_lake.commit(self.lake, answer)]
        load(recorded_lake.lake_path(self.lake), self.warehouse)
        self.receipts.append(recorded_lake.transform(self.warehouse))
        self.marts.append(tables(self.warehouse))
        if in_full:
            self.full[len(self.marts) - 1] = tables(recorded_lake.build(self.server, f"full_{len(self.marts) - 1}", self.lake, []))
        self.known_at.append(max(commit.known_at for commit in made))
        self.versions.append(
            {name: versions(self.warehouse, name) for name in ("fct_price_daily", "fct_return_daily", "fct_valuation_daily")}
        )

    @property
    def databases(self) -> list[str]:
        """The names of its databases."""
        return ["days", *(f"full_{number}" for number in self.full)]


def tables(warehouse: Warehouse, schema: str = "marts", setting: str = "") -> Tables:
    """Return every mart's rows as sorted JSON."""
    names = [
        name
        for (name,) in warehouse.rows("select relname::text from pg_class where relnamespace = 'marts'::regnamespace and relkind = 'r'")
    ]
    with warehouse.connect() as connection:
        connection.execute(f"select set_config('finelt.as_of', '{setting}', false)".encode())
        found = {
            name: connection.execute(f"select to_jsonb(mart)::text from {schema}.{name} as mart".encode()).fetchall() for name in names
        }
        return {name: sorted(row for (row,) in rows) for name, rows in found.items()}


def versions(warehouse: Warehouse, mart: str) -> set[tuple[Any, ...]]:
    """Return each row's address and the transaction that wrote it."""
    return set(warehouse.rows(f"select ticker, trade_date::text, ctid::text, xmin::text from marts.{mart}"))


@pytest.fixture(scope="module")
def story(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Seven steps: first load, one new day, three months, corrections of everything, then one vendor's corrections at a time."""
    with psycopg.connect(postgres_server.url, password=postgres_server.password, autocommit=True) as admin:
        admin.execute("create database days")
        url = postgres_server.url.replace("/warehouse", "/days")
        warehouse = Warehouse(url, postgres_server.password, postgres_server.password_reference)
        story = Story(Lake(str(tmp_path_factory.mktemp("days") / "lake")), postgres_server, warehouse, [], [], {}, [], [])
        alone = map(correct_again, ("prices", "rates", "yields and filings"))
        first, new_day, later = map(answers_until, ("2012-11-30", "2012-12-03", sample.LAST_SESSION))
        for number, answers in enumerate((first, new_day, later, corrected(), *alone)):
            story.step(answers, in_full=number in BUILT_IN_FULL)
        yield story
        for name in story.databases:
            admin.execute(f"drop database {name} with (force)".encode())


def test_all_builds_but_the_first_are_incremental(story: Story) -> None:
    assert [receipt["details"]["changes_only"] for receipt in story.receipts] == [False] + [True] * 6
    assert all(len(marts["fct_return_daily"]) > 1400 for marts in story.marts)


@pytest.mark.parametrize("step", BUILT_IN_FULL)
def test_an_incremental_build_equals_a_full_build(story: Story, step: int) -> None:
    for name, rows in story.full[step].items():
        assert story.marts[step][name] == rows, (step, name)


def test_a_new_day_writes_only_one_row_for_each_ticker(story: Story) -> None:
    models = story.receipts[1]["details"]["models"]
    for mart in ("fct_price_daily", "fct_return_daily", "fct_valuation_daily"):
        assert models[mart]["rows"] == 3, mart
        assert story.versions[0][mart] < story.versions[1][mart]
        assert {day for _, day, _, _ in story.versions[1][mart] - story.versions[0][mart]} == {"2012-12-03"}
    assert models["fct_yield"]["rows"] == 11
    assert models["fct_fx_rate"]["rows"] == len([row for row in story.marts[1]["fct_fx_rate"] if '"2012-12-03"' in row])


def test_a_dividend_rebuilds_its_ticker(story: Story) -> None:
    """Dividends lower every adjusted price before them."""
    before, after = (
        {(row["ticker"], row["trade_date"]): row["adj_close"] for row in map(json.loads, step["fct_price_daily"])}
        for step in story.marts[1:3]
    )
    assert all(after[key] < before[key] for key in before)


def test_marts_and_raw_tables_collate_text_alike(story: Story) -> None:
    collations = story.warehouse.rows(
        "select distinct attcollation::regcollation::text from pg_attribute join pg_class on pg_class.oid = attrelid"
        " where relnamespace = 'marts'::regnamespace and relkind = 'r' and attnum > 0 and attcollation <> 0"
    )
    assert collations == [('"C"',)]


def test_only_models_that_read_a_new_load_run(story: Story) -> None:
    everything, prices, rates, others = (set(story.receipts[step]["details"]["models"]) for step in (3, 4, 5, 6))
    assert {"int_tickers_changed", "int_securities", "fct_price_daily", "fct_return_daily"} <= prices
    assert not prices & {"stg_tiingo__prices", "dim_calendar", "fct_fx_rate", "fct_yield", "fct_fundamental"}
    assert {"fct_fx_rate", "fct_price_daily", "fct_return_daily"} <= rates
    assert not rates & {"int_securities", "fct_yield", "fct_valuation_daily", "fct_fundamental"}
    assert {"fct_yield", "fct_fundamental", "fct_return_daily", "fct_valuation_daily"} <= others
    assert not others & {"fct_fx_rate", "int_prices_adjusted"}
    assert {"fct_fx_rate", "fct_yield", "fct_fundamental"} <= everything
    outcomes = {entry["dataset"]: entry["outcome"] for entry in story.receipts[4]["partitions"]}
    assert outcomes["marts.fct_yield"] == outcomes["marts.fct_freshness"] == "unchanged"
    assert outcomes["marts.fct_price_daily"] == "committed"
    assert set(outcomes) == {entry["dataset"] for entry in story.receipts[0]["partitions"]}


def test_as_of_views_equal_the_marts_of_that_moment(story: Story) -> None:
    """The views read today's tables and return the rows of that moment."""
    for step, known_at in enumerate(story.known_at):
        then = tables(story.warehouse, "as_of", known_at)
        for name, rows in story.marts[step].items():
            assert then[name] == rows, (step, name)
    assert tables(story.warehouse, "as_of") == story.marts[-1]


def test_the_build_after_a_failed_one_is_complete(story: Story) -> None:
    """The failed build made half of the marts and did not record its loads."""
    with story.warehouse.connect() as connection:
        goog = "select load_id from raw._ledger where partition like 'ticker=GOOG%'"
        connection.execute(f"delete from ops.transformed_loads where load_id in ({goog})".encode())
        connection.execute(CHANGE_FINGERPRINT)
        connection.execute("delete from marts.fct_return_daily where ticker = 'GOOG' and trade_date > '2012-06-01'")
    again = recorded_lake.transform(story.warehouse)
    assert again["details"]["changes_only"] is True
    assert tables(story.warehouse) == story.marts[-1]


def test_a_new_column_in_a_raw_table_causes_a_full_build(story: Story) -> None:
    story.warehouse.run('alter table raw.ecb_fx_rates add column "XTS" numeric(18,8)')
    story.warehouse.run(CHANGE_FINGERPRINT)
    assert recorded_lake.transform(story.warehouse)["details"]["changes_only"] is False


def test_the_job_builds_the_marts_of_a_moment(story: Story) -> None:
    """How it returns to now is in the tests of the job."""
    recorded_lake.transform(story.warehouse, "--as-of", story.known_at[1])
    assert tables(story.warehouse) == story.marts[1]
