"""Ask the warehouse of the last demo, as the role `reader`: an aligned table on a terminal, CSV in a pipe."""

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
from psycopg.types.string import TextLoader

from orchestration.local import postgres
from orchestration.warehouse_roles import OPEN_TO_READER, READER

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from orchestration.local.postgres import Postgres

    Row = Sequence[str | None]

SHOWN_ROWS = 500  # on a terminal; a pipe gets all
NARROWEST = 6
NUMERIC_OIDS = frozenset({20, 21, 23, 26, 700, 701, 790, 1700})  # int8, int2, int4, oid, float4, float8, money, numeric


@click.command(name="sql", context_settings={"max_content_width": 100})
@click.option("--dir", "directory", type=click.Path(path_type=Path), default=".finelt", show_default=True, help="Where the demo worked.")
@click.argument("query")
def main(directory: Path, query: str) -> None:
    """Run one query on the warehouse of the last demo."""
    try:
        if not postgres.exists(directory / "postgres"):
            raise MisconfiguredError(
                f"there is no warehouse in {directory} yet; run ./scripts/demo first, or say where it worked with --dir"
            )
        with postgres.running(directory / "postgres") as server:
            answer(server, query)
    except JobError as error:
        _fail(str(error), error.exit_code)
    except psycopg.Error as error:
        _fail(_sentence(error), ExitCode.BAD_DATA)
    except BrokenPipeError:
        sys.stderr.close()  # whoever reads has seen enough; the interpreter must not complain that it cannot flush
    except KeyboardInterrupt:
        _fail("interrupted", ExitCode.INTERRUPTED)


def answer(server: Postgres, query: str) -> None:
    """Print what the query gives, values as Postgres writes them. Raises psycopg.Error."""
    password = secrets.resolve(server.password_reference_of(READER))
    with psycopg.connect(server.url_of(READER), password=password, options="-c default_transaction_read_only=on") as connection:
        for kind in connection.adapters.types:
            for oid in (kind.oid, kind.array_oid):
                connection.adapters.register_loader(oid, TextLoader)
        with connection.cursor() as cursor, closing(_stream(cursor, query)) as rows:
            first = next(rows, None)
            if first is None:
                cursor.execute(query.encode())  # a stream without rows does not say what its columns are
            columns = [(column.name, column.type_code in NUMERIC_OIDS) for column in cursor.description or ()]
            _print(columns, chain([first], rows) if first else ())


def _stream(cursor: psycopg.Cursor[Any], query: str) -> Generator[Row, None, None]:
    """Rows as they come. To be closed: until then the connection does nothing else, not even end."""
    try:
        yield from cursor.stream(query.encode())
    except psycopg.ProgrammingError as error:
        if error.sqlstate is None:
            raise psycopg.ProgrammingError("that gives no rows; expected a query such as a select") from None
        raise


def _print(columns: Sequence[tuple[str, bool]], rows: Iterable[Row]) -> None:
    if sys.stdout.isatty():
        print_table(columns, rows, shutil.get_terminal_size().columns)
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([name for name, _ in columns])
    writer.writerows(rows)
    sys.stdout.flush()


def print_table(columns: Sequence[tuple[str, bool]], rows: Iterable[Row], width: int) -> None:
    """Print rows under their names, cut to the width; `columns` are names and whether they are numbers, which go to the right."""
    shown: list[list[str]] = []
    count = 0
    for row in rows:
        count += 1
        if count <= SHOWN_ROWS:
            shown.append([_printable(value) for value in row])
    names = [_printable(name) for name, _ in columns]
    wanted = [max(len(line[index]) for line in [names, *shown]) for index in range(len(names))]
    widths = fitted(wanted, width)
    right = [numeric for _, numeric in columns]
    for line in [names, ["-" * wide for wide in widths], *shown]:
        cells = (_cell(text, wide, number) for text, wide, number in zip(line, widths, right, strict=True))
        click.echo("  ".join(cells).rstrip())
    more = f", the first {SHOWN_ROWS:,} shown; a pipe gets all" if count > SHOWN_ROWS else ""
    click.echo(f"({count:,} row{'' if count == 1 else 's'}{more})")


def fitted(wanted: Sequence[int], width: int) -> list[int]:
    """Column widths that fit side by side: the widest give way first, none below a few characters."""
    widths = list(wanted)
    while sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > NARROWEST:
        widest = widths.index(max(widths))
        widths[widest] -= 1
    return widths


def _printable(value: str | None) -> str:
    """The value on one line; what could move a cursor or change a colour is shown, not sent."""
    return "" if value is None else "".join(char if char.isprintable() else repr(char)[1:-1] for char in value)


def _cell(text: str, width: int, right: bool) -> str:  # noqa: FBT001  which side
    cut = text if len(text) <= width else text[: width - 1] + "…"
    return cut.rjust(width) if right else cut.ljust(width)


def _sentence(error: psycopg.Error) -> str:
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        where = ", ".join(OPEN_TO_READER[:-1]) + f" and {OPEN_TO_READER[-1]}"
        return f"{error.diag.message_primary} (the role {READER} reads the schemas {where}; the admin's password is in postgres/password)"
    said = error.diag.message_primary or (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{said} ({error.diag.message_hint})" if error.diag.message_hint else said


def _fail(sentence: str, exit_code: int) -> None:
    click.echo(f"sql: {sentence}", err=True)
    sys.exit(exit_code)


if __name__ == "__main__":
    main(prog_name="scripts/sql")
