"""The schema as_of: every mart as a plain view of what was known at a moment that the session sets. Nothing is built.

    set finelt.as_of = '2013-01-15 12:00Z'; select * from as_of.fct_price_daily;

The views are the models' own SQL over the raw tables as they were known then. Marts are in as_of; what they stand on, vendors' rows
included, is in as_of_internal, so that whoever may read as_of reads marts alone: a view reads with the rights of its owner. Seeds, and
models made of seeds alone, are the same at every moment: they are copied as tables, as a view on the original would be dropped with it at
the next build. All of it changes in one transaction, and only where a definition or a copied row changed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import psycopg2.errors  # type: ignore[import-untyped]
from psycopg2 import sql

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from transform_warehouse.build_log import Books

MARTS, INTERNAL = "as_of", "as_of_internal"
SCHEMAS = {
    MARTS: "The marts as known at the moment of the setting finelt.as_of.",
    INTERNAL: "What the views of the schema as_of stand on.",
}
RESTATED = "stg_lake__cells_restated"  # asks which versions of a row there were, as do models whose name ends with _versions
LOCK_TIMEOUT_MS = 60_000
# The pattern and the two comparisons leave nothing to the cast that follows them but a moment that there was: a function that catches
# errors would keep a query from running in parallel. The job's option --as-of takes and refuses the same, in the same words.
MOMENT = """
create or replace function as_of.moment() returns timestamptz language plpgsql stable parallel safe as $body$
declare
    given text := nullif(current_setting('finelt.as_of', true), '');
    day text := '(?!0000)\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])';
    time_of_day text := '([01]\\d|2[0-3]):[0-5]\\d(:[0-5]\\d(\\.\\d{1,6})?)?';
    zone text := '(Z|[+-](0\\d|1[0-5])(:?[0-5]\\d)?)';
begin
    if given is null then
        return '9999-12-31 00:00:00Z';
    elsif given !~ ('^' || day || '[T ]' || time_of_day || zone || '$')
        or to_char((left(given, 8) || '01')::date + substr(given, 9, 2)::int - 1, 'YYYY-MM-DD') <> left(given, 10)
        or given::timestamptz > clock_timestamp()
    then
        raise exception using errcode = 'invalid_parameter_value', message = format(
            'as-of is %L; expected a moment that has passed, with its time zone, such as 2013-01-15T12:00:00Z', given
        );
    end if;
    return given::timestamptz;
end
$body$
"""
_GONE = re.compile(r"^(?:\w+:\s+)?drop cascades to (\D.*)$", re.MULTILINE)  # a line that names one object
_MOMENT = sql.SQL("(select as_of.moment())")
_RAW_COLUMNS = """
select n.nspname::text as schema, c.relname::text as table, array_agg(a.attname::text order by a.attnum) as columns
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where (n.nspname, c.relname) in (select * from unnest(%s::text[], %s::text[])) and c.relkind in ('r', 'p', 'v')
group by 1, 2
"""
_THERE = """
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
    """A model as dbt compiled it, or a seed. `is_copied`: it is the same at every moment, as it is made of seeds alone."""

    schema: str
    name: str
    code: str
    is_copied: bool = False


@dataclass(frozen=True)
class View:
    """A view to be: its query refers only to views before it. With `copied_from` it is a table like that one, with its rows."""

    schema: str
    name: str
    query: sql.Composable
    copied_from: sql.Identifier | None = None

    @property
    def relation(self) -> sql.Identifier:
        """Its name as SQL takes it."""
        return sql.Identifier(self.schema, self.name)


def refresh(book: Books, log: logging.Logger, models: Sequence[Model], sources: Iterable[tuple[str, str]], database: str) -> None:
    """Make the views what the models say. `sources` are the raw tables, as schema and name.

    Views of others that stand on ours stay, unless a column they may use is gone or has another type: then the log says which went.
    """
    schemas, names = zip(*sources, strict=True)
    found = book.rows(_RAW_COLUMNS, list(schemas), list(names))
    raw = {(row["schema"], row["table"]): list(row["columns"]) for row in found}
    wanted = list(views(models, raw, database))

    def change(cursor: Any) -> list[str]:  # noqa: ANN401  psycopg2 has no types
        digest = _digest(wanted, cursor)
        cursor.execute(_THERE, [list(SCHEMAS)])
        there = set(cursor.fetchall())
        cursor.execute("select obj_description(to_regnamespace('as_of'), 'pg_namespace')")
        is_same = str(cursor.fetchone()[0]).endswith(digest)
        if is_same and there == {(view.schema, view.name, view.copied_from is not None) for view in wanted}:
            return []
        return _replace(cursor, wanted, there, digest)

    for what in book.in_transaction(change):
        log.warning("dropped with the as-of views it stood on", extra={"dropped": what})


def views(models: Sequence[Model], raw: Mapping[tuple[str, str], Sequence[str]], database: str) -> Iterator[View]:
    """The views in the order in which they stand on each other: raw tables by their columns, then the models, which come in order."""
    moved: list[tuple[str, str]] = []
    with_versions: list[tuple[str, str]] = []
    for (schema, name), columns in raw.items():
        was = _as_dbt_writes(database, schema, name)
        moved.append((was, _as_dbt_writes(INTERNAL, name)))
        with_versions.append((was, _as_dbt_writes(INTERNAL, f"{name}_versions")))
        yield View(INTERNAL, name, _known_rows(schema, name, columns))
        yield View(INTERNAL, f"{name}_versions", _known_versions(schema, name, columns))
    places = {model.name: MARTS if model.schema == "marts" else INTERNAL for model in models}
    between = [(_as_dbt_writes(database, model.schema, model.name), _as_dbt_writes(places[model.name], model.name)) for model in models]
    for model in models:
        if model.is_copied:
            original = sql.Identifier(model.schema, model.name)
            yield View(places[model.name], model.name, sql.SQL("select * from {}").format(original), original)
            continue
        pairs = between + (with_versions if model.name == RESTATED or model.name.endswith("_versions") else moved)
        yield View(places[model.name], model.name, sql.SQL(reduce(lambda code, pair: code.replace(*pair), pairs, model.code)))


def _as_dbt_writes(*names: str) -> str:
    """A relation as dbt renders it, to be found in compiled SQL. Names are the project's own."""
    return ".".join(f'"{name}"' for name in names)


def _known_rows(schema: str, name: str, columns: Sequence[str]) -> sql.Composed:
    """A raw table's rows that were current at the moment."""
    known = _select(schema, name, columns, sql.SQL("'infinity'::timestamptz"))
    return known + sql.SQL(" and known_to > ") + _MOMENT if "known_to" in columns else known


def _known_versions(schema: str, name: str, columns: Sequence[str]) -> sql.Composed:
    """All versions of its rows that were known by the moment; one that was closed later is still open."""
    return _select(schema, name, columns, sql.SQL("case when known_to > {} then 'infinity' else known_to end").format(_MOMENT))


def _select(schema: str, name: str, columns: Sequence[str], known_to: sql.Composable) -> sql.Composed:
    """What became known by the moment, with `known_to` in place of that column."""
    since = sql.Identifier("known_from" if "known_from" in columns else "known_at")
    named = [
        sql.SQL("{} as known_to").format(known_to) if column == "known_to" else sql.Composed([sql.Identifier(column)]) for column in columns
    ]
    return sql.SQL("select {} from {} where {} <= {}").format(sql.SQL(", ").join(named), sql.Identifier(schema, name), since, _MOMENT)


def _digest(wanted: Sequence[View], cursor: Any) -> str:  # noqa: ANN401
    """A hash of all definitions, and of the rows that are copied."""
    whole = sql.Composed([sql.SQL(MOMENT), *(part for view in wanted for part in (view.relation, view.query))])
    digest = hashlib.sha256(whole.as_string(cursor).encode())
    for view in wanted:
        if view.copied_from is not None:
            digest.update(str(_columns(cursor, view.copied_from)).encode())
            cursor.execute(sql.SQL(_ROWS_DIGEST).format(view.query))
            digest.update(str(cursor.fetchone()[0]).encode())
    return digest.hexdigest()[:16]


def _columns(cursor: Any, relation: sql.Identifier) -> list[str] | None:  # noqa: ANN401
    """Names and types of a relation's columns, in order; None where there is no such relation."""
    cursor.execute(_COLUMNS, [relation.as_string(cursor)])
    return cursor.fetchone()[0]  # type: ignore[no-any-return]


def _replace(cursor: Any, wanted: Sequence[View], there: set[tuple[str, str, bool]], digest: str) -> list[str]:  # noqa: ANN401
    """Run each statement on its own, in the open transaction; gives the objects of others that had to go."""
    notices = cursor.connection.notices
    notices.clear()
    cursor.execute(sql.SQL("set local lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT_MS)))
    for schema, comment in SCHEMAS.items():
        cursor.execute("select to_regnamespace(%s) is null", [schema])
        if cursor.fetchone()[0]:  # where there is one, the right to make schemas is not needed
            cursor.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
        cursor.execute(sql.SQL("comment on schema {} is {}").format(sql.Identifier(schema), sql.Literal(f"{comment} {digest}")))
    cursor.execute(MOMENT)
    kinds = {(schema, name): is_table for schema, name, is_table in there}
    for view in wanted:
        if kinds.get((view.schema, view.name)) is (view.copied_from is None):
            _drop(cursor, view.relation, is_table=view.copied_from is None)
        _make(cursor, view) if view.copied_from is None else _copy(cursor, view, view.copied_from)
    for schema, name in sorted(kinds.keys() - {(view.schema, view.name) for view in wanted}):
        _drop(cursor, sql.Identifier(schema, name), is_table=kinds[schema, name])
    gone = (match[1] for notice in notices for match in _GONE.finditer(notice))
    return [what for what in gone if not what.startswith(tuple(f"view {schema}." for schema in SCHEMAS))]


def _make(cursor: Any, view: View) -> None:  # noqa: ANN401
    """Make or replace a view; where its columns are others now, it goes first with all that stands on it."""
    statement = sql.SQL("create or replace view {} as {}").format(view.relation, view.query)
    cursor.execute("savepoint before_view")
    try:
        cursor.execute(statement)
    except psycopg2.errors.InvalidTableDefinition:
        cursor.execute("rollback to savepoint before_view")
        _drop(cursor, view.relation, is_table=False)
        cursor.execute(statement)
    cursor.execute("release savepoint before_view")


def _copy(cursor: Any, view: View, original: sql.Identifier) -> None:  # noqa: ANN401
    """Make a table like the original, or keep one whose columns are the same, and put the original's rows into it."""
    there = _columns(cursor, view.relation)
    if there is not None and there != _columns(cursor, original):
        _drop(cursor, view.relation, is_table=True)
        there = None
    if there is None:
        cursor.execute(sql.SQL("create table {} (like {} including indexes)").format(view.relation, original))
    cursor.execute(sql.SQL("delete from {}").format(view.relation))  # truncate would empty it for readers of an older snapshot
    cursor.execute(sql.SQL("insert into {} {}").format(view.relation, view.query))
    cursor.execute(sql.SQL("analyze {}").format(view.relation))


def _drop(cursor: Any, relation: sql.Identifier, *, is_table: bool) -> None:  # noqa: ANN401
    """Drop a view or table, if it is still there, with all that stands on it."""
    kind = sql.SQL("table" if is_table else "view")
    cursor.execute(sql.SQL("drop {} if exists {} cascade").format(kind, relation))
