"""scripts/sql: a table on a terminal, CSV in a pipe, one sentence on an error."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from finelt.query_output import fit_widths
from orchestration.local import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
MART = """
create table marts.fct_curves as select '10Y' as tenor, now() as known_at;
comment on table marts.fct_curves is E'One row per tenor.\nSource: nobody.'; comment on column marts.fct_curves.tenor is 'Years.';
create table as_of.fct_curves as select '5Y' as tenor;
grant select on all tables in schema marts, as_of to reader;
"""
COMMAND = [sys.executable, "-m", "finelt.sql"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a demo whose server is stopped, with one mart."""
    directory = tmp_path_factory.mktemp("demo")
    with (
        postgres.run_server(directory / "postgres") as server,
        psycopg.connect(server.url_of(server.user), password=server.password) as connection,
    ):
        connection.execute(MART)
    yield directory
    postgres.remove(directory / "postgres")


def run_sql(directory: Path, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command with its input and output in pipes."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*COMMAND, "--dir", str(directory), *words]
    return subprocess.run(command, env=environ, input=text, capture_output=True, text=True, timeout=600, check=False)


def run_on_terminal(directory: Path, query: str, columns: int) -> str:
    """Run a query with its output on a terminal of this width; return what was printed."""
    master, slave = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": str(columns)}
    process = subprocess.Popen([*COMMAND, "--dir", str(directory), query], env=environ, stdout=slave, stderr=subprocess.STDOUT)
    os.close(slave)
    output = b""
    while True:
        try:
            output += (chunk := os.read(master, 4096))
        except OSError:  # Linux reports a closed terminal so
            chunk = b""
        if not chunk:
            break
    os.close(master)
    assert process.wait(60) == 0
    return output.decode().replace("\r\n", "\n")


def test_a_pipe_gets_csv_with_values_as_postgres_prints_them(demo: Path) -> None:
    result = run_sql(
        demo, "select 1.50::numeric(5,2) as n, null as nothing, 'a,\"b\"' as t, 'infinity'::timestamptz as forever, array[1,2] as list"
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == 'n,nothing,t,forever,list\n1.50,,"a,""b""",infinity,"{1,2}"\n'
    assert run_sql(demo, "select 1 as one where false").stdout == "one\n"


def test_a_terminal_gets_an_aligned_table_that_fits_its_width(demo: Path) -> None:
    query = "select i * 50 as n, 'x\x1b[31m' || repeat('long ', 20) as text from generate_series(1, 2) i"
    lines = run_on_terminal(demo, query, 40).splitlines()
    assert lines[0] == "  n  text"
    assert lines[2].startswith(" 50  x\\x1b[31mlong")
    assert lines[3].startswith("100  x")
    assert lines[2].endswith("…")
    assert max(map(len, lines)) == 40
    assert lines[-1] == "(2 rows)"


def test_a_terminal_gets_a_record_per_row_if_dates_and_numbers_do_not_fit(demo: Path) -> None:
    query = (
        "select date '2013-02-28' as day, " + ", ".join(f"1234567.8901 as number_{n}" for n in range(5)) + ", repeat('long ', 20) as text"
    )
    assert run_on_terminal(demo, query, 50).splitlines() == [
        "-- row 1 -------------------------------",
        "day       2013-02-28",
        *(f"number_{n}  1234567.8901" for n in range(5)),
        "text      " + ("long " * 20)[:39] + "…",
        "(1 row)",
    ]


def test_only_a_server_that_it_started_is_stopped(demo: Path) -> None:
    data = postgres.postgres_home.locate(demo / "postgres").data
    assert run_sql(demo, "select 1").returncode == 0
    assert postgres._server_pid(data) is None
    with postgres.run_server(demo / "postgres") as server:
        assert run_sql(demo, "select 1").returncode == 0
        assert postgres._server_pid(data) == server.pid


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("selec 1", 'syntax error at or near "selec"'),
        ("select * from marts.nothing", 'relation "marts.nothing" does not exist (./scripts/sql --tables lists them)'),
        ("select * from fct_curve", 'relation "fct_curve" does not exist (did you mean fct_curves?)'),
        ("select tenr from fct_curves", 'column "tenr" does not exist (Perhaps you meant to reference the column "fct_curves.tenor".)'),
        ("select known from fct_curves", 'column "known" does not exist (did you mean known_at?)'),
        ("set finelt.as_of = '2013-01-15 12:00Z'; select 1", "that is more than one statement; run one, with --as-of instead of a set"),
        ("select * from raw._ledger", "permission denied for schema raw (the role reader reads the schemas marts and as_of"),
        ("create table x (i int)", "cannot execute CREATE TABLE in a read-only transaction"),
        ("set timezone = 'UTC'", "the statement returns no rows"),
    ],
)
def test_an_invalid_query_is_explained_in_one_sentence(demo: Path, query: str, message: str) -> None:
    result = run_sql(demo, query)
    assert (result.returncode, result.stdout) == (65, "")
    assert result.stderr.startswith(f"sql: {message}")
    assert result.stderr.count("\n") == 1


def test_a_query_comes_from_standard_input(demo: Path) -> None:
    for words in ((), ("-",)):
        result = run_sql(demo, *words, text="select 1 as one;\n")
        assert (result.returncode, result.stdout) == (0, "one\n1\n")
    for text in ("", " ;\n", "-- nothing\n"):
        result = run_sql(demo, "-", text=text)
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert "there is no query" in result.stderr


def test_json_keeps_every_digit_and_nulls(demo: Path) -> None:
    query = "select 0.10 as n, null as nothing, true as b, 'a\"' as t, 'NaN'::float8 as x, '[1]'::jsonb as j from generate_series(1, 2)"
    result = run_sql(demo, "--json", query)
    assert result.stdout.count('"n": 0.10, ') == 2
    assert json.loads(result.stdout) == [{"n": 0.1, "nothing": None, "b": True, "t": 'a"', "x": "NaN", "j": [1]}] * 2
    assert json.loads(run_sql(demo, "--json", "select 1 where false").stdout) == []


def test_tables_need_no_schema_and_are_listed_with_their_descriptions(demo: Path) -> None:
    assert run_sql(demo, "select tenor from fct_curves").stdout == "tenor\n10Y\n"
    assert run_sql(demo, "--tables").stdout == "table,description\nfct_curves,One row per tenor.\n"
    assert run_sql(demo, "--columns", "fct_curves").stdout.splitlines()[:2] == ["column,type,description", "tenor,text,Years."]


def test_as_of_sets_the_moment_and_refuses_the_marts_of_now(demo: Path) -> None:
    query = "select current_setting('finelt.as_of') as moment, tenor from fct_curves"
    assert run_sql(demo, "--as-of", "2013-01-15", query).stdout == "moment,tenor\n2013-01-15T00:00:00+00:00,5Y\n"
    assert run_sql(demo, "--as-of", "2013-01-15T14:00+02:00", query).stdout.splitlines()[1].startswith("2013-01-15T12:00:00+00:00")
    empty = run_sql(demo, "--as-of", "2013-01-15", "select tenor from fct_curves where false")
    assert (empty.returncode, empty.stdout) == (0, "tenor\n")
    assert empty.stderr == "sql: as of 2013-01-15 00:00Z, only rows count that had reached the warehouse by then\n"
    none = run_sql(demo, "--as-of", "2013-01-15", "select count(*) from fct_curves where false")
    assert (none.stdout, none.stderr) == ("count\n0\n", empty.stderr)
    two = run_sql(demo, "--as-of", "2013-01-15", "select 1 as a union all select 2")
    assert (two.stdout, two.stderr) == ("a\n1\n2\n", "")
    both = run_sql(demo, "--csv", "--json", "select 1")
    assert (both.returncode, both.stderr) == (2, "sql: --csv and --json exclude each other; write one of them\n")
    future = run_sql(demo, "--as-of", "2999-01-01", "select 1")
    assert (future.returncode, future.stderr) == (2, "sql: as-of is '2999-01-01T00:00:00Z'; expected a moment that has passed\n")
    refused = run_sql(demo, "--as-of", "2013-01-15", "select 'marts.x', tenor from marts.fct_curves")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "the schema marts has what is known now" in refused.stderr
    assert run_sql(demo, "--as-of", "2013-01-15", "select 'marts.x' as t from fct_curves").returncode == 0
    invalid = run_sql(demo, "--as-of", "2013-01-15 12:00", query)
    assert (invalid.returncode, invalid.stderr.count("\n")) == (2, 1)


def test_the_settings_of_a_person_are_kept(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c timezone=Asia/Tokyo -c default_transaction_read_only=off")
    assert run_sql(demo, "show timezone").stdout == "TimeZone\nAsia/Tokyo\n"
    assert "read-only" in run_sql(demo, "create table x (i int)").stderr


def test_without_a_demo_the_message_says_how_to_start_one(tmp_path: Path) -> None:
    result = run_sql(tmp_path, "select 1")
    assert (result.returncode, result.stdout) == (78, "")
    assert "run ./scripts/demo" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_closed_pipe_is_no_error(demo: Path) -> None:
    command = " ".join([*COMMAND, "--dir", str(demo), '"select generate_series(1, 1000000)"'])
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(f"{command} | head -1", shell=True, env=environ, capture_output=True, text=True, timeout=600, check=False)  # noqa: S602
    assert (result.stdout, result.stderr) == ("generate_series\n", "")


def test_the_widest_text_is_shortened_first_and_numbers_are_not() -> None:
    assert fit_widths([3, 50, 20], [False, True, True], 40) == [3, 16, 17]
    assert fit_widths([3, 5], [True, True], 40) == [3, 5]
    assert fit_widths([20, 30], [False, True], 34) == [20, 12]
    assert fit_widths([20, 30], [False, True], 33) is None
