"""The SQL of the marts as dbt compiles it, and the small tables that it joins, from the warehouse.

What grows with the number of prices is built by the engine. Everything else stays in Postgres, and each task gets a copy.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from jobkit.errors import BadDataError, MisconfiguredError, TemporaryError
from psycopg import errors, sql

from finelt import dbt
from finelt.lake_marts.model import MODELS, NEWS, PRICES, VALUATIONS, Definitions, SmallTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg

AFTER_NEWS = re.compile(r",\s*(?:--[^\n]*\n\s*)*timeline as \(")
BUILT_AS_OF = "select as_of from ops.transforms where ended_at is not null order by transform_id desc limit 1"
TRANSFORMED_PRICES = """
select distinct on (partition) partition, commit, load_id in (select load_id from ops.transformed_loads)
from raw._ledger where dataset = 'tiingo_prices' order by partition, commit desc
"""
REFERENCE = re.compile(r'"(\w+)"\."(\w+)"')


def read_definitions(connection: psycopg.Connection[Any], environment: Mapping[str, str], commits: Mapping[str, int]) -> Definitions:
    """Compile the models for DuckDB and read what they join, all tables as of one moment. `environment` is that of dbt's profile.

    `commits` are those of the prices by partition. Raises MisconfiguredError if dbt cannot compile the models, BadDataError if there are
    no marts yet, TemporaryError if its marts were made of other prices: splits and dividends come from there.
    """
    compiled = _compile([name.partition(".")[2] for name in (PRICES, *MODELS)], environment)
    code = {name: compiled[name.partition(".")[2]].replace(f'"{connection.info.dbname}".', "") for name in (PRICES, *MODELS)}
    news, code[VALUATIONS] = split_valuations(code[VALUATIONS])
    small = {".".join(found) for text in code.values() for found in REFERENCE.findall(text)} - {PRICES, *MODELS, "raw.tiingo_prices"}
    queries = {name: f"select * from {name}" for name in sorted(small)} | {NEWS: news}
    try:
        with connection.transaction():
            connection.execute("set transaction isolation level repeatable read, read only")
            _check_same_prices(connection, commits)
            return Definitions(code, {name: _read(connection, query) for name, query in queries.items()})
    except errors.UndefinedTable as error:
        raise BadDataError(f"the warehouse has no marts yet: {str(error).splitlines()[0]}; run transform-warehouse first") from None


def _check_same_prices(connection: psycopg.Connection[Any], commits: Mapping[str, int]) -> None:
    """Raise TemporaryError unless the marts were made of exactly these commits of prices, and of all that is known now."""
    ((as_of,),) = connection.execute(BUILT_AS_OF).fetchall() or [(None,)]
    if as_of is not None:
        raise TemporaryError(
            f"the marts of the warehouse are those of {as_of:%Y-%m-%d %H:%M}Z; run transform-warehouse without --as-of, then this again"
        )
    rows = connection.execute(TRANSFORMED_PRICES).fetchall()
    transformed = {str(partition): int(commit) for partition, commit, _ in rows}
    if not all(is_transformed for *_, is_transformed in rows) or transformed != commits:
        differing = sorted(partition for partition, _ in transformed.items() ^ commits.items())
        example = f", for example in {differing[0]}" if differing else ""
        raise TemporaryError(
            f"the marts of the warehouse were made of other prices than the Iceberg tables have{example}; "
            "run load-warehouse, transform-warehouse and register-iceberg-tables, then this again"
        )


def split_valuations(code: str) -> tuple[str, str]:
    """Divide the query of fct_valuation_daily into that of its CTE `news`, which is small, and the rest, which reads a table `news`."""
    (cut,) = AFTER_NEWS.finditer(code)
    return f"{code[: cut.start()]}\nselect * from news", f"with timeline as ({code[cut.end() :]}"


def _compile(models: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the SQL of a full build of the models."""
    with TemporaryDirectory() as folder:
        words = (
            "--quiet",
            "compile",
            "--full-refresh",
            "--no-partial-parse",
            "--vars",
            json.dumps({"engine": "duckdb"}),
            "--select",
            *models,
        )
        command = dbt.build_command(*words, target=Path(folder), logs=Path(folder))
        done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)  # noqa: S603  our own environment's dbt
        if done.returncode:
            raise MisconfiguredError(f"dbt cannot compile the models: {' '.join((done.stdout + done.stderr).split())[-300:]}")
        return {path.stem: path.read_text(encoding="utf-8") for path in Path(folder, "compiled").rglob("*.sql") if path.stem in models}


def _read(connection: psycopg.Connection[Any], query: str) -> SmallTable:
    described = connection.execute(f"select * from ({query}) as described limit 0".encode()).description or []
    columns = {column.name: column.type_display for column in described}
    texts = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in columns)
    rows = connection.execute(sql.SQL("select {} from ({}) as query").format(texts, sql.SQL(query))).fetchall()
    return SmallTable(columns, rows)
