"""The schema as_of: every mart as a view of what was known at a moment that the session sets.

    set finelt.as_of = '2013-01-15 12:00Z'; select * from as_of.fct_price_daily;

A row is known at a moment if it had reached us and was public: the views are the models' SQL over the versions of raw rows that we had
then, without the rows of marts that were published later. The marts are in as_of. Everything they read, vendors' rows
included, is in as_of_internal: a view reads with the rights of its owner, so users with access to as_of alone read marts only.

Seeds and models made of seeds alone are the same at every moment. They are copied as tables, because a view on the original would be
dropped with it at the next build. All changes happen in one transaction, and only if a definition or a copied row changed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any

import psycopg2.errors  # type: ignore[import-untyped]
from psycopg2 import sql

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from transform_warehouse.build_log import BuildLog

MARTS, INTERNAL = "as_of", "as_of_internal"
SCHEMAS = {
    MARTS: "The marts as known at the moment of the setting finelt.as_of.",
    INTERNAL: "What the views of the schema as_of read.",
}
RESTATED = "stg_lake__restated_cells"  # reads all versions of a row, as do models whose name ends with _versions
LEDGER = ("raw", "_ledger")
PRICES, PRICES_BY_DAY = "tiingo_prices", "tiingo_prices_by_day"
LINKED_TICKERS = "int_linked_tickers"
TICKER_YEARS, PRICE_VERSIONS = "int_ticker_years", "stg_tiingo__price_versions"
LOCK_TIMEOUT_MS = 60_000
# The pattern and the two comparisons leave only valid moments to the cast: a function that catches errors would keep queries from
# running in parallel. The job's option --as-of accepts and refuses the same, in the same words (moment.py).
MOMENT = """
create or replace function as_of.moment() returns timestamptz language plpgsql stable parallel safe as $body$
declare
    setting text := nullif(current_setting('finelt.as_of', true), '');
    day text := '(?!0000)\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])';
    time_of_day text := '([01]\\d|2[0-3]):[0-5]\\d(:[0-5]\\d(\\.\\d{1,6})?)?';
    zone text := '(Z|[+-](0\\d|1[0-5])(:?[0-5]\\d)?)';
begin
    if setting is null then
        return '9999-12-31 00:00:00Z';
    elsif setting !~ ('^' || day || '[T ]' || time_of_day || zone || '$')
        or to_char((left(setting, 8) || '01')::date + substr(setting, 9, 2)::int - 1, 'YYYY-MM-DD') <> left(setting, 10)
        or setting::timestamptz > clock_timestamp()
    then
        raise exception using errcode = 'invalid_parameter_value', message = format(
            'as-of is %L; expected a moment that has passed, with its time zone, such as 2013-01-15T12:00:00Z', setting
        );
    end if;
    return setting::timestamptz;
end
$body$
"""
_DROPPED = re.compile(r"^(?:\w+:\s+)?drop cascades to (\D.*)$", re.MULTILINE)  # a notice that names one object
_MOMENT = sql.SQL("(select as_of.moment())")
# The key of the raw table begins with the day, so the prices of a ticker are found by one lookup a day. DISTINCT ON keeps every row, and
# keeps Postgres from another join than that, yet lets a condition on the ticker pass. `prices.*` and not `prices`, which a vendor may add
# as a column.
_PRICES_BY_DAY = """
select prices.*
from (select generate_series(min(date), max(date), interval '1 day')::date as day from {raw}) as days
cross join lateral (
    select distinct on (versions.ticker, versions.known_from) versions.*
    from {versions} as versions
    where versions.date = days.day
    order by versions.ticker, versions.known_from
) as prices
"""
_BY_TICKER = """
with all_links as materialized (select * from {linked})
select model.*
from (select prices.ticker, array_agg(prices.*) as prices from {by_day} as prices group by prices.ticker) as known
cross join lateral (select array_agg(all_links.linked_ticker) as tickers from all_links where all_links.ticker = known.ticker) as linked
inner join lateral (
    with {prices} as materialized (
        select * from unnest(known.prices)
        union all
        select * from {by_day} as prices where linked.tickers is not null and prices.ticker = any(linked.tickers)
    ),
    {parts}
    select * from {model}
) as model on model.{key} = known.ticker
"""
# A year of a ticker that no load changed after the moment is as the last build left it. The others are computed from the prices of their
# years, which Postgres selects as it begins; all are, if the last build was one as of a moment, or lacks a load.
_TICKER_YEARS = """
with state as materialized (
    select
        coalesce((select as_of is null from ops.transforms order by transform_id desc limit 1), false)
        and not exists (
            select from raw._ledger as loads
            where loads.dataset = {prices} and not exists (select from ops.transformed_loads as built where built.load_id = loads.load_id)
        ) as is_built
),
known as materialized (select * from {built}() where first_known_at <= {moment}),
changed as materialized (select ticker collate "C" as ticker, price_year from known where last_known_at > {moment}),
span as materialized (
    select
        case when is_built then (select make_date(min(price_year), 1, 1) from changed) else '-infinity' end as first_day,
        case when is_built then (select make_date(max(price_year), 12, 31) from changed) else 'infinity' end as last_day
    from state
)
select
    ticker collate "C" as ticker, price_year, currency collate "C" as currency, first_session, last_session, first_current_session,
    last_current_session, first_known_at, last_known_at
from known
where (select is_built from state) and last_known_at <= {moment}
union all
select
    ticker, price_year, currency, first_session, last_session, first_current_session, last_current_session, first_known_at, last_known_at
from ({model}) as changed_years
"""
_CHANGED_PRICES = """(
    select *
    from {versions}
    where
        trade_date >= (select first_day from span)
        and trade_date <= (select last_day from span)
        and (
            not (select is_built from state)
            or (ticker, extract(year from trade_date)::integer) in (select changed.ticker, changed.price_year from changed)
        )
) as changed_prices"""
# A build drops the table, and with it each view on it, but a function finds the new one by its name. It has the rights of its owner, as a
# view has, and so belongs to the role that builds the table.
_BUILT_TICKER_YEARS = """
create or replace function as_of_internal.built_ticker_years() returns table (
    ticker text, price_year integer, currency text, first_session date, last_session date, first_current_session date,
    last_current_session date, first_known_at timestamptz, last_known_at timestamptz
) language sql stable parallel safe security definer rows 20000 set search_path = '' as $body$
    select
        ticker, price_year, currency, first_session, last_session, first_current_session,
        last_current_session, first_known_at, last_known_at
    from intermediate.int_ticker_years
$body$;
alter function as_of_internal.built_ticker_years() owner to current_user
"""
_RAW_COLUMNS = """
select n.nspname::text as schema, c.relname::text as table, c.oid::text, array_agg(a.attname::text order by a.attnum) as columns
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where (n.nspname, c.relname) in (select * from unnest(%s::text[], %s::text[])) and c.relkind in ('r', 'p', 'v')
group by 1, 2, 3
"""
_EXISTING = """
select n.nspname::text, c.relname::text, c.relkind = 'r' from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'v') and n.nspname = any(%s)
"""
_COLUMNS = """
select array_agg((attname, atttypid, atttypmod, attcollation)::text order by attnum)
from pg_attribute
where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped
"""
_ROWS_DIGEST = "select md5(string_agg(md5((copied.*)::text), '' order by (copied.*)::text collate \"C\")) from ({}) as copied"


@dataclass(frozen=True)
class Model:
    """A model as dbt compiled it, or a seed, with the types of the columns that its YAML declares.

    `is_copied` is whether it is made of seeds alone, so the same at every moment. The last two are its meta of these names.
    """

    schema: str
    name: str
    code: str
    is_copied: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    per_ticker: bool = False
    as_of_key: str | None = None


@dataclass(frozen=True)
class View:
    """A view to create. Its query reads only views before it. With `copied_from`, it is a table with that table's columns and rows."""

    schema: str
    name: str
    query: sql.Composable
    copied_from: sql.Identifier | None = None

    @property
    def relation(self) -> sql.Identifier:
        """The view's name as SQL."""
        return sql.Identifier(self.schema, self.name)


def refresh_views(
    build_log: BuildLog, log: logging.Logger, models: Sequence[Model], sources: Iterable[tuple[str, str]], database: str
) -> None:
    """Create or replace the views of these models, and drop those of others. `sources` are the raw tables, as schema and name.

    Users' own views on ours stay, unless a column they may use is gone or has another type. Dropped ones are logged.
    """
    schemas, names = zip(*sources, strict=True)
    rows = build_log.execute(_RAW_COLUMNS, list(schemas), list(names))
    raw_columns = {(row["schema"], row["table"]): list(row["columns"]) for row in rows}
    views = list(build_views(models, raw_columns, database))
    raw_tables = sorted(row["oid"] for row in rows)  # a view reads a table by its oid, and a reload puts another in its place

    def change(cursor: Any) -> list[str]:  # noqa: ANN401  psycopg2 has no types
        digest = _compute_digest(views, raw_tables, cursor)
        cursor.execute(_EXISTING, [list(SCHEMAS)])
        existing = set(cursor.fetchall())
        cursor.execute("select obj_description(to_regnamespace('as_of'), 'pg_namespace')")
        is_same = str(cursor.fetchone()[0]).endswith(digest)
        if is_same and existing == {(view.schema, view.name, view.copied_from is not None) for view in views}:
            return []
        return _replace_views(cursor, views, existing, digest)

    for dropped in build_log.run_in_transaction(change):
        log.warning("dropped with the as-of views that it read", extra={"dropped": dropped})


def build_views(models: Sequence[Model], raw_columns: Mapping[tuple[str, str], Sequence[str]], database: str) -> Iterator[View]:
    """Yield the views in the order they depend on each other: raw tables by their columns, then the models, which come in order."""
    current: list[tuple[str, str]] = []
    versions: list[tuple[str, str]] = []
    for (schema, name), columns in raw_columns.items():
        original_name = _render_relation(database, schema, name)
        current.append((original_name, _render_relation(INTERNAL, name)))
        versions.append((original_name, _render_relation(INTERNAL, f"{name}_versions")))
        yield View(INTERNAL, name, _select_known_rows(schema, name, columns))
        yield View(INTERNAL, f"{name}_versions", _select_known_versions(schema, name, columns))
        if name == PRICES:
            identifiers = {"raw": sql.Identifier(schema, name), "versions": sql.Identifier(INTERNAL, f"{name}_versions")}
            yield View(INTERNAL, PRICES_BY_DAY, sql.SQL(_PRICES_BY_DAY).format(**identifiers))
    prices_view = _render_relation(INTERNAL, PRICES)
    schemas = {model.name: MARTS if model.schema == "marts" else INTERNAL for model in models}
    renamed = [
        (_render_relation(database, model.schema, model.name), _render_relation(schemas[model.name], model.name)) for model in models
    ]

    def render(model: Model, parts: Sequence[Model] = ()) -> str:
        """Return a model's SQL on views of as_of, and on subqueries in place of `parts` and the prices."""
        subqueries = [(_render_relation(database, part.schema, part.name), _render_relation(part.name)) for part in parts]
        prices = [(original_name, _render_relation(PRICES)) for original_name, view in current if parts and view == prices_view]
        raw = versions if model.name == RESTATED or model.name.endswith("_versions") else current
        return reduce(lambda code, pair: code.replace(*pair), [*subqueries, *prices, *renamed, *raw], model.code)

    has_tickers = any(view == prices_view for _, view in current) and any(model.name == LINKED_TICKERS for model in models)
    for model in _move_first(LINKED_TICKERS, models, database):
        if model.is_copied:
            original = sql.Identifier(model.schema, model.name)
            yield View(schemas[model.name], model.name, sql.SQL("select * from {}").format(original), original)
        elif model.as_of_key and has_tickers:
            parts = _find_upstream(model.name, [part for part in models if part.per_ticker], database)
            subqueries = {part.name: sql.SQL(render(part, parts)) for part in parts}
            subqueries[model.name] = _select_public_rows(model, subqueries[model.name])
            yield View(schemas[model.name], model.name, _select_by_ticker(model.name, model.as_of_key, subqueries))
        elif model.name == TICKER_YEARS and LEDGER in raw_columns:  # which the first load creates
            yield View(schemas[model.name], model.name, _select_ticker_years(render(model)))
        else:
            yield View(schemas[model.name], model.name, _select_public_rows(model, sql.SQL(render(model))))


def _move_first(name: str, models: Sequence[Model], database: str) -> list[Model]:
    """Return the models in order, but first the named one and what it reads."""
    first = _find_upstream(name, models, database)
    return [*first, *(model for model in models if model not in first)]


def _find_upstream(name: str, models: Sequence[Model], database: str) -> list[Model]:
    """Return those of the models that the named one reads, also through others of them, and itself, in order."""
    found = {name}
    for model in reversed(models):
        if model.name in found:
            found |= {other.name for other in models if _render_relation(database, other.schema, other.name) in model.code}
    return [model for model in models if model.name in found]


def _select_by_ticker(model: str, key: str, subqueries: Mapping[str, sql.Composable]) -> sql.Composed:
    """Return the query that computes a model one ticker after another, each from the prices of that ticker and of those linked with it.

    A view has no parameters, so all models between the prices and this one are subqueries of it. Postgres turns a condition on `key`, the
    model's column with the ticker, into one on the prices, and then reads and computes this ticker only.
    """
    parts = [sql.SQL("{} as (\n{}\n)").format(sql.Identifier(name), query) for name, query in subqueries.items()]
    return sql.SQL(_BY_TICKER).format(
        by_day=sql.Identifier(INTERNAL, PRICES_BY_DAY),
        linked=sql.Identifier(INTERNAL, LINKED_TICKERS),
        prices=sql.Identifier(PRICES),
        parts=sql.SQL(",\n").join(parts),
        model=sql.Identifier(model),
        key=sql.Identifier(key),
    )


def _select_ticker_years(code: str) -> sql.Composed:
    """Return the query for int_ticker_years, whose SQL on views of as_of is `code`: from the last build where it may be."""
    versions = _render_relation(INTERNAL, PRICE_VERSIONS)
    model = code.replace(versions, _CHANGED_PRICES.format(versions=versions))
    built = sql.Identifier(INTERNAL, "built_ticker_years")
    return sql.SQL(_TICKER_YEARS).format(built=built, moment=_MOMENT, model=sql.SQL(model), prices=sql.Literal(PRICES))


def _select_public_rows(model: Model, query: sql.SQL) -> sql.Composable:
    """Return the query for the rows of a mart that were public at the moment, as delete_unpublished_rows.sql leaves them in a build."""
    if model.schema == "marts" and "known_at" in model.columns:
        condition = sql.SQL("known_at <= {}").format(_MOMENT)
    elif model.schema == "marts" and model.columns.get("known_from") == "date":
        condition = sql.SQL("known_from <= ({} at time zone 'America/New_York')::date").format(_MOMENT)
    else:
        return query
    return sql.SQL("select * from (\n{}\n) as mart where {}").format(query, condition)


def _render_relation(*names: str) -> str:
    """Return a relation as dbt renders it in compiled SQL. The names come from the project."""
    return ".".join(f'"{name}"' for name in names)


def _select_known_rows(schema: str, name: str, columns: Sequence[str]) -> sql.Composed:
    """Return the query for a raw table's rows that were current at the moment."""
    known = _select(schema, name, columns, sql.SQL("'infinity'::timestamptz"))
    return known + sql.SQL(" and known_to > ") + _MOMENT if "known_to" in columns else known


def _select_known_versions(schema: str, name: str, columns: Sequence[str]) -> sql.Composed:
    """Return the query for all versions of rows known by the moment. Rows closed after that moment are shown as open."""
    return _select(schema, name, columns, sql.SQL("case when known_to > {} then 'infinity' else known_to end").format(_MOMENT))


def _select(schema: str, name: str, columns: Sequence[str], known_to: sql.Composable) -> sql.Composed:
    """Return the query for rows known by the moment, with `known_to` in place of that column."""
    since = sql.Identifier("known_from" if "known_from" in columns else "known_at")
    named = [
        sql.SQL("{} as known_to").format(known_to) if column == "known_to" else sql.Composed([sql.Identifier(column)]) for column in columns
    ]
    return sql.SQL("select {} from {} where {} <= {}").format(sql.SQL(", ").join(named), sql.Identifier(schema, name), since, _MOMENT)


def _compute_digest(views: Sequence[View], raw_tables: Sequence[str], cursor: Any) -> str:  # noqa: ANN401
    """Hash all definitions, the oids of the raw tables and the rows to copy."""
    functions = [sql.SQL(MOMENT), sql.SQL(_BUILT_TICKER_YEARS)]
    definitions = sql.Composed([*functions, *(part for view in views for part in (view.relation, view.query))])
    digest = hashlib.sha256(" ".join([*raw_tables, definitions.as_string(cursor)]).encode())
    for view in views:
        if view.copied_from is not None:
            digest.update(str(_fetch_columns(cursor, view.copied_from)).encode())
            cursor.execute(sql.SQL(_ROWS_DIGEST).format(view.query))
            digest.update(str(cursor.fetchone()[0]).encode())
    return digest.hexdigest()[:16]


def _fetch_columns(cursor: Any, relation: sql.Identifier) -> list[str] | None:  # noqa: ANN401
    """Return names and types of a relation's columns, in order; None if there is no such relation."""
    cursor.execute(_COLUMNS, [relation.as_string(cursor)])
    return cursor.fetchone()[0]  # type: ignore[no-any-return]


def _replace_views(
    cursor: Any,  # noqa: ANN401
    views: Sequence[View],
    existing: set[tuple[str, str, bool]],
    digest: str,
) -> list[str]:
    """Create the schemas, the function and the views in the open transaction; return the users' own objects that were dropped."""
    notices = cursor.connection.notices
    notices.clear()
    cursor.execute(sql.SQL("set local lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT_MS)))
    for schema, comment in SCHEMAS.items():
        cursor.execute("select to_regnamespace(%s) is null", [schema])
        if cursor.fetchone()[0]:  # IF NOT EXISTS would need the right to create schemas as well
            cursor.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
        cursor.execute(sql.SQL("comment on schema {} is {}").format(sql.Identifier(schema), sql.Literal(f"{comment} {digest}")))
    cursor.execute(MOMENT)
    if any(view.name == TICKER_YEARS for view in views):
        cursor.execute(_BUILT_TICKER_YEARS)
    is_table = {(schema, name): is_table for schema, name, is_table in existing}
    for view in views:
        if is_table.get((view.schema, view.name)) is (view.copied_from is None):
            _drop(cursor, view.relation, is_table=view.copied_from is None)
        _create_view(cursor, view) if view.copied_from is None else _copy_table(cursor, view, view.copied_from)
    for schema, name in sorted(is_table.keys() - {(view.schema, view.name) for view in views}):
        _drop(cursor, sql.Identifier(schema, name), is_table=is_table[schema, name])
    dropped = (match[1] for notice in notices for match in _DROPPED.finditer(notice))
    return [name for name in dropped if not name.startswith(tuple(f"view {schema}." for schema in SCHEMAS))]


def _create_view(cursor: Any, view: View) -> None:  # noqa: ANN401
    """Create or replace a view. If its columns changed, drop it first with everything that depends on it."""
    statement = sql.SQL("create or replace view {} as {}").format(view.relation, view.query)
    cursor.execute("savepoint before_view")
    try:
        cursor.execute(statement)
    except psycopg2.errors.InvalidTableDefinition:
        cursor.execute("rollback to savepoint before_view")
        _drop(cursor, view.relation, is_table=False)
        cursor.execute(statement)
    cursor.execute("release savepoint before_view")


def _copy_table(cursor: Any, view: View, original: sql.Identifier) -> None:  # noqa: ANN401
    """Copy a table's rows to a table of the same columns, which is created if it does not exist or has other columns."""
    columns = _fetch_columns(cursor, view.relation)
    if columns is not None and columns != _fetch_columns(cursor, original):
        _drop(cursor, view.relation, is_table=True)
        columns = None
    if columns is None:
        cursor.execute(sql.SQL("create table {} (like {} including indexes)").format(view.relation, original))
    cursor.execute(sql.SQL("delete from {}").format(view.relation))  # TRUNCATE would empty it for readers with an older snapshot
    cursor.execute(sql.SQL("insert into {} {}").format(view.relation, view.query))
    cursor.execute(sql.SQL("analyze {}").format(view.relation))


def _drop(cursor: Any, relation: sql.Identifier, *, is_table: bool) -> None:  # noqa: ANN401
    """Drop a view or table, if it still exists, with everything that depends on it."""
    kind = sql.SQL("table" if is_table else "view")
    cursor.execute(sql.SQL("drop {} if exists {} cascade").format(kind, relation))
