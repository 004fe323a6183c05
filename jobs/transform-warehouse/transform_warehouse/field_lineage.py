"""The fields of datasets and seeds from which each column of a mart is made, read from the compiled SQL of the models.

    {"fct_price_daily": {"close": ["tiingo_prices.close"], ...}}

Only what a column's value is computed from counts, not the conditions that select its rows.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple, cast

from transform_warehouse.lineage import MARTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlglot.lineage import Node
    from sqlglot.schema import Schema

    from transform_warehouse.as_of import Model
    from transform_warehouse.lineage import Relation

DIALECT = "postgres"


class Field(NamedTuple):
    """A column of a table or view."""

    schema: str
    table: str
    column: str


def trace_fields(
    models: Sequence[Model], columns: Mapping[Relation, Sequence[str]], database: str, log: logging.Logger
) -> dict[str, dict[str, list[str]]]:
    """Return the fields of raw tables and seeds behind each column of each mart, sorted.

    `columns` are those of every table and view of the database. A model whose SQL cannot be read has no fields.
    """
    from sqlglot.schema import MappingSchema  # noqa: PLC0415  a quarter of a second

    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of correlated subqueries, which it reads nevertheless
    tables: dict[str, dict[str, dict[str, str]]] = {}
    for relation, names in columns.items():
        tables.setdefault(relation.schema, {})[relation.name] = dict.fromkeys(names, "text")
    schema = MappingSchema({database: tables}, dialect=DIALECT, normalize=False)
    made_of: dict[Field, set[Field]] = {}
    for model in models:
        if model.code:
            for column, fields in _trace_model(model, schema, log).items():
                made_of[Field(model.schema, model.name, column)] = fields
    traced: dict[str, dict[str, list[str]]] = {}
    for field in made_of:
        if field.schema == MARTS:
            origins = _find_origins(field, made_of)
            traced.setdefault(field.table, {})[field.column] = sorted(f"{origin.table}.{origin.column}" for origin in origins)
    return traced


def _trace_model(model: Model, schema: Schema, log: logging.Logger) -> dict[str, set[Field]]:
    """Return the columns of tables and views that each column of a model is computed from."""
    import sqlglot  # noqa: PLC0415
    from sqlglot import exp  # noqa: PLC0415
    from sqlglot.lineage import lineage  # noqa: PLC0415
    from sqlglot.optimizer import build_scope, qualify  # noqa: PLC0415

    try:
        parsed = sqlglot.parse_one(model.code, read=DIALECT)
        query = cast(
            "exp.Query",
            qualify.qualify(parsed, dialect=DIALECT, schema=schema, validate_qualify_columns=False, identify=False),
        )
        # All columns at once, in place: one after the other, each on a copy, they take ten times as long.
        nodes = lineage(None, query, schema=schema, scope=build_scope(query), dialect=DIALECT, trim_selects=False, copy=False)
        traced = {
            name: {
                Field(leaf.source.db, leaf.source.name, exp.to_column(leaf.name, dialect=DIALECT).name)
                for leaf in _find_leaves(node)
                if isinstance(leaf.source, exp.Table) and leaf.source.db
            }
            for name, node in nodes.items()
        }
    except (sqlglot.errors.SqlglotError, ValueError) as error:
        log.warning("no field lineage", extra={"model": model.name, "why": str(error)[:200]})
        return {}
    return traced


def _find_leaves(node: Node) -> list[Node]:
    """Return the nodes below a node that have none below them, each once: the nodes of common expressions have many parents."""
    leaves, seen, waiting = [], {id(node)}, [node]
    while waiting:
        current = waiting.pop()
        if not current.downstream:
            leaves.append(current)
        new = [below for below in current.downstream if id(below) not in seen]
        seen |= {id(below) for below in new}
        waiting += new
    return leaves


def _find_origins(field: Field, made_of: Mapping[Field, set[Field]]) -> set[Field]:
    """Return the fields at the beginning of every path to a column."""
    origins, seen, waiting = set(), {field}, [field]
    while waiting:
        current = waiting.pop()
        if current not in made_of:
            origins.add(current)
            continue
        new = made_of[current] - seen
        seen |= new
        waiting += new
    return origins
