"""Ask each engine for the rows, counts and sums of every table at three moments."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import click

import finelt
from verification.benchmarks.tools import MissingError, create_environment
from verification.engines import runner

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import polars as pl

    from verification.engines.runner import Answer, Question

ENGINES: dict[str, tuple[str, ...]] = {  # and the packages of its environment; those without are in the lock file
    "pyiceberg": (),
    "polars": (),
    "duckdb": (),
    "chdb": ("chdb==4.4.0", "chdb-core==26.9.0"),
    "pysail": ("pysail==0.7.2", "pyspark-client==4.2.0", "pandas==2.3.3"),
    "daft": ("daft==0.7.26", "pyiceberg[sql-sqlite]==0.12.0"),
}
RAW, PUBLISHED = "raw", "published"  # namespaces
TIMEOUT_S = 600
EXACT, DOUBLE = "exact", "double"  # kinds of sums
TOLERANCE = 1e-9  # how much sums of doubles may differ, relatively: their order is the engine's


class Result(NamedTuple):
    """How many answers of an engine are equal; by question, how others differ, and with which error it refused."""

    equal: int
    different: Mapping[str, str]
    refused: Mapping[str, str]


@click.command()
@click.argument("lake", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.argument("site", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option("--engine", "names", type=click.Choice(list(ENGINES)), multiple=True, help="Ask this engine only. Repeatable. Default: all.")
def main(lake: Path | None, site: Path | None, names: tuple[str, ...]) -> None:
    """Compare engines on the tables that register-iceberg-tables made in LAKE and of SITE, folders. Exit code 1 if one answers differently.

    Without LAKE, it makes both first: the pipeline with the sample vendors at three moments, in some minutes.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if lake is None:
            from verification.engines import sample_lake  # noqa: PLC0415  it needs Postgres

            click.echo("making a lake", err=True)
            lake, site = sample_lake.build(Path(folder))
        questions = list(list_questions(lake.resolve(), site))
        expected = {question["id"]: answer_from_files(lake, site, question) for question in questions}
        click.echo("\n".join(describe(questions, expected)))
        results = {engine: compare(engine, questions, expected) for engine in names or ENGINES}
    click.echo("\n".join(format_results(results, len(questions))))
    raise SystemExit(0 if all(isinstance(result, Result) and not result.different for result in results.values()) else 1)


def list_questions(lake: Path, site: Path | None) -> Iterator[Question]:
    """Yield what to ask: each table at three moments of its namespace, if it was there."""
    from pyiceberg.catalog import load_catalog  # noqa: PLC0415  slow
    from pyiceberg.types import DecimalType, DoubleType, IntegerType, LongType  # noqa: PLC0415

    kinds = {DecimalType: EXACT, IntegerType: EXACT, LongType: EXACT, DoubleType: DOUBLE}
    uri = f"sqlite:///{lake}/iceberg/catalog.db"
    catalog = load_catalog("finelt", type="sql", uri=uri)
    for namespace in (RAW, PUBLISHED) if site else (RAW,):
        tables = {name[-1]: catalog.load_table(name) for name in catalog.list_tables(namespace)}
        times = sorted({snapshot.timestamp_ms for table in tables.values() for snapshot in table.snapshots()})
        for number, moment in enumerate(sorted({times[0], times[len(times) // 2], times[-1]} if times else ()), 1):
            for name, table in tables.items():
                if snapshot := table.snapshot_as_of_timestamp(moment):
                    fields = table.schemas()[snapshot.schema_id or 0].fields
                    yield {
                        "id": f"{namespace}.{name} at moment {number}",
                        "table": [namespace, name],
                        "catalog": uri,
                        "metadata": table.metadata_location,
                        "folder": f"{lake}/iceberg/{namespace}/{name}",
                        "snapshot": snapshot.snapshot_id,
                        "milliseconds": moment,
                        "columns": [
                            (field.name, next((kind for type_, kind in kinds.items() if isinstance(field.field_type, type_)), None))
                            for field in fields
                            if field.name != "_row_number"  # which `finelt.read` leaves out
                        ],
                    }


def answer_from_files(lake: Path, site: Path | None, question: Question) -> Answer:
    """Return the answer of the lake's commits, or of the site's files, at the moment."""
    moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=question["milliseconds"] + 1)
    namespace, name = question["table"]
    if namespace == PUBLISHED and site:
        frame = _read_mart(site, name, moment)
    else:
        frame = finelt.read(name, str(lake), as_of=moment, frame="polars")
    figures = []
    with localcontext(prec=100):  # the default rounds sums to 28 digits
        for column, kind in question["columns"]:
            values = frame[column].drop_nulls().to_list() if column in frame.columns else []
            add_up = math.fsum if kind == DOUBLE else sum
            figures.append((len(values), str(add_up(values)) if kind and values else None))
    return {"rows": len(frame), "figures": figures}


def _read_mart(site: Path, mart: str, moment: datetime) -> pl.DataFrame:
    """Return the mart of the newest version that was published by the moment; without rows and columns if that has no such mart."""
    import polars as pl  # noqa: PLC0415  slow

    published = {
        datetime.fromisoformat(json.loads(path.read_text(encoding="utf-8"))["published_at"]): path.parent
        for path in site.glob("v/*/published.json")
    }
    folder = published[max(time for time in published if time <= moment)]
    described = json.loads((folder / "catalogue.json").read_text(encoding="utf-8"))["marts"].get(mart)
    return pl.read_parquet(folder / described["files"]["parquet"]["path"]) if described else pl.DataFrame()


def describe(questions: Sequence[Question], expected: Mapping[str, Answer]) -> Iterator[str]:
    """Yield a line per namespace: its tables, its moments, the rows at each, and how many tables answer differently."""
    for namespace, asked in groupby(questions, key=lambda question: question["table"][0]):
        of_namespace = list(asked)
        rows: dict[int, int] = {}
        answers: dict[str, list[Answer]] = {}
        for question in of_namespace:
            answer = expected[question["id"]]
            rows[question["milliseconds"]] = rows.get(question["milliseconds"], 0) + answer["rows"]
            answers.setdefault(question["table"][1], []).append(answer)
        changing = sum(any(answer != first for answer in others) for first, *others in answers.values())
        at = ", ".join(f"{count:,}" for count in rows.values())
        yield f"{namespace}: {len(answers)} tables, {at} rows at {len(rows)} moments; {changing} tables differ between the moments."


def compare(engine: str, questions: Sequence[Question], expected: Mapping[str, Answer]) -> Result | str:
    """Return the result of an engine in its environment, or why there is none."""
    try:
        interpreter = create_environment(ENGINES[engine]) if ENGINES[engine] else Path(sys.executable)
    except MissingError as error:
        return str(error)
    done = subprocess.run(  # noqa: S603
        [str(interpreter), str(runner.__file__), engine],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        cwd=Path(questions[0]["folder"]).parents[2],  # ClickHouse reads files below the working directory only
    )
    if done.returncode:
        return f"failed: {done.stderr[-500:]}"
    answers = json.loads(done.stdout.splitlines()[-1])
    refused = {name: answer["error"] for name, answer in answers.items() if "error" in answer}
    asked = [(question["id"], question) for question in questions if question["id"] not in refused]
    different = {name: text for name, question in asked if (text := find_difference(question, expected[name], answers[name]))}
    return Result(len(asked) - len(different), different, refused)


def find_difference(question: Question, expected: Answer, found: Answer) -> str | None:
    """Return how an answer differs, if it does. Sums are equal as numbers: engines differ in the zeros that a decimal ends with."""
    if found["rows"] != expected["rows"]:
        return f"{found['rows']} rows instead of {expected['rows']}"
    for (name, kind), (count, total), (their_count, their_total) in zip(
        question["columns"], expected["figures"], found["figures"], strict=True
    ):
        if count != their_count or not _is_same(kind, total, their_total):
            return f"{name} has {their_count} values with sum {their_total} instead of {count} with {total}"
    return None


def _is_same(kind: str | None, total: str | None, theirs: str | None) -> bool:
    """Whether two sums are equal; the sum of no rows is 0 for some engines."""
    one, other = Decimal(total or 0), Decimal(theirs or 0)
    return one == other or (kind == DOUBLE and math.isclose(one, other, rel_tol=TOLERANCE))


def format_results(results: Mapping[str, Result | str], asked: int) -> Iterator[str]:
    """Yield a table, and below it what differs or was refused."""
    yield ""
    yield "| engine | version | equal answers | different | refused |"
    yield "| --- | --- | ---: | ---: | ---: |"
    for engine, result in results.items():
        release = ENGINES[engine][0].partition("==")[2] if ENGINES[engine] else version(engine)
        counts = (
            f"{result} | |" if isinstance(result, str) else f"{result.equal} of {asked} | {len(result.different)} | {len(result.refused)}"
        )
        yield f"| {engine} | {release} | {counts} |"
    for engine, result in results.items():
        if isinstance(result, Result):
            yield from (f"{engine}: {name}: {text}" for name, text in {**result.different, **result.refused}.items())


if __name__ == "__main__":
    main()
