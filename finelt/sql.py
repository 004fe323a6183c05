"""Query the warehouse of the last demo as the role `reader`: an aligned table on a terminal, CSV in a pipe.

The table is not one of rich: rich shortens all columns of a wide table in proportion, or wraps them. Here the widest give way first.
"""

from __future__ import annotations

import csv
import shutil
import sys
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import psycopg
from jobkit import secrets
from jobkit.errors import ExitCode, JobError, MisconfiguredError
from jobkit.version import version_option
from psycopg.types.string import TextLoader

from orchestration.local import postgres
from orchestration.warehouse_roles import OPEN_TO_READER, READER

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from orchestration.local.postgres import Postgres

    Row = Sequence[str | None]

MAX_TERMINAL_ROWS = 500  # a pipe gets all rows
MIN_COLUMN_WIDTH = 6
NUMERIC_OIDS = frozenset({20, 21, 23, 26, 700, 701, 790, 1700})  # int8, int2, int4, oid, float4, float8, money, numeric


@click.command(name="sql", context_settings={"max_content_width": 100})
@version_option()
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path), default=".finelt", show_default=True, help="The directory of the demo."
)
@click.argument("query")
def main(directory: Path, query: str) -> None:
    """Run one query on the warehouse of the last demo."""
    try:
        if not postgres.exists(directory / "postgres"):
            raise MisconfiguredError(
                f"there is no warehouse in {directory} yet; run ./scripts/demo first, or name its directory with --dir"
            )
        with postgres.run_server(directory / "postgres") as server:
            print_result(server, query)
    except JobError as error:
        _fail(str(error), error.exit_code)
    except psycopg.Error as error:
        _fail(_describe_error(error), ExitCode.BAD_DATA)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the pipe has ended; without this the interpreter reports that it cannot flush
    except KeyboardInterrupt:
        _fail("interrupted", ExitCode.INTERRUPTED)


def print_result(server: Postgres, query: str) -> None:
    """Print the result of a query, with values as Postgres formats them. Raises psycopg.Error."""
    password = secrets.resolve(server.password_reference_of(READER))
    with psycopg.connect(server.url_of(READER), password=password, options="-c default_transaction_read_only=on") as connection:
        for kind in connection.adapters.types:
            for oid in (kind.oid, kind.array_oid):
                connection.adapters.register_loader(oid, TextLoader)
        with connection.cursor() as cursor, closing(_stream(cursor, query)) as rows:
            first = next(rows, None)
            if first is None:
                cursor.execute(query.encode())  # a stream without rows has no column names
            columns = [(column.name, column.type_code in NUMERIC_OIDS) for column in cursor.description or ()]
            _print_rows(columns, chain([first], rows) if first else ())


def _stream(cursor: psycopg.Cursor[Any], query: str) -> Generator[Row, None, None]:
    """Yield rows as they arrive. Close the generator: until then the connection can do nothing else, not even close."""
    try:
        yield from cursor.stream(query.encode())
    except psycopg.ProgrammingError as error:
        if error.sqlstate is None:
            raise psycopg.ProgrammingError("the statement returns no rows; expected a query such as a select") from None
        raise


def _print_rows(columns: Sequence[tuple[str, bool]], rows: Iterable[Row]) -> None:
    if sys.stdout.isatty():
        print_table(columns, rows, shutil.get_terminal_size().columns)
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([name for name, _ in columns])
    writer.writerows(rows)
    sys.stdout.flush()


def print_table(columns: Sequence[tuple[str, bool]], rows: Iterable[Row], width: int) -> None:
    """Print rows under their column names, cut to `width` characters. `columns` are names and whether to align right, as numbers are."""
    shown: list[list[str]] = []
    count = 0
    for row in rows:
        count += 1
        if count <= MAX_TERMINAL_ROWS:
            shown.append([_escape(value) for value in row])
    names = [_escape(name) for name, _ in columns]
    full_widths = [max(len(line[index]) for line in [names, *shown]) for index in range(len(names))]
    widths = fit_widths(full_widths, width)
    right = [numeric for _, numeric in columns]
    for line in [names, ["-" * wide for wide in widths], *shown]:
        cells = (_format_cell(text, wide, number) for text, wide, number in zip(line, widths, right, strict=True))
        click.echo("  ".join(cells).rstrip())
    more = f", the first {MAX_TERMINAL_ROWS:,} shown; a pipe gets all" if count > MAX_TERMINAL_ROWS else ""
    click.echo(f"({count:,} row{'' if count == 1 else 's'}{more})")


def fit_widths(full_widths: Sequence[int], width: int) -> list[int]:
    """Return column widths that fit into `width`. The widest columns are shortened first, and none below a few characters."""
    widths = list(full_widths)
    while sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > MIN_COLUMN_WIDTH:
        widest = widths.index(max(widths))
        widths[widest] -= 1
    return widths


def _escape(value: str | None) -> str:
    """Return the value on one line, with control characters escaped so that they cannot affect the terminal."""
    return "" if value is None else "".join(char if char.isprintable() else repr(char)[1:-1] for char in value)


def _format_cell(text: str, width: int, right: bool) -> str:  # noqa: FBT001  which side
    cut = text if len(text) <= width else text[: width - 1] + "…"
    return cut.rjust(width) if right else cut.ljust(width)


def _describe_error(error: psycopg.Error) -> str:
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        where = ", ".join(OPEN_TO_READER[:-1]) + f" and {OPEN_TO_READER[-1]}"
        return f"{error.diag.message_primary} (the role {READER} reads the schemas {where}; the admin's password is in postgres/password)"
    message = error.diag.message_primary or (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{message} ({error.diag.message_hint})" if error.diag.message_hint else message


def _fail(message: str, exit_code: int) -> None:
    click.echo(f"sql: {message}", err=True)
    sys.exit(exit_code)


if __name__ == "__main__":
    main(prog_name="scripts/sql")
