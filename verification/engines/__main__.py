"""Ask each engine for the rows and sums of every table at its first, its middle and its last snapshot."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import finelt
from verification.benchmarks.tools import MissingError, create_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNNER = Path(__file__).with_name("runner.py")
ENGINES = {"clickhouse": ("chdb==4.4.0", "chdb-core==26.9.0")}
MOMENTS = 3
TIMEOUT_S = 600


@click.command()
@click.argument("lake", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(lake: Path) -> None:
    """Compare engines on the tables that register-iceberg-tables made in LAKE, a folder. Exit code 1 if one answers differently."""
    questions = list(list_questions(lake.resolve()))
    expected = {question["id"]: answer_from_commits(lake, question) for question in questions}
    snapshots, rows = len(questions), sum(answer["rows"] for answer in expected.values())
    click.echo(f"{snapshots} snapshots of {len({question['dataset'] for question in questions})} tables, {rows:,} rows")
    is_equal = [_compare(engine, questions, expected) for engine in ENGINES]
    raise SystemExit(0 if all(is_equal) else 1)


def list_questions(lake: Path) -> Iterator[dict[str, Any]]:
    """Yield what to ask about each table: at which snapshot, and the columns that can be summed without rounding."""
    from pyiceberg.catalog import load_catalog  # noqa: PLC0415  slow
    from pyiceberg.types import DecimalType, IntegerType, LongType  # noqa: PLC0415

    catalog = load_catalog("finelt", type="sql", uri=f"sqlite:///{lake}/iceberg/catalog.db")
    for name in catalog.list_tables("raw"):
        table = catalog.load_table(name)
        snapshots = table.snapshots()
        columns = [field.name for field in table.schema().fields if isinstance(field.field_type, DecimalType | IntegerType | LongType)]
        for number in sorted({0, len(snapshots) // 2, len(snapshots) - 1})[:MOMENTS]:
            snapshot = snapshots[number]
            yield {
                "id": f"{name[-1]} at {snapshot.timestamp_ms}",
                "dataset": name[-1],
                "folder": f"{lake}/iceberg/raw/{name[-1]}",
                "snapshot": snapshot.snapshot_id,
                "milliseconds": snapshot.timestamp_ms,
                "columns": columns,
            }


def answer_from_commits(lake: Path, question: dict[str, Any]) -> dict[str, Any]:
    """Return the rows and sums that the lake's commits give as of the end of the snapshot's millisecond."""
    moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=question["milliseconds"] + 1)
    frame = finelt.read(question["dataset"], str(lake), as_of=moment, frame="polars")
    sums = {column: frame[column].drop_nulls().to_list() for column in question["columns"] if column in frame.columns}
    return {"rows": len(frame), "sums": {column: str(sum(values)) if values else None for column, values in sums.items()}}


def _compare(engine: str, questions: list[dict[str, Any]], expected: dict[str, Any]) -> bool:
    try:
        interpreter = create_environment(ENGINES[engine])
    except MissingError as error:
        click.echo(f"{engine}: {error}")
        return False
    asked = [str(interpreter), str(RUNNER)]
    done = subprocess.run(  # noqa: S603
        asked,
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        cwd=Path(questions[0]["folder"]).parents[2],  # ClickHouse reads files below the working directory only
    )
    if done.returncode:
        click.echo(f"{engine}: failed: {done.stderr[-500:]}")
        return False
    answers = json.loads(done.stdout.splitlines()[-1])
    wrong = [name for name, answer in answers.items() if not _is_same(expected[name], answer)]
    click.echo(f"{engine} ({', '.join(ENGINES[engine])}): {len(answers) - len(wrong)} of {len(answers)} equal {' '.join(wrong[:3])}")
    return not wrong


def _is_same(expected: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether rows and sums are equal as numbers: engines differ in how many zeros a decimal ends with, and in the sum of no rows."""
    sums = {column: Decimal(value or 0) for column, value in expected["sums"].items()}
    theirs = {column: Decimal(found["sums"][column] or 0) for column in sums}
    return bool(expected["rows"] == found["rows"] and sums == theirs)


if __name__ == "__main__":
    main()
