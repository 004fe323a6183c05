"""Start and stop everything that the pipeline needs on one machine: Postgres, sample vendors, Prefect server, worker.

All files are under one directory, which one stack at a time may use. Processes that a killed stack left running are stopped first.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobkit import files, prefect_api
from jobkit.errors import JobError, MisconfiguredError, TemporaryError

from jobs.catalogue import REPOSITORY
from orchestration.console import follow
from orchestration.deployments import register
from orchestration.local import past_deliveries, postgres, prefect_server, processes, site_server, worker
from orchestration.warehouse_roles import READER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from jobkit.prefect_api import Api

    from orchestration.deployments.model import DeploymentSpec
    from orchestration.local.postgres import Postgres
    from orchestration.local.processes import Program

KIND = POOL = "process"
ADDRESSES = "addresses.json"  # of what `demo --keep` left running
REQUIRED_BYTES, FULL_BYTES = 250 * 1024 * 1024, 10 * 1024 * 1024
VENDORS_TIMEOUT_S = 30.0
UNFINISHED_STATES = ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "PAUSED"]


@dataclass(frozen=True)
class Stack:
    """A running stack: Prefect's API, the warehouse's URL, the reference to its password, and the sample vendors' URL, if started."""

    directory: Path
    api: Api
    warehouse: str
    warehouse_password: str
    vendors: str | None
    worker: Program
    others: tuple[Program, ...]
    postgres: Postgres = field(repr=False)
    cleanup: ExitStack = field(repr=False)

    def start_flow(self, flow: str, parameters: dict[str, Any]) -> str:
        """Start a run of a flow and return its id. The first run resumes the worker, whose first poll then finds it."""
        run_id = follow.start_flow(self.api, flow, POOL, parameters)
        self.worker.resume()
        return run_id

    def keep(self) -> dict[str, str]:
        """Leave everything running when the block of `run_stack` ends, with a server for the site; return the addresses by name.

        The site's server holds the lock by which Postgres knows that it is in use. `stop_kept` stops all of it.
        """
        program, site = site_server.start_server(self.directory, [self.postgres.users_lock.fileno()])
        addresses = {"prefect": self.api.url.removesuffix("/api"), "site": site, "warehouse": self.postgres.url_of(READER)}
        files.replace_file(self.directory / ADDRESSES, json.dumps(addresses).encode())
        program.raise_if_ended()
        self.cleanup.pop_all()
        return addresses

    def check(self) -> None:
        """Raise MisconfiguredError with the end of its log if a program has ended.

        Raises TemporaryError if the disk is full: the programs neither survive that nor report it well.
        """
        if shutil.disk_usage(self.directory).free < FULL_BYTES:
            raise TemporaryError(f"no space left at {self.directory}; free some and run it again, it continues where it ended")
        for program in (self.worker, *self.others):
            program.raise_if_ended()


def _report_nothing(_: str) -> None:
    pass


@contextmanager
def run_stack(
    directory: Path,
    *,
    vendors: bool,
    deployments: Callable[[], Sequence[DeploymentSpec]],
    report: Callable[[str], None] = _report_nothing,
) -> Iterator[Stack]:
    """Start the stack of a directory, register the deployments, and stop everything afterwards, unless it is kept.

    `report` is called with a sentence whenever a part is ready.

    Raises TemporaryError if another stack uses the directory or there is no space, MisconfiguredError if a program does not start.
    """
    _prepare_directory(directory)
    with lock_directory(directory), ExitStack() as cleanup:
        if leftover := processes.find_leftover_processes(directory):
            report("stopping what an earlier demo left running here")
            processes.stop_processes(leftover)
        (directory / ADDRESSES).unlink(missing_ok=True)
        prefect = prefect_server.start_server(directory)
        cleanup.callback(lambda: prefect_server.stop_server(prefect))
        workers = worker.start_worker(directory, prefect, POOL)
        cleanup.callback(lambda: processes.stop_program(workers))
        others = [prefect.program]
        if vendors:
            others.append(_start_vendors(directory))
            cleanup.callback(lambda: processes.stop_program(others[-1]))
        with ThreadPoolExecutor(3) as executor:
            starting = executor.submit(_start_postgres, directory, cleanup, report)
            specs = executor.submit(_build_deployments, deployments, report)
            vendors_url = executor.submit(_deliver_past, directory, others[-1]) if vendors else None
            prefect.wait_until_ready()
        report("the Prefect server is ready")
        api, database = prefect.api(), starting.result()
        crash_unfinished_runs(api)
        register.register_deployments(api, specs.result(), kind=KIND, pool=POOL)
        register.delete_removed_deployments(api, specs.result(), pool=POOL)
        cleanup.callback(lambda: processes.terminate_processes(processes.find_leftover_processes(directory)))  # while Postgres stops
        cleanup.callback(lambda: processes.stop_program(workers))  # first: its jobs report to the server how they ended
        warehouse, password = database.url_of("{job}"), database.password_reference_of("{job}")  # each job as the role of its name
        url = vendors_url.result() if vendors_url else None
        yield Stack(directory, api, warehouse, password, url, workers, tuple(others), database, cleanup)


def _start_postgres(directory: Path, cleanup: ExitStack, report: Callable[[str], None]) -> Postgres:
    server = postgres.start_server(directory / "postgres")
    cleanup.callback(lambda: postgres.stop_server(server))
    report("Postgres is ready")
    return server


def _build_deployments(build: Callable[[], Sequence[DeploymentSpec]], report: Callable[[str], None]) -> Sequence[DeploymentSpec]:
    built = build()
    report(f"{len(built)} jobs and flows have described themselves")
    return built


def stop_kept(directory: Path) -> list[str]:
    """Stop what `demo --keep`, or a demo that was killed, left running in a directory; return what was stopped.

    Processes are found by the variable that marks the stack, so an id that belongs to another program now is never touched. Raises
    TemporaryError if a demo is running there.
    """
    if not (directory / "lock").exists():
        return []
    with lock_directory(directory):
        found = processes.find_leftover_processes(directory)
        names = [f"{len(found)} processes"] if found else []
        processes.stop_processes(found)
        if postgres.exists(directory / "postgres") and postgres.stop_unused_server(directory / "postgres"):
            names.append("Postgres")
        (directory / ADDRESSES).unlink(missing_ok=True)
        shutil.rmtree(directory / "secrets", ignore_errors=True)
    return names


def read_addresses(directory: Path) -> dict[str, str]:
    """Return the addresses of what `demo --keep` left running. Raises MisconfiguredError if it left nothing."""
    try:
        return dict(json.loads((directory / ADDRESSES).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        raise MisconfiguredError(
            f"no demo is kept in {directory}; start one with `finelt demo --keep`, or name its directory with --dir"
        ) from None


def open_kept_api(directory: Path) -> Api:
    """Return the API of the Prefect server that `demo --keep` left running. Raises MisconfiguredError if it left nothing."""
    server = read_addresses(directory)["prefect"]
    auth = (directory / "prefect" / "auth").read_text(encoding="utf-8")
    return prefect_api.api({"PREFECT_API_URL": f"{server}/api", "PREFECT_API_AUTH_STRING": auth})


def crash_unfinished_runs(api: Api) -> None:
    """Mark the unfinished runs of a stack that was killed as CRASHED, so that a new worker does not start them."""
    body = {"flow_runs": {"state": {"type": {"any_": UNFINISHED_STATES}}}}
    while runs := api.call("POST", "/flow_runs/filter", body):  # not by offset: a run that is marked no longer matches
        for run in runs:
            state = {"type": "CRASHED", "message": "the stack it ran on was stopped"}
            api.call("POST", f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})


def _prepare_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(directory).free
        (directory / "lock").touch()
    except OSError as error:
        raise _storage_error(error, directory) from None
    if free < REQUIRED_BYTES:
        megabytes = REQUIRED_BYTES // 1024 // 1024
        raise TemporaryError(
            f"{free // 1024 // 1024} MB are free at {directory}, {megabytes} are needed; free some or choose another --dir"
        )


def _storage_error(error: OSError, directory: Path) -> JobError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TemporaryError(f"no space left at {directory}; free some or choose another place with --dir")
    return MisconfiguredError(f"cannot work in {directory}: {error.strerror}; choose another place with --dir")


@contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Lock a directory until the block or the process ends. Raises TemporaryError if another process has the lock."""
    with (directory / "lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise TemporaryError(
                f"another demo works in {directory} (process {holder}); wait for it to end, or choose another place with --dir"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _start_vendors(directory: Path) -> Program:
    command = [sys.executable, str(REPOSITORY / "verification" / "sample_vendors"), "--port", "0"]
    return processes.start_program("sample vendors", command, directory, {})


def _deliver_past(directory: Path, vendors: Program) -> str:
    """Fill a new lake with past deliveries of the sample vendors while the servers start; return the vendors' URL."""
    url = _read_vendors_url(vendors)
    past_deliveries.deliver(directory / "lake", url)
    return url


def _read_vendors_url(program: Program) -> str:
    """Return the URL of the sample vendors, which is the first line that they print."""
    program.wait_until(lambda: "\n" in program.log.read_text(encoding="utf-8"), VENDORS_TIMEOUT_S)
    return program.log.read_text(encoding="utf-8").split("\n")[0]


def write_secret(path: Path, value: str) -> str:
    """Write a secret to a file that only we can read, and return the reference to it."""
    files.replace_file(path, value.encode(), mode=0o600)
    return path.as_uri()
