"""The job contract, tested for every job in the catalogue. A new job is included automatically."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jobkit.errors import ExitCode

from jobs.catalogue import REPOSITORY, JobSpec, catalogue
from tests import forks
from tests.job_output import JobOutput

if TYPE_CHECKING:
    from collections.abc import Iterator


HEAVY = {"httpx2", "arro3.core", "boto3", "pandas", "numpy", "psycopg", "adbc_driver_manager", "dbt.cli.main", "yaml", "jinja2"}
HEAVY |= {"msgspec", "pgpq", "psycopg2", "stamina"}
HEAVY |= {f"jobkit.{module}" for module in ("contracts", "extraction", "http", "lake", "partition_writer", "stores")}
HEAVY |= {"asyncio", "concurrent.futures", "email.message", "hashlib", "importlib.metadata", "ssl", "tempfile", "zipfile", "zoneinfo"}
CANARY = "canary-7f3a9c-secret"

every_job = pytest.mark.parametrize("spec", catalogue(), ids=lambda spec: spec.name)


def command(spec: JobSpec, *arguments: str) -> list[str]:
    return [sys.executable, "-m", spec.package, *arguments]


def environment(**more: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("FINELT_", "PREFECT_"))}
    return {**ours, "CANARY": CANARY, **more}


def call(spec: JobSpec, *arguments: str, **more: str) -> JobOutput:
    done = forks.run(command(spec, *arguments), environment(**more), timeout=60)
    return JobOutput(done.returncode, done.stdout, done.stderr)


@cache
def describe(spec: JobSpec) -> dict[str, Any]:
    return call(spec, "describe").document


def arguments(spec: JobSpec, tmp_path: Path, port: int, **changes: str) -> list[str]:
    """Options with which the job would run, against a vendor or a database on this port."""
    known = {
        "lake": str(tmp_path / "lake"),
        "start": "2012-12-03",
        "end": "2012-12-03",
        "tickers": "AAPL",
        "ciks": "320193",
        "managers": "1067983",
        "issuers": "320193",
        "series": "GDP",
        "identifiers": "ID_ISIN:US4592001014",
        "contact": "Example Ltd admin@example.com",
        "base_url": f"http://127.0.0.1:{port}",
        "retry_timeout": "0",
        "token": "env://CANARY",
        "warehouse": f"postgresql://finelt@127.0.0.1:{port}/warehouse",
        "warehouse_password": "env://CANARY",
        "database": f"postgresql://finelt@127.0.0.1:{port}/vendor",
        "database_password": "env://CANARY",
        "site": str(tmp_path / "site"),
        "drop": "s3://bucket/drop",
        "connection": "acme",
        "tap": "true",
        "stream": "orders=acme_orders",
        "tap_secrets": "env://CANARY",
        **changes,
    }
    options = describe(spec)["options"]
    if {"catalog", "tap"} & set(options["properties"]):  # S3 is the other side
        known |= {"lake": "s3://bucket/lake", "catalog": "glue"}
    if "datasets" in options["required"]:  # those of GLEIF; others have a default
        known["datasets"] = "gleif_relationships"
    unknown = set(options["required"]) - set(known)
    assert not unknown, f"tell tests/test_job_contract.py an example of {', '.join(sorted(unknown))}"
    return [word for name in options["properties"] if name in known for word in (f"--{name.replace('_', '-')}", known[name])]


def s3(port: int) -> dict[str, str]:
    """An environment in which S3 is on this port; for the job whose other side that is."""
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "eu-central-1"}
    return {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_MAX_ATTEMPTS": "2", **keys}


def test_the_documented_exit_codes_are_those_of_the_code() -> None:
    """The contract's table equals ExitCode line by line; every other page names no code that no job returns."""
    rows = [f"| {code} | {code.meaning} | {code.next_step} |" for code in ExitCode]
    readme = (REPOSITORY / "jobs" / "README.md").read_text(encoding="utf-8")
    table = readme.partition("## Exit codes\n\n")[2].partition("\n\n")[0]
    assert table.splitlines()[2:] == rows
    operations = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    named = {int(code) for code in re.findall(r"^\| (\d{1,3}) ", operations, re.MULTILINE)}
    assert named
    assert named <= set(ExitCode)


@every_job
def test_describe_states_what_the_job_declares(spec: JobSpec) -> None:
    description = describe(spec)
    assert (description["job"], description["description"]) == (spec.name, spec.description)
    assert {name: description["resources"][name] for name in ("cpu", "memory", "tmp_mib")} == {
        "cpu": spec.cpu,
        "memory": spec.memory,
        "tmp_mib": spec.tmp_mib,
    }
    assert ("max_body_bytes" in description["resources"]) == spec.name.startswith("extract-")
    assert description["deadline_s"] == description["options"]["properties"]["deadline"]["default"] == spec.deadline_s
    assert description["hosts"] == list(spec.hosts)
    assert description["datasets"] == {"reads": list(spec.reads), "writes": list(spec.writes)}
    assert description["exit_codes"] == {str(code): code.meaning for code in ExitCode}
    schema = description["options"]
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) <= set(schema["properties"])
    assert all(option["description"] for option in schema["properties"].values())
    assert set(spec.secrets) <= set(schema["properties"])


@every_job
def test_every_job_prints_its_version(spec: JobSpec) -> None:
    ended = call(spec, "--version")
    assert (ended.code, ended.stdout) == (0, f"{spec.name}, version {spec.version}\n")


@every_job
def test_describe_imports_no_heavy_module_and_opens_no_socket(spec: JobSpec) -> None:
    code = f"""
import runpy, socket, sys
def refuse(*_, **__): raise AssertionError("describe opened a socket")
socket.socket = refuse
sys.argv = [{spec.name!r}, "describe"]
try:
    runpy.run_module({spec.package!r}, run_name="__main__", alter_sys=False)
except SystemExit:
    pass
print("\\n".join(sorted(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60, check=True)
    assert set(done.stdout.splitlines()) & HEAVY == set()


@every_job
def test_every_option_is_also_an_environment_variable(spec: JobSpec) -> None:
    help_text = call(spec, "run", "--help").stdout
    for name in describe(spec)["options"]["properties"]:
        assert f"FINELT_{name.upper()}" in help_text


@every_job
def test_a_missing_option_is_a_usage_error_in_one_sentence(spec: JobSpec) -> None:
    ended = call(spec, "run")
    assert (ended.code, ended.receipt["status"], ended.receipt["exit_code"]) == (2, "failed", 2)
    assert "Missing option" in ended.receipt["error"]
    assert "Traceback" not in ended.stderr


@every_job
def test_an_unknown_option_is_a_usage_error(spec: JobSpec) -> None:
    ended = call(spec, "run", "--colour", "blue")
    assert (ended.code, ended.receipt["exit_code"]) == (2, 2)


@pytest.mark.parametrize("spec", [spec for spec in catalogue() if spec.secrets], ids=lambda spec: spec.name)
def test_a_literal_secret_is_refused_and_not_repeated(spec: JobSpec, tmp_path: Path) -> None:
    for name in spec.secrets:
        ended = call(spec, "run", *arguments(spec, tmp_path, 1, **{name: CANARY}))
        assert ended.code == 2
        assert CANARY not in ended.stdout + ended.stderr


@every_job
@pytest.mark.parametrize(
    ("start", "end", "message"),
    [("2999-01-01", "2999-01-02", "future"), ("2012-12-31", "2012-01-01", "is after"), ("3 May", "2012-01-01", "not a date")],
)
def test_an_impossible_date_range_is_refused(spec: JobSpec, tmp_path: Path, start: str, end: str, message: str) -> None:
    if "start" not in describe(spec)["options"]["properties"]:
        pytest.skip("this job takes no dates")
    ended = call(spec, "run", *arguments(spec, tmp_path, 1, start=start, end=end))
    assert ended.code == 2
    assert message in ended.receipt["error"]
    assert not (tmp_path / "lake").exists()


@every_job
def test_an_unreachable_peer_is_temporary_and_no_secret_leaks(spec: JobSpec, tmp_path: Path) -> None:
    """Nobody listens on the port: exit 75 on run, and on check."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for verb in ("check", "run"):
        ended = call(spec, verb, *arguments(spec, tmp_path, port), **s3(port))
        assert (ended.code, ended.receipt["exit_code"], ended.receipt["verb"]) == (75, 75, verb)
        assert ended.receipt["error"].count("\n") == 0
        assert "Traceback" not in ended.stderr
        assert CANARY not in ended.stdout + ended.stderr


@contextmanager
def silence() -> Iterator[tuple[int, threading.Event]]:
    """A server that takes connections and never says a word; the event is set by the first."""
    met = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return
                met.set()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1], met
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                connection.close()


@every_job
def test_sigterm_ends_the_job_with_143_and_a_receipt(spec: JobSpec, tmp_path: Path) -> None:
    with silence() as (port, met):
        words = command(spec, "run", *arguments(spec, tmp_path, port))
        with forks.ForkedJob(words, environment(**s3(port))) as process:
            assert met.wait(30), "the job never called the other side"
            process.send_signal(signal.SIGTERM)
            stdout, stderr = process.communicate(timeout=60)  # the contract is ten; a busy machine may need longer
    assert process.returncode is not None
    ended = JobOutput(process.returncode, stdout, stderr)
    assert (ended.code, ended.receipt["status"]) == (143, "stopped")
    assert "Traceback" not in ended.stderr
    assert not list((tmp_path / "lake").rglob("*.json"))


@every_job
def test_a_job_whose_peer_hangs_ends_at_its_deadline_with_75_and_a_receipt(spec: JobSpec, tmp_path: Path) -> None:
    with silence() as (port, _):
        ended = call(spec, "run", *arguments(spec, tmp_path, port), "--deadline", "3", **s3(port))
    assert (ended.code, ended.receipt["exit_code"], ended.receipt["status"]) == (75, 75, "failed")
    assert ended.receipt["error"].startswith("its deadline of 3 s has passed; no partial result is visible")
    assert "Traceback" not in ended.stderr
    assert not list((tmp_path / "lake").rglob("*.json"))


URLS = {
    "lake": "s3://AKIA:{}@bucket/lake",
    "site": "s3://bucket/site?X-Amz-Signature={}",
    "docs": "https://u:{}@host/docs",
    "drop": "file://u:{}@/drop",
    "base_url": "https://host/?api_key={}",
    "warehouse": "postgresql://finelt@h/x?password={}",
    "database": "postgresql://finelt@h/x?password={}",
}


@every_job
@pytest.mark.parametrize(("verb", "way"), [("run", "option"), ("check", "option"), ("plan", "option"), ("run", "variable")])
def test_a_credential_in_a_url_is_refused_and_not_repeated(spec: JobSpec, tmp_path: Path, verb: str, way: str) -> None:
    given = arguments(spec, tmp_path, 1)
    for name in sorted(set(URLS) & set(describe(spec)["options"]["properties"])):
        url, option = URLS[name].format(CANARY), f"--{name.replace('_', '-')}"
        others = [word for at, word in enumerate(given) if option not in (word, given[at - 1])]
        words, variables = ([option, url], {}) if way == "option" else ([], {f"FINELT_{name.upper()}": url})
        ended = call(spec, verb, *others, *words, **variables)
        assert (ended.code, ended.receipt["exit_code"]) == (2, 2), name
        assert option in ended.receipt["error"]
        assert CANARY not in ended.stdout + ended.stderr


@every_job
def test_a_shell_completes_verbs_and_options(spec: JobSpec) -> None:
    """As README.md says: the variable is the command in capitals, and what it prints is sourced."""
    variable = f"_{spec.name.upper().replace('-', '_')}_COMPLETE"
    script = [str(Path(sys.executable).with_name(spec.name))]
    sourced = subprocess.run(script, env=environment(**{variable: "bash_source"}), capture_output=True, text=True, check=False)
    assert "complete -o nosort -F" in sourced.stdout
    options = {f"--{name.replace('_', '-')}" for name in describe(spec)["options"]["properties"]}
    for words, place, offered in (("", "1", {"run", "check", "plan", "describe"}), ("run --", "2", options)):
        asked = environment(**{variable: "bash_complete", "COMP_WORDS": f"{spec.name} {words}", "COMP_CWORD": place})
        output = subprocess.run(script, env=asked, capture_output=True, text=True, check=False).stdout
        assert {line.split(",")[1] for line in output.splitlines()} >= offered
