"""The logins of people, and the command shell, which gives them to psql and to other clients."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import psycopg
import pytest
from jobkit.errors import MisconfiguredError, TemporaryError, UsageError
from moto import mock_aws

from finelt import warehouse
from infra import stack
from orchestration.compose import env_file
from orchestration.local import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SHELL = [sys.executable, "-m", "finelt", "shell"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a demo whose server is stopped."""
    directory = tmp_path_factory.mktemp("demo")
    with postgres.run_server(directory / "postgres"):
        pass
    yield directory
    postgres.remove(directory / "postgres")


def start_shell(directory: Path, *words: str, **more: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    pipe = subprocess.PIPE
    return subprocess.Popen([*SHELL, "--dir", str(directory), *words], env=environ, text=True, stdin=pipe, stdout=pipe, stderr=pipe)


def test_psql_opens_as_reader_with_the_password_in_no_command_line(demo: Path, tmp_path: Path) -> None:
    """A psql in front of the real one writes down how it was called."""
    fake = tmp_path / "psql"
    fake.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\nexec {shutil.which("psql")} -At "$@"\n')
    fake.chmod(0o755)
    with start_shell(demo, "--as-of", "2013-01-15", PATH=f"{tmp_path}:{os.environ['PATH']}") as shell:
        output, errors = shell.communicate("select current_user; show search_path; show finelt.as_of;\n")
    assert (shell.returncode, output.split()) == (0, ["reader", "as_of", "2013-01-15T00:00:00+00:00"]), errors
    password = (demo / "postgres" / "roles" / "reader").read_text()
    assert "reader" in (tmp_path / "words").read_text()
    assert password not in (tmp_path / "words").read_text()


def test_print_keeps_the_server_until_it_is_interrupted(demo: Path) -> None:
    with start_shell(demo, "--print") as shell:
        assert shell.stdout
        assert shell.stderr
        url, password_line = shell.stdout.readline().strip(), shell.stderr.readline()
        password = (demo / "postgres" / "roles" / "reader").read_text()
        assert str(demo / "postgres" / "roles" / "reader") in password_line
        assert password not in url + password_line
        with psycopg.connect(url, password=password) as connection:
            assert connection.execute("select current_user").fetchone() == ("reader",)
        assert "Ctrl-C" in shell.stderr.readline()
        shell.send_signal(signal.SIGINT)
        assert shell.wait(60) == 0
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, password=password)


def test_print_returns_at_once_if_the_server_runs_on_anyway(demo: Path) -> None:
    with postgres.run_server(demo / "postgres") as kept:
        shell = subprocess.run([*SHELL, "--dir", str(demo), "--print"], capture_output=True, text=True, timeout=600, check=False)
        assert (shell.returncode, shell.stdout) == (0, f"{kept.url_of('reader', 'warehouse')}\n")
        assert "Ctrl-C" not in shell.stderr
        with psycopg.connect(kept.url, password=kept.password) as connection:  # it still runs
            assert connection.execute("select 1").fetchone() == (1,)


def test_the_login_of_compose_comes_from_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env_file, "ENV_FILE", tmp_path / ".env")
    with pytest.raises(MisconfiguredError, match="compose up"), warehouse.open_warehouse(tmp_path, "compose"):
        pass
    (tmp_path / ".env").write_text("FINELT_POSTGRES_PORT=5999\nFINELT_WAREHOUSE_PASSWORD=canary\n")
    with warehouse.open_warehouse(tmp_path, "compose") as login:
        assert login.url == "postgresql://reader@127.0.0.1:5999/finelt"
        assert login.password == "canary"
        assert "canary" not in f"{login!r} {login.password_source}"
    with pytest.raises(TemporaryError, match="check that its stack runs"):
        warehouse.connect(login)


def test_a_stack_in_aws_is_reached_by_the_port_that_stack_connect_forwards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The names and the port are those of infra, which finelt may not import."""
    assert warehouse.BASTION_PARAMETER.format("dev") == stack.bastion_parameter("dev")
    assert stack.TARGETS["warehouse"][1] == warehouse.FORWARDED_PORT
    assert warehouse.ANALYST == stack.ANALYST
    monkeypatch.setattr(warehouse, "FORWARDED_PORT", 9)
    with pytest.raises(TemporaryError, match="run ./scripts/stack connect dev warehouse"), warehouse.open_warehouse(tmp_path, "dev"):
        pass
    with pytest.raises(MisconfiguredError, match="expected one of compose, dev, prod"), warehouse.open_warehouse(tmp_path, "nothing"):
        pass


def test_a_person_logs_in_to_aws_with_a_token_and_verifies_the_certificate_of_the_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws(), socket.create_server(("127.0.0.1", 0)) as forwarded:
        monkeypatch.setattr(warehouse, "FORWARDED_PORT", forwarded.getsockname()[1])
        with pytest.raises(MisconfiguredError, match="AWS gives no login"), warehouse.open_warehouse(tmp_path, "dev"):
            pass
        ssm = boto3.client("ssm", region_name=stack.read_stack("dev").region)
        ssm.put_parameter(Name=stack.bastion_parameter("dev"), Type="String", Value='{"hosts": {"warehouse": "db.example"}}')
        with warehouse.open_warehouse(tmp_path, "dev") as login:
            assert login.parameters["host"] == "db.example"
            assert (login.parameters["hostaddr"], login.parameters["sslmode"]) == ("127.0.0.1", "verify-full")
            assert login.parameters["user"] == stack.ANALYST
            assert Path(login.parameters["sslrootcert"]).is_file()
            assert login.password.startswith("db.example:5432/?Action=connect&DBUser=analyst&")
            assert login.password not in login.password_source + login.url


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2013-01-15", datetime(2013, 1, 15, tzinfo=UTC)),
        ("2013-01-15T12:00Z", datetime(2013, 1, 15, 12, tzinfo=UTC)),
        ("2013-01-15 12:00:00+05:30", datetime(2013, 1, 15, 6, 30, tzinfo=UTC)),
    ],
)
def test_a_date_is_its_first_moment_in_utc(text: str, moment: datetime) -> None:
    assert warehouse.parse_moment(text) == moment


@pytest.mark.parametrize("text", ["", "2013-01-15T12:00", "yesterday", "2013-02-30", "0001-01-01T00:00+10:00"])
def test_a_moment_without_a_zone_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a date such as 2013-01-15"):
        warehouse.parse_moment(text)
