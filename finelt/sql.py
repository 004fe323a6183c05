"""Query a warehouse as the role `reader`: a table on a terminal, CSV in a pipe, JSON on request; also as of a past moment."""

from __future__ import annotations

import re
import shutil
import sys
from contextlib import closing, suppress
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import psycopg
from jobkit.errors import ExitCode, JobError, UsageError
from jobkit.version import version_option
from psycopg.types.string import TextLoader

from finelt import query_output, warehouse
from finelt.query_output import Column
from orchestration.warehouse_roles import OPEN_TO_READER, READER

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from finelt.query_output import Row

LIST_TABLES = """
select c.relname as table, split_part(coalesce(obj_description(c.oid, 'pg_class'), ''), E'\\n', 1) as description
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'marts' and c.relkind in ('r', 'p', 'v', 'm') order by 1
"""
LIST_COLUMNS = """
select a.attname as column, format_type(a.atttypid, a.atttypmod) as type, coalesce(col_description(a.attrelid, a.attnum), '') as description
from pg_attribute a where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum
"""
FIND_NAMES = """
select distinct c.relname::text
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('marts', 'as_of') and c.relkind in ('r', 'p', 'v', 'm')
"""
FIND_COLUMN_NAMES = """
select distinct a.attname::text
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('marts', 'as_of') and c.relkind in ('r', 'p', 'v', 'm') and a.attnum > 0
"""
LITERALS = re.compile(r"'(?:[^']|'')*'|--[^\n]*")
NAMES_MARTS = re.compile(r'\b"?marts"?\s*\.', re.IGNORECASE)
QUOTED_NAME = re.compile(r'"([^"]+)"')
NO_QUERY = 'there is no query; expected one such as ./scripts/sql "select * from fct_yield limit 5", or --tables'
MOMENT_HELP = "Only what had reached us and was public by this moment; a date alone is its first moment in UTC."


def warehouse_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options --dir, --stack and --as-of to a command."""
    options = [
        click.option(
            "--dir", "directory", type=click.Path(path_type=Path), default=".finelt", show_default=True, help="The directory of the demo."
        ),
        click.option("--stack", metavar="NAME", help=f"Another warehouse than the demo's: {warehouse.COMPOSE}, or a stack in AWS."),
        click.option("--as-of", metavar="MOMENT", help=MOMENT_HELP),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command(name="sql", context_settings={"max_content_width": 100})
@version_option()
@warehouse_options
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, as a pipe gets by default.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of objects.")
@click.option("--tables", is_flag=True, help="List the tables with their descriptions.")
@click.option("--columns", "table", metavar="TABLE", help="List the columns of a table with their types and descriptions.")
@click.argument("query", required=False)
def main(
    directory: Path,
    stack: str | None,
    as_of: str | None,
    query: str | None,
    table: str | None,
    *,
    tables: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Run one QUERY on the warehouse of the last demo, or of a stack.

    Tables need no schema. Without a QUERY, or if it is -, the query is read from standard input.
    """
    try:
        if as_csv and as_json:
            raise UsageError("--csv and --json exclude each other; write one of them")
        moment = warehouse.parse_moment(as_of) if as_of else None
        statement, values = (LIST_TABLES, []) if tables else (LIST_COLUMNS, [table]) if table else (read_query(query), [])
        if moment and not tables and not table:
            check_as_of(statement)
        with warehouse.open_warehouse(directory, stack) as login, warehouse.connect(login, moment) as connection:
            rows = run_query(connection, statement, values, choose_printer(as_csv=as_csv, as_json=as_json))
        if moment and rows <= 1:  # none, or perhaps a count of none
            click.echo(f"sql: as of {moment:%Y-%m-%d %H:%M}Z, only rows count that had reached the warehouse by then", err=True)
    except JobError as error:
        _fail(str(error), error.exit_code)
    except psycopg.Error as error:
        _fail(str(error), ExitCode.BAD_DATA)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the pipe has ended; without this the interpreter reports that it cannot flush
    except KeyboardInterrupt:
        _fail("interrupted", ExitCode.INTERRUPTED)


def read_query(query: str | None) -> str:
    """Return the query: the argument, or standard input for none or `-`. Raises UsageError if there is none."""
    if query in (None, "-"):
        query = "" if query is None and sys.stdin.isatty() else sys.stdin.read()
    query = (query or "").strip().rstrip(";").rstrip()
    if not LITERALS.sub("''", query).strip("' \n"):
        raise UsageError(NO_QUERY)
    return query


def check_as_of(query: str) -> None:
    """Raise UsageError if a query as of a moment names the schema of the current marts, which would answer with what is known now."""
    if NAMES_MARTS.search(LITERALS.sub("''", query)):
        raise UsageError("the schema marts has what is known now; with --as-of, write the table without a schema, such as fct_yield")


def choose_printer(*, as_csv: bool, as_json: bool) -> Callable[[Sequence[Column], Iterable[Row]], None]:
    """Return the function that prints the rows: of the given format, else a table on a terminal and CSV in a pipe."""
    if as_json:
        return query_output.print_json
    if as_csv or not sys.stdout.isatty():
        return query_output.print_csv
    width = shutil.get_terminal_size().columns
    return lambda columns, rows: query_output.print_for_terminal(columns, rows, width)


def run_query(
    connection: psycopg.Connection[Any], query: str, values: Sequence[str], printer: Callable[[Sequence[Column], Iterable[Row]], None]
) -> int:
    """Run a query, print its result with values as Postgres formats them, and return the number of its rows.

    Raises psycopg.Error with one sentence.
    """
    for kind in connection.adapters.types:
        for oid in (kind.oid, kind.array_oid):
            connection.adapters.register_loader(oid, TextLoader)
    try:
        with psycopg.RawCursor(connection) as cursor, closing(_stream(cursor, query, values)) as rows:
            first = next(rows, None)
            if first is None:
                cursor.execute(query.encode(), values or None)  # a stream without rows has no column names
            columns = [Column(column.name, column.type_code) for column in cursor.description or ()]
            number = 0

            def counted() -> Iterator[Row]:
                nonlocal number
                for number, row in enumerate(chain([first], rows) if first else (), 1):  # noqa: B007  how many were printed
                    yield row

            printer(columns, counted())
            return number
    except psycopg.Error as error:
        with suppress(psycopg.Error):  # the connection may be lost
            connection.rollback()
        raise psycopg.Error(explain(error, connection)) from None


def _stream(cursor: psycopg.Cursor[Any], query: str, values: Sequence[str]) -> Generator[Row, None, None]:
    """Yield rows as they arrive. Close the generator: until then the connection can do nothing else, not even close."""
    try:
        yield from cursor.stream(query.encode(), values or None)
    except psycopg.ProgrammingError as error:
        if error.sqlstate is None:
            raise psycopg.ProgrammingError("the statement returns no rows; expected a query such as a select") from None
        raise


def explain(error: psycopg.Error, connection: psycopg.Connection[Any]) -> str:
    """Return what is wrong with a query in one sentence, with a name that was perhaps meant."""
    message = error.diag.message_primary or (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return f"{message} (the role {READER} reads the schemas {' and '.join(OPEN_TO_READER)})"
    if "multiple commands" in message:
        return "that is more than one statement; run one, with --as-of instead of a set, or open ./scripts/shell"
    if error.diag.message_hint:
        return f"{message} ({error.diag.message_hint})"
    if isinstance(error, psycopg.errors.UndefinedTable):
        return message + _suggest(message, connection, FIND_NAMES, "./scripts/sql --tables lists them")
    if isinstance(error, psycopg.errors.UndefinedColumn):
        return message + _suggest(message, connection, FIND_COLUMN_NAMES, "./scripts/sql --columns TABLE lists them")
    return message


def _suggest(message: str, connection: psycopg.Connection[Any], names: str, otherwise: str) -> str:
    """Return which of the names the message perhaps means, in parentheses."""
    wanted = QUOTED_NAME.search(message) or re.search(r"column (\S+)", message)
    known = [str(row[0]) for row in connection.execute(names.encode()).fetchall()]
    close = get_close_matches(wanted[1].rpartition(".")[2], known, n=3) if wanted else []
    return f" (did you mean {' or '.join(close)}?)" if close else f" ({otherwise})"


def _fail(message: str, exit_code: int) -> None:
    click.echo(f"sql: {message}", err=True)
    sys.exit(exit_code)


if __name__ == "__main__":
    main(prog_name="scripts/sql")
