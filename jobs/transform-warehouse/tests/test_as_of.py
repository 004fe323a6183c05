"""The views of the schema as_of: replaced in one transaction, only if a definition changed, whatever columns a vendor sends."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import psycopg2.errors
import pytest
from transform_warehouse import as_of, build_log
from transform_warehouse.as_of import Model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fixtures_postgres import Warehouse

LOG = logging.getLogger("as_of")
SOURCES = [("raw", "prices"), ("raw", "never_loaded"), ("raw", "_ledger")]
RAW = """
create schema raw;
create table raw._ledger (load_id bigint, known_at timestamptz);
create table raw.prices (_load_id bigint, known_from timestamptz, known_to timestamptz, ticker text, close int);
insert into raw._ledger values (1, '2012-01-01Z'), (2, '2013-01-01Z');
insert into raw.prices values
    (1, '2012-01-01Z', '2013-01-01Z', 'A', 10), (2, '2013-01-01Z', 'infinity', 'A', 11), (2, '2013-01-01Z', 'infinity', 'B', 5);
"""
HOSTILE = [
    'a"b',
    'x" text); create table public.marker (i int); --',
    '"; create table public.marker (i int); --',
    "' || (select 1) || '",
    "$$; create table public.marker (i int); $$",
    "{} {0} %s %% %(a)s",
    "back\\slash",
    "select",
    "caf\u00e9 \u202e \ufeff",
    "{{ var('as_of') }}",
    "prices",
    "x" * 63,
]


def models(database: str, *, columns: str = "ticker, close", mart: str = "ticker, close") -> list[Model]:
    """A staging model and a mart that reads it, as dbt compiles them."""
    return [
        Model("staging", "stg", f'select {columns} from (select * from "{database}"."raw"."prices" where known_to = \'infinity\') as raw'),
        Model("marts", "fct", f'select {mart} from "{database}"."staging"."stg"'),
    ]


def refresh(warehouse: Warehouse, compiled: Sequence[Model]) -> None:
    """Refresh the views as the job does."""
    with build_log.open_build_log(warehouse.url, warehouse.password) as log:
        as_of.refresh_views(log, LOG, compiled, SOURCES, database(warehouse))


def database(warehouse: Warehouse) -> str:
    """The name of the test's database."""
    return warehouse.url.rpartition("/")[2]


def query_as_of(warehouse: Warehouse, moment: str) -> list[tuple[str, int]]:
    """The mart's rows as of a moment; an empty text means now."""
    with warehouse.connect() as connection:
        connection.execute("select set_config('finelt.as_of', %s, false)", [moment])
        return connection.execute("select ticker, close from as_of.fct order by 1").fetchall()


VIEWS = "select oid::bigint, xmin::text from pg_class where relnamespace::regnamespace::text in ('as_of', 'as_of_internal') order by 1"


def test_marts_and_the_relations_they_read_are_in_separate_schemas(warehouse: Warehouse) -> None:
    warehouse.run(RAW)
    refresh(warehouse, models(database(warehouse)))
    names = "select relnamespace::regnamespace::text, relname::text from pg_class where relkind = 'v' and relname !~ '^pg_' order by 1, 2"
    found = [row for row in warehouse.rows(names) if row[0].startswith("as_of")]
    internal = ("_ledger", "_ledger_versions", "prices", "prices_versions", "stg")
    assert found == [("as_of", "fct"), *(("as_of_internal", name) for name in internal)]
    assert query_as_of(warehouse, "2012-06-01 00:00Z") == [("A", 10)]
    assert query_as_of(warehouse, "2013-06-01 00:00Z") == query_as_of(warehouse, "") == [("A", 11), ("B", 5)]


def test_hostile_column_names_stay_columns_and_run_nothing(warehouse: Warehouse) -> None:
    warehouse.run(RAW)
    with warehouse.connect() as connection:
        for name in HOSTILE:
            quoted = '"' + name.replace('"', '""') + '"'
            connection.execute(f"alter table raw.prices add column {quoted} text".encode())
    before = warehouse.rows("select to_jsonb(prices.*) from raw.prices order by 1")
    refresh(warehouse, models(database(warehouse)))
    columns = warehouse.rows("select attname::text from pg_attribute where attrelid = 'as_of_internal.prices'::regclass order by attnum")
    assert [name for (name,) in columns][5:] == HOSTILE
    assert warehouse.rows("select to_regclass('public.marker') is null") == [(True,)]
    assert warehouse.rows("select to_jsonb(prices.*) from raw.prices order by 1") == before
    assert query_as_of(warehouse, "2012-06-01 00:00Z") == [("A", 10)]


def test_unchanged_views_are_not_replaced(warehouse: Warehouse) -> None:
    """A reader may be using them."""
    warehouse.run(RAW)
    refresh(warehouse, models(database(warehouse)))
    before = warehouse.rows(VIEWS)
    with warehouse.connect(autocommit=False) as reader:
        reader.execute("select * from as_of.fct")
        refresh(warehouse, models(database(warehouse)))  # would wait for the reader
    assert warehouse.rows(VIEWS) == before
    warehouse.run("drop view as_of.fct")
    refresh(warehouse, models(database(warehouse)))
    assert query_as_of(warehouse, "2012-06-01 00:00Z") == [("A", 10)]


def test_a_failed_change_leaves_every_view_unchanged(warehouse: Warehouse) -> None:
    warehouse.run(RAW)
    refresh(warehouse, models(database(warehouse)))
    before = warehouse.rows(VIEWS)
    broken = models(database(warehouse), columns="ticker, close + 1 as close", mart="ticker, no_such_column as close")
    with build_log.open_build_log(warehouse.url, warehouse.password) as log, pytest.raises(psycopg2.errors.UndefinedColumn):
        as_of.refresh_views(log, LOG, broken, SOURCES, database(warehouse))
    assert warehouse.rows(VIEWS) == before
    assert query_as_of(warehouse, "2013-06-01 00:00Z") == [("A", 11), ("B", 5)]


def test_a_users_view_stays_while_its_columns_exist(warehouse: Warehouse, caplog: pytest.LogCaptureFixture) -> None:
    warehouse.run(RAW)
    refresh(warehouse, models(database(warehouse)))
    warehouse.run("create view public.mine as select ticker from as_of.fct; alter table raw.prices add column volume int")
    refresh(warehouse, models(database(warehouse), columns="ticker, close, volume", mart="ticker, close, volume"))
    assert warehouse.rows("select count(*) from public.mine") == [(2,)]
    assert not caplog.records
    refresh(warehouse, models(database(warehouse), mart="ticker as symbol, close, ticker"))
    assert warehouse.rows("select to_regclass('public.mine') is null") == [(True,)]
    assert [record.__dict__["dropped"] for record in caplog.records] == ["view mine"]


def test_views_of_an_older_version_are_replaced(warehouse: Warehouse) -> None:
    warehouse.run(RAW)
    warehouse.run(
        "create schema as_of; create function as_of.moment() returns timestamptz language sql stable as 'select now()';"
        "create view as_of.prices as select * from raw.prices where known_from <= as_of.moment();"
        "create view as_of.stg as select ticker, close from as_of.prices; create view as_of.fct as select close, ticker from as_of.stg"
    )
    refresh(warehouse, models(database(warehouse)))
    assert warehouse.rows("select relname::text from pg_class where relnamespace = 'as_of'::regnamespace") == [("fct",)]
    assert query_as_of(warehouse, "2012-06-01 00:00Z") == [("A", 10)]


def test_a_mart_has_only_rows_that_were_public_and_had_reached_us(warehouse: Warehouse) -> None:
    warehouse.run(RAW)
    warehouse.run("alter table raw.prices add column published timestamptz; update raw.prices set published = known_from + interval '1 h'")
    warehouse.run("insert into raw.prices values (1, '2012-01-01Z', 'infinity', 'C', 7, '2012-07-01 20:00Z')")
    raw = f'(select * from "{database(warehouse)}"."raw"."prices" where known_to = \'infinity\') as raw'
    fact = f"select ticker, close, (published at time zone 'America/New_York')::date as known_from from {raw} -- a comment at the end"
    refresh(
        warehouse,
        [
            Model("marts", "fct", f"select ticker, close, published as known_at from {raw}", columns={"known_at": "timestamptz"}),
            Model("marts", "fct_fact", fact, columns={"known_from": "date"}),
            Model("staging", "stg", f"select ticker, published as known_at from {raw}", columns={"known_at": "timestamptz"}),
        ],
    )
    assert query_as_of(warehouse, "2012-01-01 00:59Z") == []
    assert query_as_of(warehouse, "2012-01-01 01:00Z") == query_as_of(warehouse, "2012-07-01 19:59Z") == [("A", 10)]
    assert query_as_of(warehouse, "2012-07-01 20:00Z") == [("A", 10), ("C", 7)]
    assert query_as_of(warehouse, "") == [("A", 11), ("B", 5), ("C", 7)]
    facts = "select ticker from as_of.fct_fact order by 1"
    for moment, tickers in (("2012-07-01 03:59Z", ["A"]), ("2012-07-01 04:00Z", ["A", "C"])):  # midnight in New York
        with warehouse.connect() as connection:
            connection.execute("select set_config('finelt.as_of', %s, false)", [moment])
            assert [ticker for (ticker,) in connection.execute(facts).fetchall()] == tickers


SEEDS = """
create schema intermediate; create schema marts; create schema staging;
create table intermediate.holidays (day date unique, name text);
insert into intermediate.holidays values ('2012-12-25', 'it''s "Christmas"'), ('2013-01-01', null);
create table marts.dim_day as select day from intermediate.holidays;
"""


def models_with_seeds(database: str) -> list[Model]:
    """A seed, a mart of it alone, and the mart of prices, which reads the seed as well."""
    return [
        Model("intermediate", "holidays", "", is_copied=True),
        Model("marts", "dim_day", f'select day from "{database}"."intermediate"."holidays"', is_copied=True),
        models(database)[0],
        Model(
            "marts",
            "fct",
            f'select ticker, close, (select count(*) from "{database}"."intermediate"."holidays") as holidays'
            f' from "{database}"."staging"."stg"',
        ),
    ]


def test_seeds_and_models_of_seeds_alone_are_copied(warehouse: Warehouse) -> None:
    """A build drops seeds and tables with every view on them; readers of as_of must not notice."""
    warehouse.run(RAW + SEEDS)
    refresh(warehouse, models_with_seeds(database(warehouse)))
    found = "select c.oid::regclass::text, relkind::text from pg_class c where c.oid = any(array[{}]::regclass[]) order by 1"
    kinds = warehouse.rows(found.format("'as_of.dim_day', 'as_of_internal.holidays', 'as_of.fct'"))
    assert kinds == [("as_of.dim_day", "r"), ("as_of.fct", "v"), ("as_of_internal.holidays", "r")]
    warehouse.run("create view public.mine as select day from as_of.dim_day; drop table intermediate.holidays, marts.dim_day cascade")
    assert warehouse.rows("select ticker, close, holidays from as_of.fct order by 1") == [("A", 11, 2), ("B", 5, 2)]
    assert warehouse.rows("select count(*) from public.mine") == [(2,)]


def test_a_copied_table_has_the_rows_and_columns_of_the_latest_build(warehouse: Warehouse) -> None:
    warehouse.run(RAW + SEEDS)
    compiled = models_with_seeds(database(warehouse))
    refresh(warehouse, compiled)
    before = warehouse.rows(VIEWS)
    refresh(warehouse, compiled)
    assert warehouse.rows(VIEWS) == before
    warehouse.run("create view public.mine as select day from as_of.dim_day; delete from intermediate.holidays where name is null")
    refresh(warehouse, compiled)
    assert warehouse.rows("select distinct holidays from as_of.fct") == [(1,)]
    assert warehouse.rows("select count(*) from public.mine") == [(2,)]
    warehouse.run("alter table intermediate.holidays add column is_early boolean default true")
    refresh(warehouse, compiled)
    assert warehouse.rows("select is_early from as_of_internal.holidays") == [(True,)]
    assert warehouse.rows("select distinct holidays from as_of.fct") == [(1,)]
    refresh(warehouse, models(database(warehouse)))
    tables = "select relname::text from pg_class where relnamespace::regnamespace::text in ('as_of', 'as_of_internal') and relkind = 'r'"
    assert warehouse.rows(tables) == []


def test_a_view_is_replaced_by_a_table(warehouse: Warehouse) -> None:
    warehouse.run(RAW + SEEDS)
    compiled = models_with_seeds(database(warehouse))
    refresh(warehouse, [Model(model.schema, model.name, model.code or "select 1 as x") for model in compiled[1:]])
    refresh(warehouse, compiled)
    assert warehouse.rows("select count(*) from as_of.dim_day") == [(2,)]


PRICES = """
create schema raw;
create table raw._ledger (load_id bigint, known_at timestamptz);
create table raw.tiingo_prices (
    _load_id bigint, known_from timestamptz, known_to timestamptz, ticker text collate "C", date date, close int, prices text
) partition by range (date);
create table raw."tiingo_prices-2012" partition of raw.tiingo_prices for values from ('2012-01-01') to ('2013-01-01');
create unique index on raw."tiingo_prices-2012" (date, ticker, known_from);
insert into raw.tiingo_prices
select 1, '2012-06-01Z', 'infinity', 'T' || ticker, date '2012-01-01' + day, ticker
from generate_series(1, 30) as ticker, generate_series(1, 100) as day;
update raw.tiingo_prices set known_to = '2012-07-01Z' where ticker = 'T3' and date = '2012-01-02';
insert into raw.tiingo_prices values
    (2, '2012-07-01Z', 'infinity', 'T3', '2012-01-02', 1003), (2, '2012-07-01Z', 'infinity', 'T31', '2012-01-02', 31);
analyze raw.tiingo_prices;
"""


def refresh_prices(warehouse: Warehouse) -> None:
    """Refresh the view of a mart that adds up the closes of linked tickers. T1 and T2 are linked."""
    raw = f'(select * from "{database(warehouse)}"."raw"."tiingo_prices" where known_to = \'infinity\') as raw'
    total = f'select ticker, date, sum(close) over (partition by date) as close from "{database(warehouse)}"."staging"."stg"'
    links = "select t.* from (values ('T1' collate \"C\", 'T2' collate \"C\"), ('T2', 'T1')) as t (ticker, linked_ticker)"
    compiled = [
        Model("staging", "stg", f"select ticker, date, close from {raw}", per_ticker=True),
        Model("marts", "fct", total, per_ticker=True, as_of_key="ticker"),
        Model("intermediate", "int_linked_tickers", links),
    ]
    with build_log.open_build_log(warehouse.url, warehouse.password) as log:
        as_of.refresh_views(log, LOG, compiled, [("raw", "tiingo_prices"), ("raw", "_ledger")], database(warehouse))


def test_a_ticker_is_computed_with_those_linked_with_it(warehouse: Warehouse) -> None:
    warehouse.run(PRICES)
    refresh_prices(warehouse)
    rows = query_as_of(warehouse, "2012-06-15 00:00Z")
    assert len(rows) == 3000
    assert {row for row in rows if row[0] in ("T1", "T2", "T3", "T31")} == {("T1", 3), ("T2", 3), ("T3", 3)}
    now = query_as_of(warehouse, "")
    assert len(now) == 3001
    assert sorted(row for row in now if row[0] in ("T3", "T31")) == [("T3", 3)] * 99 + [("T3", 1003), ("T31", 31)]


def test_a_condition_on_the_ticker_reads_its_prices_only(warehouse: Warehouse) -> None:
    """However few rows there are: Postgres has no other way to compute the view."""
    warehouse.run(PRICES)
    refresh_prices(warehouse)
    ((plan,),) = warehouse.rows(
        "explain (analyze, timing off, format json) select * from as_of.fct where ticker = 'T1' and date = '2012-01-05'"
    )
    nodes, read = [plan[0]["Plan"]], 0
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if node.get("Relation Name") == "tiingo_prices-2012":
            read += node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
    assert 200 <= read <= 210  # those of T1 and T2, and the first and the last day
