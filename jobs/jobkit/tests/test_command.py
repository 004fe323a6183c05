"""A made-up job as a process: receipt, exit codes, arguments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from jobkit import deprecation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PYPROJECT = """
[project]
name = "made-up"
version = "1.2.3"
description = "A job for tests."
[tool.finelt]
cpu = 1024
memory = 2048
deadline_s = 600
secrets = ["token"]
"""
MAIN = """
import os, pathlib, signal, sys, threading, time
import click
from jobkit import command, errors, interruption, options, secrets

OPTIONS = [
    options.option("--do", default="nothing", help="What to do."),
    options.option("--many", multiple=True, help="Several."),
    options.secret("--token", default="env://TOKEN", help="A secret."),
    options.option("--day", type=options.BusinessDate(), help="A day."),
]

def run(job, *, do, many, token, day):
    '''Do what is asked.'''
    job.log.info("asked", extra={"do": do})
    job.record_partition("d", "p=1", "committed", rows=3, bytes=10, sha256="x", quarantined=1)
    job.record_partition("d", "p=2", "unchanged", rows=2)
    job.details["note"] = "kept"
    job.progress(1, 2, "half")
    if do == "rotate":
        secrets.resolve(token)
        pathlib.Path(token.removeprefix("file://")).write_text("another")  # as its keeper would, meanwhile
        do = "AuthError"
    if do == "wait":
        threading.Event().wait()
    if do == "serialize":
        import pydantic
        class Stopped(pydantic.BaseModel):
            @pydantic.model_serializer
            def convert(self):
                os.kill(os.getpid(), signal.SIGTERM)
                return {}
        Stopped().model_dump()
    if do in ("swallow", "translate"):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException as error:
            if do == "translate":
                raise errors.BadDataError(f"the library failed: {error}")
        do = "nothing"
    if do == "hang":  # nothing gets through to the main thread, and a worker never ends
        threading.Thread(target=threading.Event().wait).start()
        job.record_partition("d", "p=3", "committed", rows=1)
        while True:
            try:
                print("hanging", file=sys.stderr, flush=True)
                threading.Event().wait()
            except BaseException:
                pass
    if do == "linger":
        threading.Thread(target=threading.Event().wait).start()
        do = "nothing"
    if do == "echo":
        secret = secrets.resolve(token)
        job.details["note"] = {secret: [f"https://u:pw@h/?api_key=k {secret}"]}
        job.log.warning("the vendor says %s", secret, extra={"answer": secret.upper()})
        thread = threading.Thread(target=lambda: 1 / {}[secret])
        thread.start()
        thread.join()
        raise ValueError(secret)
    if do == "bug":
        raise ZeroDivisionError("division by zero")
    if do != "nothing":
        raise getattr(errors, do)(f"{do} was asked for; ask for nothing")

def check(job, **_):
    pass

def plan(job, **_):
    return [{"partition": "p=1"}]

main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)
if __name__ == "__main__":
    main()
"""


@dataclass(frozen=True)
class Ended:
    code: int
    receipt: dict[str, Any]
    stderr: str


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    package = tmp_path / "made_up"
    package.mkdir()
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(MAIN)
    return tmp_path


def call(folder: Path, *words: str, code: Sequence[str] = ("-m", "made_up"), **variables: str) -> Ended:
    environment = {**os.environ, "PYTHONPATH": str(folder), **variables}
    done = subprocess.run([sys.executable, *code, *words], env=environment, capture_output=True, text=True, check=False)
    (line,) = done.stdout.splitlines()
    return Ended(done.returncode, json.loads(line), done.stderr)


def test_the_receipt_lists_and_sums_up_the_partitions(folder: Path) -> None:
    ended = call(folder, "run", FINELT_IMAGE_DIGEST="sha256:abc")
    receipt = ended.receipt
    assert (ended.code, receipt["status"], receipt["error"]) == (0, "done", None)
    assert (receipt["job"], receipt["version"], receipt["image_digest"]) == ("made-up", "1.2.3", "sha256:abc")
    assert (receipt["rows"], receipt["bytes"], receipt["quarantined"]) == (5, 10, 1)
    assert (receipt["committed"], receipt["unchanged"]) == (1, 1)
    assert receipt["details"] == {"note": "kept"}
    assert receipt["peak_rss_bytes"] > 5_000_000
    assert receipt["fargate_usd"] == pytest.approx((0.04048 + 2 * 0.004445) / 60, abs=1e-6)


def test_secrets_are_masked_and_other_arguments_shown(folder: Path) -> None:
    ended = call(folder, "run", "--many", "a", "--many", "b", "--token", "env://OTHER")
    assert ended.receipt["arguments"] == {"do": "nothing", "many": ["a", "b"], "token": "***", "day": None, "deadline": 600}


def test_logs_are_json_lines_on_stderr(folder: Path) -> None:
    lines = [json.loads(line) for line in call(folder, "run").stderr.splitlines()]
    assert [(line["event"], line["do"]) for line in lines if "do" in line] == [("asked", "nothing")]


def test_the_last_line_of_the_log_says_what_was_done_in_how_many_seconds(folder: Path) -> None:
    ended = call(folder, "run")
    last = json.loads(ended.stderr.splitlines()[-1])
    assert last["event"] == "2 partitions: 1 committed, 1 unchanged; 5 rows, 1 quarantined"
    assert last["elapsed_s"] == ended.receipt["elapsed_s"]
    assert json.loads(call(folder, "run", "--do", "BadDataError").stderr.splitlines()[-1])["event"].startswith("BadDataError was asked")


@pytest.mark.parametrize(
    ("error", "code"),
    [("UsageError", 2), ("BadDataError", 65), ("TemporaryError", 75), ("AuthError", 77), ("MisconfiguredError", 78)],
)
def test_each_error_has_its_exit_code_and_one_sentence(folder: Path, error: str, code: int) -> None:
    ended = call(folder, "run", "--do", error)
    assert (ended.code, ended.receipt["exit_code"], ended.receipt["status"]) == (code, code, "failed")
    assert ended.receipt["error"] == f"{error} was asked for; ask for nothing"
    assert ended.receipt["committed"] == 1
    assert "Traceback" not in ended.stderr


def test_a_refused_secret_that_was_rotated_during_the_run_is_temporary(folder: Path) -> None:
    (folder / "token").write_text("canary-7f3a9c")
    ended = call(folder, "run", "--do", "rotate", "--token", f"file://{folder}/token")
    assert (ended.code, ended.receipt["exit_code"]) == (75, 75)
    assert f"the secret at file://{folder}/token was rotated during this run" in ended.receipt["error"]
    assert "canary" not in ended.stderr


SIGTERM_IN = """
import os, runpy, signal
from jobkit import command
function = command.{name}
def interrupted(*given, **more):
    os.kill(os.getpid(), signal.SIGTERM)
    return function(*given, **more)
command.{name} = interrupted
runpy.run_module("made_up", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("name", "do", "code"),
    [("_start_lineage", "nothing", 143), ("_outcome", "nothing", 143), ("_failed", "BadDataError", 143), ("_end", "nothing", 0)],
)
def test_sigterm_gives_a_receipt_wherever_it_arrives(folder: Path, name: str, do: str, code: int) -> None:
    """Before the job's own code, while its failure is logged, and after it has succeeded."""
    ended = call(folder, "run", "--do", do, code=["-c", SIGTERM_IN.format(name=name)])
    assert (ended.code, ended.receipt["exit_code"]) == (code, code)
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("do", ["serialize", "translate", "swallow"])
def test_sigterm_ends_a_job_whose_library_makes_another_error_of_it(folder: Path, do: str) -> None:
    """pydantic-core 2.50 makes a PydanticSerializationError of any BaseException, which would be a bug (70)."""
    ended = call(folder, "run", "--do", do)
    assert (ended.code, ended.receipt["exit_code"], ended.receipt["status"]) == (143, 143, "stopped")
    assert ended.receipt["error"].startswith("stopped by SIGTERM")
    assert "Traceback" not in ended.stderr


SOONER = """
import runpy, signal
from jobkit import interruption
interruption.STOP_WITHIN_S = 0.5
runpy.run_module("made_up", run_name="__main__", alter_sys=True)
"""


def test_a_job_ends_at_its_deadline_with_75_and_a_receipt(folder: Path) -> None:
    ended = call(folder, "run", "--do", "wait", FINELT_DEADLINE="1")
    assert (ended.code, ended.receipt["exit_code"], ended.receipt["status"]) == (75, 75, "failed")
    assert ended.receipt["error"].startswith("its deadline of 1 s has passed; no partial result is visible.")
    assert ended.receipt["arguments"]["deadline"] == 1
    assert ended.receipt["committed"] == 1
    assert "Traceback" not in ended.stderr


def test_a_job_that_hangs_is_cut_off_at_its_deadline_with_a_receipt(folder: Path) -> None:
    ended = call(folder, "run", "--do", "hang", "--deadline", "1", code=["-c", SOONER])
    assert (ended.code, ended.receipt["exit_code"]) == (75, 75)
    assert ended.receipt["committed"] == 2
    assert "deadline of 1 s" in ended.receipt["error"]


def test_a_job_that_hangs_is_cut_off_after_sigterm_with_a_receipt(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    words = [sys.executable, "-c", SOONER, "run", "--do", "hang"]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert any("hanging" in line for line in process.stderr)
        process.terminate()
        assert process.stdout
        receipt = json.loads(process.stdout.read())
    assert (process.returncode, receipt["exit_code"], receipt["status"]) == (143, 143, "stopped")


def test_a_finished_job_waits_for_no_thread(folder: Path) -> None:
    assert call(folder, "run", "--do", "linger").code == 0


def test_the_declared_deadline_is_the_default(folder: Path) -> None:
    described = call(folder, "describe").receipt
    assert described["deadline_s"] == 600
    expected = {"type": "integer", "minimum": 1, "maximum": 604800, "default": 600}
    assert described["options"]["properties"]["deadline"].items() >= expected.items()
    assert call(folder, "run").receipt["arguments"]["deadline"] == 600
    for wrong in ("0", "-1", "inf", "1e3", "604801"):
        assert call(folder, "run", "--deadline", wrong).code == 2


def test_no_secret_leaves_a_job(folder: Path) -> None:
    """In values, keys, logs, tracebacks of its own and of threads; the receipt is JSON still."""
    (folder / "token").write_text("tulip-4c9a-horse")
    ended = call(folder, "run", "--do", "echo", "--token", f"file://{folder}/token")
    assert (ended.code, ended.receipt["error"]) == (70, "a bug in made-up: ValueError: ***")
    assert ended.receipt["details"]["note"] == {"***": ["https://***@h/?api_key=*** ***"]}
    assert "KeyError: '***'" in ended.stderr
    assert "the vendor says ***" in ended.stderr
    assert "tulip" not in (json.dumps(ended.receipt) + ended.stderr).lower()


@pytest.mark.parametrize(
    "words",
    [["tulip-horse"], ["--token", "tulip-horse"], ["--deadline", "https://u:tulip-horse@h"], ["--trace", "https://u:tulip-horse@h"]],
)
@pytest.mark.parametrize("verb", ["run", "check", "plan"])
def test_a_secret_in_the_wrong_place_is_refused_and_not_repeated(folder: Path, verb: str, words: list[str]) -> None:
    ended = call(folder, verb, *words)
    assert ended.code == 2
    assert "tulip" not in json.dumps(ended.receipt) + ended.stderr


@pytest.mark.parametrize("verb", ["run", "check", "plan"])
def test_a_url_of_the_environment_with_a_password_is_refused_and_not_repeated(folder: Path, verb: str) -> None:
    variables = {"PREFECT__FLOW_RUN_ID": "1", "PREFECT_API_URL": "http://u:tulip-horse@127.0.0.1:1/api"}
    ended = call(folder, verb, **variables)
    assert (ended.code, ended.receipt["verb"]) == (2, verb)
    assert ended.receipt["error"].startswith("PREFECT_API_URL holds a user")
    assert "tulip" not in json.dumps(ended.receipt) + ended.stderr


def test_a_bug_is_70_and_its_traceback_goes_to_the_log(folder: Path) -> None:
    ended = call(folder, "run", "--do", "bug")
    assert (ended.code, ended.receipt["exit_code"]) == (70, 70)
    assert "ZeroDivisionError: division by zero" in ended.receipt["error"]
    assert "Traceback" in ended.stderr


def test_the_command_line_wins_over_the_environment(folder: Path) -> None:
    assert call(folder, "run", FINELT_DO="UsageError").code == 2
    assert call(folder, "run", "--do", "nothing", FINELT_DO="UsageError").code == 0


def test_plan_and_check_print_a_receipt(folder: Path) -> None:
    assert call(folder, "plan").receipt["details"]["plan"] == [{"partition": "p=1"}]
    checked = call(folder, "check").receipt
    assert (checked["verb"], checked["status"], checked["partitions"]) == ("check", "done", [])


def test_a_terminal_gets_the_plan_as_a_table_and_help_by_its_short_option(folder: Path) -> None:
    primary, secondary = os.openpty()
    command = [sys.executable, "-m", "made_up", "plan"]
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=secondary, env=environ, check=True)
    os.close(secondary)
    with os.fdopen(primary, "rb", buffering=0) as terminal:
        assert terminal.read(1000).decode().split("\r\n")[:3] == ["partition", "p=1", "plan: 1 partition"]
    assert json.loads(done.stdout)["details"]["plan"] == [{"partition": "p=1"}]
    helped = subprocess.run([*command, "-h"], env=environ, capture_output=True, text=True, check=True)
    assert helped.stdout.startswith("Usage: made-up plan [OPTIONS]")


EAST, WEST = "Pacific/Kiritimati", "Etc/GMT+12"  # 14 hours ahead of UTC and 12 behind: never on the same day


def day_of_run(folder: Path, given: str, vendor: str, **variables: str) -> tuple[str, set[str]]:
    """The day of a job whose vendor is in a time zone, and the days that it was there meanwhile."""
    (folder / "pyproject.toml").write_text(PYPROJECT + f'timezone = "{vendor}"\n')
    before = datetime.now(ZoneInfo(vendor)).date()
    ended = call(folder, "run", "--day", given, **variables)
    assert ended.code == 0, ended.receipt["error"]
    return ended.receipt["arguments"]["day"], {str(before), str(datetime.now(ZoneInfo(vendor)).date())}


@pytest.mark.parametrize("vendor", [EAST, WEST, "UTC"])
def test_today_is_the_vendors_day_wherever_the_job_runs(folder: Path, vendor: str) -> None:
    day, days = day_of_run(folder, "today", vendor, TZ=WEST if vendor == EAST else EAST)
    assert day in days


def test_a_day_that_has_begun_in_the_east_is_the_vendors_current_day(folder: Path) -> None:
    day, days = day_of_run(folder, str(datetime.now(ZoneInfo(EAST)).date()), WEST)
    assert day in days


def test_a_past_day_is_taken_as_it_is(folder: Path) -> None:
    assert day_of_run(folder, "2012-12-31", EAST)[0] == "2012-12-31"


def test_a_day_that_has_not_begun_anywhere_is_refused(folder: Path) -> None:
    ended = call(folder, "run", "--day", str(datetime.now(ZoneInfo(EAST)).date() + timedelta(days=2)))
    assert ended.code == 2
    assert "is in the future" in ended.receipt["error"]


def test_an_old_variable_sets_the_current_one_and_does_not_replace_it() -> None:
    environ = {"FINELT_KILL_AT": "?"}
    assert "use FINELT_FAILPOINT" in deprecation.rename_variables(environ)[0]
    assert environ["FINELT_FAILPOINT"] == "?"
    environ = {"FINELT_KILL_AT": "?", "FINELT_FAILPOINT": "before link#1"}
    deprecation.rename_variables(environ)
    assert environ["FINELT_FAILPOINT"] == "before link#1"


def test_an_old_parameter_of_a_launcher_is_the_current_option() -> None:
    warning = "the parameter patience is deprecated and will be removed in the next version; use retry_timeout"
    assert deprecation.rename_parameters({"patience": 5, "lake": "x"}) == ({"retry_timeout": 5, "lake": "x"}, [warning])
    assert deprecation.rename_parameters({"retry_timeout": 7, "patience": 5}) == ({"retry_timeout": 7}, [warning])
    assert deprecation.rename_parameters({"lake": "x"}) == ({"lake": "x"}, [])


def test_the_old_failpoint_variable_still_logs_failpoints_with_a_notice(folder: Path) -> None:
    ended = call(folder, "run", FINELT_KILL_AT="?", FINELT_DO="nothing")
    assert ended.code == 0
    assert "FINELT_KILL_AT is deprecated" in ended.stderr
