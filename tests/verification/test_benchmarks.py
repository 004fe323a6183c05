"""Every part of scripts/bench, at a tiny size: it runs, checks what it measured, and prints it. No test looks at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from click.testing import CliRunner
from jobkit.http import Rate
from transform_warehouse import project

from finelt.cli import finelt
from jobs.catalogue import catalogue
from orchestration.local import postgres
from orchestration.polling import wait_until
from tests.small_project import cache_manifest, copy_small_project
from verification.benchmarks import (
    as_of,
    builds,
    compare,
    extract,
    flow_overhead,
    growth,
    load,
    loaders,
    marts,
    measurement,
    page,
    partitions,
    publishing,
    recovery,
    reload,
    scratch_server,
    start,
    tools,
    valuation,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestration.local.postgres import Postgres
    from verification.benchmarks.builds import Build

ROOT = Path(__file__).parents[2]
DATABASES = count(1)


@pytest.fixture
def shared_server(postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each benchmark that starts a server a database of the session's server instead."""

    @contextmanager
    def run_server(_: Path) -> Iterator[Postgres]:
        name = f"bench_{next(DATABASES)}"
        with psycopg.connect(postgres_server.url, password=postgres_server.password, autocommit=True) as admin:
            admin.execute(f"create database {name}".encode())
            yield replace(postgres_server, database=name)
            admin.execute(f"drop database {name} with (force)".encode())

    monkeypatch.setattr(scratch_server, "run_server", run_server)


@pytest.fixture
def no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install no other tools, which takes minutes."""

    def create_environment(_: Sequence[str]) -> Path:
        raise tools.MissingError("not installed")

    monkeypatch.setattr(tools, "create_environment", create_environment)


@pytest.fixture
def demo_server(demo_directory: Path) -> Iterator[Postgres]:
    """The demo's server, with a copy of its warehouse to change."""
    with postgres.run_server(demo_directory / "postgres") as server, copy_warehouse(server) as copied:
        yield copied


@contextmanager
def copy_warehouse(server: Postgres) -> Iterator[Postgres]:
    """Copy the warehouse, for which no other session may be connected to it, and drop the copy at the end."""
    name = f"bench_{next(DATABASES)}"
    with psycopg.connect(server.url_of(server.user, "postgres"), password=server.password, autocommit=True) as admin:

        def is_copied() -> bool:
            with suppress(psycopg.errors.ObjectInUse):
                admin.execute(f"create database {name} template {server.database}".encode())
                return True
            return False

        assert wait_until(is_copied, timeout_s=300)
        yield replace(server, database=name)
        admin.execute(f"drop database {name} with (force)".encode())


@pytest.fixture
def valuations_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let benchmarks build a third of the models."""
    monkeypatch.setenv("FINELT_PROJECT", str(cache_manifest(copy_small_project(tmp_path / "dbt", "fct_valuation_daily"))))


@pytest.fixture(scope="module")
def project_of_prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cache_manifest(copy_small_project(tmp_path_factory.mktemp("bench") / "dbt", "fct_price_daily"))


@pytest.fixture
def prices_only(project_of_prices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let benchmarks build a mart and what it is made of."""
    monkeypatch.setenv("FINELT_PROJECT", str(project_of_prices))


@pytest.mark.usefixtures("shared_server", "no_tools")
def test_load_runs() -> None:
    text = "\n".join(load.page(load.measure(1200, 0, compared=tools.TOOLS[:1])))
    assert "1,200 rows in 60 monthly partitions" in text
    assert "| load-warehouse | " in text
    assert "missing: not installed" in text


@pytest.mark.usefixtures("shared_server")
def test_reload_runs() -> None:
    text = "\n".join(reload.page(reload.measure(3, 0, symbols=100)))
    assert "2,000 rows of one partition replaced" in text
    assert "| one day changed, requested | " in text
    assert "| load-warehouse, every row restated | " in text
    assert "\n| 8 | " in text


@pytest.mark.usefixtures("shared_server")
def test_loaders_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "COUNTS", (1, 2))
    text = "\n".join(loaders.page(loaders.measure(1600, 0)))
    assert "1,600 rows in 8 new partitions" in text
    assert text.count("\n| 2 | ") == 2


@pytest.mark.usefixtures("shared_server")
def test_recovery_runs() -> None:
    text = "\n".join(recovery.page(recovery.measure(2400, 3)))
    assert "2,400 rows of prices in 12 partitions" in text
    assert f"| {recovery.CATCH_UP} | " in text
    assert "brought back 3 deleted objects" in text


@pytest.mark.usefixtures("shared_server")
def test_growth_runs() -> None:
    text = "\n".join(growth.page(growth.measure(240, (1,))))
    assert "| partitions of the same size | 240 | 12 | " in text


@pytest.mark.usefixtures("shared_server")
def test_partitions_run() -> None:
    text = "\n".join(partitions.page(partitions.measure(100, (2,))))
    assert "\n| 2 | 100 | 1 | " in text


@pytest.mark.usefixtures("shared_server", "no_tools")
def test_publish_runs() -> None:
    text = "\n".join(publishing.page(publishing.measure(100, 0)))
    assert "100 rows of fct_price_daily" in text
    assert f"| {publishing.WHOLE} | " in text
    assert "pandas is missing: not installed" in text


@pytest.mark.usefixtures("no_tools")
def test_extract_runs() -> None:
    text = "\n".join(extract.page(*extract.measure(0, facts=100, tickers=10, days=5, members=(2, 340), paced=[(Rate(10, 0.1), 5)])))
    assert text.count(f"| {extract.OURS} | ") == 4
    assert "| 10 in 0.1 s | " in text


@pytest.mark.usefixtures("shared_server")
def test_start_runs() -> None:
    specs = tuple(spec for spec in catalogue() if spec.name in ("load-warehouse", "extract-ecb-fx-rates"))
    text = "\n".join(start.page(start.measure(2, 5, 0, specs, in_images=False)))
    assert "A changed day has 5 rows, all changed, and is one of 2." in text
    assert text.count("\n| load-warehouse | ") == 3


def test_each_job_of_the_catalogue_can_be_started(tmp_path: Path) -> None:
    """With options that are complete and right, for a server that does not listen."""
    for spec in catalogue():
        words = start._words(spec, tmp_path)
        assert start._imports(spec, ["run", *words], 0).modules > 0


def test_steps_and_scale_run() -> None:
    steps = "\n".join(flow_overhead.steps(["process"], 1))
    assert "\n| process | " in steps
    scale = "\n".join(flow_overhead.scale(runs=2, seconds=0, concurrency=2, minutes=5))
    assert "2 of 2 runs of a job that sleeps 0 s" in scale


@pytest.mark.usefixtures("prices_only")
def test_marts_run(demo_server: Postgres) -> None:
    text = "\n".join(marts.page(marts.measure(demo_server, built=2, tickers=3, times=1)))
    assert "\n| after one new day | " in text


@pytest.mark.usefixtures("valuations_only")
def test_valuation_runs(demo_server: Postgres) -> None:
    text = "\n".join(valuation.page(valuation.measure(demo_server, sizes=[1000], times=1)))
    assert "| one ticker, one day | " in text


def test_a_view_reads_the_rows_of_its_key_only(demo_server: Postgres) -> None:
    """Of the raw prices those of one ticker, and of the facts those of one issuer, whichever plan Postgres prefers for so few rows."""
    found = as_of.measure(demo_server, tickers=10, facts=20_000, times=1)
    assert [asked.mart for asked in found.asked] == sorted(as_of.KEYS) == project.list_marts(project.CHECKOUT_PROJECT)
    asked = {asked.mart: asked for asked in found.asked}
    for mart in ("price_daily", "return_daily", "valuation_daily", "price_issue", "corporate_action", "close_difference"):
        assert 0 < asked[f"fct_{mart}"].prices_read <= found.prices / 5, mart
    for mart in ("fct_valuation_daily", "fct_fundamental", "dim_issuer"):
        assert asked[mart].facts_read <= found.facts / 5, mart
    for mart in ("security", "security_ticker", "security_identifier"):  # those around gaps of a ticker
        assert asked[f"dim_{mart}"].prices_read <= 20, mart
    assert asked["fct_restatement"].prices_read <= 100  # those of one day
    assert asked["fct_restatement"].facts_read == 0  # it asks about prices
    assert len(list(as_of.page(found))) == len(as_of.KEYS) + 4


@pytest.fixture(scope="session")
def both() -> list[Build]:
    """Return this checkout, and a clone of its newest commit."""
    return [builds.this_build(), builds.prepare_build("HEAD")]


@pytest.mark.usefixtures("shared_server")
@pytest.mark.parametrize("part", [part for part in compare.PARTS if part != "marts"])
def test_compare_runs_two_builds_on_the_same_rows(part: str, both: list[Build]) -> None:
    found = compare.measure(part, both, compare.Size(rows=2000, tickers=2, facts=340, times=0))
    text = "\n".join(compare.page(found, both))
    assert text.count("| this build | ") == text.count("| HEAD | ") == len(found)


@pytest.mark.usefixtures("prices_only")
def test_compare_builds_marts(demo_server: Postgres, both: list[Build]) -> None:
    """One build alone: a build of the marts takes long, and the other parts measure two."""
    size = compare.Size(rows=0, tickers=2, facts=0, times=0)
    found = compare.measure_marts(both[:1], size, [demo_server])
    assert list(found) == ["everything", "after one new day", "as of a moment"]


def test_compare_refuses_an_unknown_commit() -> None:
    done = subprocess.run([ROOT / "scripts" / "bench", "compare", "no-such-commit"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'no-such-commit' is no commit of this repository" in done.stderr


def test_a_measurement_replaces_its_own_part_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PAGE", tmp_path / "benchmarks.md")
    for part, lines in (("scale", ["| a | b |", "", "slow"]), ("steps", ["first"]), ("scale", ["| a | b |", "", "fast"])):
        page.write_part(part, page.render_part(part, lines))
    text = page.PAGE.read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [f"## {page.TITLES[part]}" for part in ("steps", "scale")]
    assert "slow" not in text
    assert text.count("fast") == 1
    assert "Written by `scripts/bench --write steps`." in text


def test_the_page_is_written_only_if_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PAGE", tmp_path / "benchmarks.md")
    monkeypatch.setattr(start, "measure", lambda *_: ())
    monkeypatch.setattr(start, "page", lambda _: ["fast"])
    printed = CliRunner().invoke(finelt, ["bench", "start"])
    assert (printed.exit_code, "fast" in printed.output, page.PAGE.exists()) == (0, True, False)
    assert CliRunner().invoke(finelt, ["bench", "--write", "start"]).exit_code == 0
    assert "fast" in page.PAGE.read_text()


def test_an_ended_benchmark_stops_the_server_that_it_started(tmp_path: Path) -> None:
    """A benchmark that a scheduler or a person ends with SIGTERM leaves no Postgres behind."""
    code = (
        "import sys; from pathlib import Path; from verification.benchmarks import __main__ as bench, load, scratch_server\n"
        "def measure(*_, **__):\n"
        "    with scratch_server.run_server(Path(sys.argv[1])) as server:\n"
        "        print(server.pid, flush=True); sys.stdin.read()\n"
        "load.measure = measure; bench.main(['load'])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "server")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        server = int(process.stdout.readline())
        process.terminate()
        assert process.wait() == 143
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)


def test_every_part_of_the_page_has_its_command() -> None:
    text = subprocess.run([ROOT / "scripts" / "bench", "--help"], capture_output=True, text=True, check=True).stdout
    assert all(f"\n  {part}" in text for part in page.TITLES)


def test_a_missing_or_late_tool_is_reported_next_to_the_others() -> None:
    ours, tool, late = measurement.Measurement(10.0), tools.TOOLS[0], tools.TOOLS[1]
    runs = {"COPY BINARY, no key": [measurement.Measurement(8.0)], load.OURS: [ours]}
    text = "\n".join(
        load.page(
            load.LoadResult(
                1_000_000,
                runs,
                {"keys": measurement.Measurement(2.0)},
                {tool: (500_000, measurement.Measurement(20.0)), late: "missing: not done within 300 s"},
            )
        )
    )
    assert f"| {tool.name} | 500,000 | 20 | 25,000 | 4 times as fast |" in text
    assert f"| {late.name} | missing: not done within 300 s |" in text
    assert all(f"{name}; {reason}" in text for name, reason in tools.NOT_RUN.items())


def test_every_package_of_every_tool_is_pinned() -> None:
    assert all("==" in package for tool in tools.TOOLS for package in tool.packages)


def test_a_failed_program_is_reported_with_its_code_and_last_output() -> None:
    with pytest.raises(measurement.FailedError, match="ended with 3: alas") as failed:
        measurement.run_process([sys.executable, "-c", "import sys; sys.stderr.write('alas'); sys.exit(3)"])
    assert failed.value.code == 3


def test_this_build_has_the_command_of_its_demo() -> None:
    build = builds.this_build()
    done = subprocess.run(build.demo("--help"), env={**os.environ, **build.env}, capture_output=True, text=True, check=True)
    assert "Run the whole pipeline" in done.stdout


def test_the_demo_of_another_build_runs_no_module_of_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that a demo starts inherit its PYTHONPATH but not PYTHONSAFEPATH, so Python also searches the current directory."""
    package = tmp_path / "finelt"
    package.mkdir()
    for name in ("__init__.py", "only_there.py"):
        (package / name).touch()
    start = f"subprocess.run([sys.executable, '-m', 'finelt.only_there'], env={{'PYTHONPATH': {str(tmp_path)!r}}})"
    (package / "__main__.py").write_text(f"import subprocess, sys\nsys.exit({start}.returncode)\n")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(builds.postgres, "run_server", lambda _: nullcontext("its server"))
    with builds.Build("another", tmp_path, Path(sys.executable)).run_demo_server(tmp_path / "demo") as server:
        assert str(server) == "its server"
