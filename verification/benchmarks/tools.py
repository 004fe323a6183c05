"""The tools that load-warehouse is compared with, each in its best documented configuration and with defaults.

Each has an environment of its own below .bench/, made once. What cannot be installed, or fails, is said to be missing, with the reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from images.uv import find_uv
from jobs.catalogue import REPOSITORY
from verification.benchmarks import measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestration.local.postgres import Postgres
    from verification.benchmarks.measurement import Measurement

ENVIRONMENTS = REPOSITORY / ".bench"
PROGRAMS = Path(__file__).with_name("tool_runner.py")
INSTALL_TIMEOUT_S, LOAD_TIMEOUT_S = 600, 300
TIMED_OUT = 124  # what `timeout` ends with where it had to end the program


class Tool(NamedTuple):
    """One way to load: the packages of its environment, the program in tool_runner.py, and how many of the 60 files it loads.

    Slow tools load fewer files; the comparison is per row. `csv`: the tool does not read Parquet and gets the same rows as one CSV.
    """

    name: str
    packages: tuple[str, ...]
    program: str
    configuration: str
    files: int = 60
    csv: bool = False


class MissingError(RuntimeError):
    """A tool is not available here; the message says why."""


_DLT = ("dlt[postgres,parquet]==1.31.0", "adbc-driver-postgresql==1.13.0", "pyarrow==26.0.1")
PANDAS = ("pandas==3.1.1", "sqlalchemy==2.1.9", "psycopg[binary]==3.3.9", "pyarrow==26.0.1")
_SINGER = ("meltanolabs-target-postgres==0.8.1", "singer-sdk==0.54.9", "sqlalchemy==2.1.9", "pyarrow==26.0.1")
TOOLS = (
    Tool("ADBC", ("adbc-driver-postgresql==1.13.0", "pyarrow==26.0.1"), "adbc", "adbc_ingest of Parquet batches, no key"),
    Tool(
        "polars",
        ("polars==2.1.0", "adbc-driver-postgresql==1.13.0", "pyarrow==26.0.1"),
        "polars",
        "write_database(engine='adbc'), no key",
    ),
    Tool(
        "duckdb",
        ("duckdb==1.5.5", "duckdb-extensions==1.5.5", "duckdb-extension-postgres-scanner==1.5.5"),
        "duckdb",
        "insert-select from Parquet, no key",
    ),
    Tool("dlt, tuned", _DLT, "dlt_tuned", "Arrow tables, Parquet and ADBC, two workers, no load id, replace, no key"),
    Tool("dlt, defaults", _DLT, "dlt", "Arrow tables, insert_values, replace, no key", 6),
    Tool("sling", ("sling-linux-amd64==1.4.11",), "sling", "CSV prepared beforehand, bulk, full refresh, no key", 6, csv=True),
    Tool("Singer target-postgres, tuned", _SINGER, "singer_tuned", "use_copy, batches of 100,000, no validation, append, no key", 2),
    Tool("Singer target-postgres, defaults", _SINGER, "singer", "upserts by key", 2),
    Tool("pandas.to_sql", PANDAS, "pandas", "SQLAlchemy and psycopg, defaults, no key", 2),
    Tool("pandas.to_sql, multi", PANDAS, "pandas_multi", "method='multi', chunks of 1,000, no key", 1),
)


NOT_RUN = {
    "ingestr": "up to 0.13 it contacts hosts of its maker at every start, later versions download it from GitHub at the first start",
    "Airbyte": "needs a cluster and images from a registry",
}


def create_environment(packages: Sequence[str]) -> Path:
    """Create an environment with the packages and return its interpreter. Raises MissingError if they cannot be installed."""
    home = ENVIRONMENTS / packages[0].partition("==")[0].partition("[")[0]
    interpreter, ready = home / "bin" / "python", home / "ready"
    wanted = "\n".join(packages)
    if ready.exists() and ready.read_text(encoding="utf-8") == wanted:
        return interpreter
    shutil.rmtree(home, ignore_errors=True)
    uv = find_uv()
    _run_installer([uv, "venv", "--quiet", "--python", "3.11", str(home)])
    _run_installer([uv, "pip", "install", "--no-config", "--quiet", "--compile-bytecode", "--python", str(interpreter), *packages])
    ready.write_text(wanted, encoding="utf-8")
    return interpreter


def _run_installer(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_TIMEOUT_S)  # noqa: S603
    except FileNotFoundError as error:
        raise MissingError(f"cannot be installed: there is no {error.filename}") from None
    except subprocess.TimeoutExpired:
        raise MissingError(f"not installed within {INSTALL_TIMEOUT_S} s") from None
    if done.returncode:
        raise MissingError(f"cannot be installed: {_last_line(done.stderr)}")


def run_tool(tool: Tool, server: Postgres, files: Sequence[Path]) -> Measurement:
    """Load Parquet files into the table tool.prices. Raises MissingError if the tool cannot be installed, or fails."""
    interpreter = create_environment(tool.packages)
    env = {
        "TOOL_URL": server.url.replace("@", f":{server.password}@"),  # read by the program, never on a command line or page
        "PATH": f"{interpreter.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "",
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "SLING_DISABLE_TELEMETRY": "TRUE",
    }
    try:
        limited = ["timeout", "--kill-after=5", str(LOAD_TIMEOUT_S)]
        return measurement.run_process([*limited, str(interpreter), str(PROGRAMS), tool.program, *map(str, files)], server=server, env=env)
    except measurement.FailedError as error:
        if error.code == TIMED_OUT:
            raise MissingError(f"not done within {LOAD_TIMEOUT_S} s") from None
        raise MissingError(f"failed: {_last_line(str(error).replace(server.password, '***'))}") from None


def format_versions(tool: Tool) -> str:
    """Return its packages with their pinned versions."""
    return ", ".join(f"{name.partition('[')[0]} {version}" for name, _, version in (package.partition("==") for package in tool.packages))


def _last_line(text: str) -> str:
    return " ".join(next((line for line in reversed(text.splitlines()) if line.strip()), "it said nothing").split())[:160]
