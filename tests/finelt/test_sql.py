"""scripts/sql: a table on a terminal, CSV in a pipe, one sentence on an error."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from finelt.sql import fit_widths
from orchestration.local import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "finelt.sql"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a demo whose server is stopped."""
    directory = tmp_path_factory.mktemp("demo")
    with postgres.run_server(directory / "postgres"):
        pass
    yield directory
    postgres.remove(directory / "postgres")


def run_sql(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command with its output in pipes."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*COMMAND, "--dir", str(directory), *words], env=environ, capture_output=True, text=True, timeout=600, check=False
    )


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
        ("select * from marts.nothing", 'relation "marts.nothing" does not exist'),
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


def test_the_widest_column_is_shortened_first() -> None:
    assert fit_widths([3, 50, 20], 40) == [3, 16, 17]
    assert fit_widths([3, 5], 40) == [3, 5]
    assert fit_widths([30] * 10, 20) == [6] * 10
