"""The local Postgres: private, intact after a kill, and stopped when nobody uses it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from jobkit.errors import MisconfiguredError, TemporaryError

from orchestration.local import postgres, postgres_home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestration.local.postgres import Postgres

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it is about what happens when root runs it")
START_AND_DIE = """
import os, signal, sys
from pathlib import Path
from orchestration.local import postgres, postgres_home
server = postgres.start_server(Path(sys.argv[1]))
print(server.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a server. Creating a cluster takes a second, so the tests share one."""
    shared = tmp_path_factory.mktemp("local") / "postgres"
    yield shared
    postgres.remove(shared)


def ask(server: Postgres, query: str) -> object:
    with psycopg.connect(server.url, password=server.password) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row and row[0]


def keep_an_answer(server: Postgres) -> None:
    with psycopg.connect(server.url, password=server.password) as connection:
        connection.execute("drop table if exists kept")
        connection.execute("create table kept as select 42 as answer")


def lives(pid: int) -> bool:
    return bool(postgres._read_argv(pid))


def test_the_server_accepts_its_password_only(directory: Path) -> None:
    with postgres.run_server(directory) as server:
        assert ask(server, "select 1") == 1
        for wrong in ("", "wrong"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(server.url, password=wrong)


def test_only_the_owner_can_read_the_password_and_it_is_in_no_command_line(directory: Path) -> None:
    with postgres.run_server(directory) as server:
        assert stat.S_IMODE(server.password_file.stat().st_mode) == 0o600
        assert stat.S_IMODE(server.home.data.stat().st_mode) == 0o700
        assert server.password not in " ".join(postgres._read_argv(server.pid))
        assert server.password not in server.url


def test_the_server_listens_on_loopback_only_and_opens_no_unix_socket(directory: Path) -> None:
    with postgres.run_server(directory) as server:
        assert ask(server, "show listen_addresses") == "127.0.0.1"
        assert ask(server, "show unix_socket_directories") == ""
        assert ask(server, "show fsync") == "on"


def test_the_server_stops_with_the_context_even_after_an_error(directory: Path) -> None:
    with pytest.raises(RuntimeError), postgres.run_server(directory) as server:
        raise RuntimeError
    assert not lives(server.pid)


def test_a_restart_keeps_the_data(directory: Path) -> None:
    with postgres.run_server(directory) as server:
        keep_an_answer(server)
    with postgres.run_server(directory) as server:
        assert ask(server, "select answer from kept") == 42


def test_two_contexts_share_the_server_and_the_last_one_stops_it(directory: Path) -> None:
    first = postgres.start_server(directory)
    second = postgres.start_server(directory)
    assert (second.pid, second.port) == (first.pid, first.port)
    postgres.stop_server(first)
    assert ask(second, "select 1") == 1
    postgres.stop_server(second)
    assert not lives(first.pid)


def test_a_server_whose_parent_was_killed_is_reused_and_stopped(directory: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", START_AND_DIE, str(directory)]
    left = int(subprocess.run(command, env=environ, capture_output=True, text=True, check=False).stdout)
    assert lives(left)
    with postgres.run_server(directory) as server:
        assert server.pid == left
        assert ask(server, "select 1") == 1
    assert not lives(left)


def test_a_killed_server_restarts_with_its_committed_data(directory: Path) -> None:
    with postgres.run_server(directory) as server:
        keep_an_answer(server)
        os.kill(server.pid, signal.SIGKILL)
    with postgres.run_server(directory) as server:
        assert ask(server, "select answer from kept") == 42


def test_a_pid_file_with_the_id_of_another_program_is_ignored(directory: Path) -> None:
    with postgres.run_server(directory) as server:
        lines = (server.home.data / "postmaster.pid").read_text().splitlines()
    stale = server.home.data / "postmaster.pid"
    stale.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    server.home.chown(stale)
    with postgres.run_server(directory) as server:
        assert ask(server, "select 1") == 1


def test_an_incomplete_cluster_is_created_again(directory: Path) -> None:
    with postgres.run_server(directory) as server:
        home = server.home.path
    (home / "data" / "global" / "pg_control").unlink()
    (home / "data.new").mkdir()
    (home / "data.new" / "PG_VERSION").write_text("18\n")
    with postgres.run_server(directory) as server:
        assert ask(server, "select 1") == 1
    assert not (home / "data.new").exists()


def test_another_port_is_tried_if_the_first_was_taken_meanwhile(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = postgres._find_port
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        ports = iter([taken])
        monkeypatch.setattr(postgres, "_find_port", lambda place: next(ports, None) or find(place))
        with postgres.run_server(directory) as server:
            assert server.port != taken
            assert ask(server, "select 1") == 1
    with postgres.run_server(directory) as again:
        assert again.port == server.port


def test_a_directory_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MisconfiguredError, match=r"cannot keep the embedded Postgres at .*file/postgres: Not a directory"):
        postgres.start_server(tmp_path / "file" / "postgres")


def test_data_of_another_version_of_postgres_are_an_error(directory: Path) -> None:
    with postgres.run_server(directory) as server:
        version = server.home.data / "PG_VERSION"
    version.write_text("17\n")
    with pytest.raises(MisconfiguredError, match=r"another version of Postgres; delete it"):
        postgres.start_server(directory)
    version.write_text("18\n")


def test_a_missing_password_is_an_error_and_no_server_keeps_running(directory: Path) -> None:
    with postgres.run_server(directory) as server:
        server.password_file.rename(directory / "elsewhere")
    with pytest.raises(MisconfiguredError, match="password is missing; delete"):
        postgres.start_server(directory)
    assert postgres._server_pid(server.home.data) is None
    (directory / "elsewhere").rename(server.password_file)


def test_no_server_keeps_running_if_its_directory_was_deleted(tmp_path: Path) -> None:
    with postgres.run_server(tmp_path / "postgres") as server:
        shutil.rmtree(tmp_path / "postgres")
    assert not lives(server.pid)
    shutil.rmtree(server.home.path, ignore_errors=True)


@contextmanager
def mounted(path: Path, options: str) -> Iterator[Path]:
    """A small file system."""
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(path)], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that every user can enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


@root_only
def test_a_full_disk_is_an_error_and_no_server_keeps_running(open_path: Path) -> None:
    with mounted(open_path / "small", "size=20m,mode=755") as small:
        with pytest.raises(TemporaryError, match=r"no space left at .*small"):
            postgres.start_server(small / "postgres")
        assert not (small / "postgres" / "data").exists()


@root_only
def test_a_read_only_directory_is_an_error(open_path: Path) -> None:
    with (
        mounted(open_path / "fixed", "ro") as fixed,
        pytest.raises(MisconfiguredError, match="Read-only file system; choose another place with --dir"),
    ):
        postgres.start_server(fixed / "postgres")


@root_only
def test_root_runs_the_server_as_nobody(open_path: Path) -> None:
    with postgres.run_server(open_path / "postgres") as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == pwd.getpwnam("nobody").pw_uid
        assert server.home.path == open_path / "postgres"


@root_only
def test_a_directory_closed_to_nobody_keeps_its_permissions_and_no_user_is_created(open_path: Path) -> None:
    closed = open_path / "closed"
    closed.mkdir(mode=0o700)
    users = Path("/etc/passwd").read_bytes()
    with postgres.run_server(closed / "postgres") as server:
        assert server.home.path.parent == Path("/var/tmp")  # noqa: S108  where it is said to be
        assert stat.S_IMODE(server.home.path.stat().st_mode) == 0o711
        assert stat.S_IMODE(server.home.data.stat().st_mode) == 0o700
        assert ask(server, "select 1") == 1
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert Path("/etc/passwd").read_bytes() == users
    postgres.remove(closed / "postgres")
    assert not server.home.path.exists()


@root_only
def test_a_database_that_nobody_can_no_longer_enter_is_refused_and_not_hidden_by_a_new_one(open_path: Path) -> None:
    home = open_path / "closed_later"
    home.mkdir()
    with postgres.run_server(home / "postgres") as server:
        keep_an_answer(server)
    home.chmod(0o700)
    with pytest.raises(MisconfiguredError, match="can no longer enter it"):
        postgres.start_server(home / "postgres")
    home.chmod(0o755)
    with postgres.run_server(home / "postgres") as server:
        assert ask(server, "select answer from kept") == 42


def test_a_private_home_that_another_process_deletes_meanwhile_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two programs that start at once look for homes without a directory, and both delete what they find."""
    monkeypatch.setattr(Path, "glob", lambda base, _: [base / "deleted"])
    postgres_home._remove_orphans(tmp_path)
