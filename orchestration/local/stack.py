"""Start and stop everything that the pipeline needs on one machine: Postgres, sample vendors, Prefect server, worker.

All files are under one directory, which one stack at a time may use. Processes that a killed stack left running are stopped first.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobkit import files
from jobkit.errors import JobError, MisconfiguredError, TemporaryError

from jobs.catalogue import REPOSITORY
from orchestration.console import follow
from orchestration.deployments import register
from orchestration.local import past_deliveries, postgres, prefect_server, processes, worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from jobkit.prefect_api import Api

    from orchestration.deployments.model import DeploymentSpec
    from orchestration.local.processes import Program

KIND = POOL = "process"
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

    def start_flow(self, flow: str, parameters: dict[str, Any]) -> str:
        """Start a run of a flow and return its id. The first run resumes the worker, whose first poll then finds it."""
        run_id = follow.start_flow(self.api, flow, POOL, parameters)
        self.worker.resume()
        return run_id

    def check(self) -> None:
        """Raise MisconfiguredError with the end of its log if a program has ended.

        Raises TemporaryError if the disk is full: the programs neither survive that nor report it well.
        """
        if shutil.disk_usage(self.directory).free < FULL_BYTES:
            raise TemporaryError(f"no space left at {self.directory}; free some and run it again, it continues where it ended")
        for program in (self.worker, *self.others):
            program.raise_if_ended()


@contextmanager
def run_stack(directory: Path, *, vendors: bool, deployments: Callable[[], Sequence[DeploymentSpec]]) -> Iterator[Stack]:
    """Start the stack of a directory, register the deployments, and stop everything afterwards.

    Raises TemporaryError if another stack uses the directory or there is no space, MisconfiguredError if a program does not start.
    """
    _prepare_directory(directory)
    with lock_directory(directory), ExitStack() as cleanup:
        processes.stop_processes(processes.find_leftover_processes(directory))
        prefect = prefect_server.start_server(directory)
        cleanup.callback(lambda: prefect_server.stop_server(prefect))
        workers = worker.start_worker(directory, prefect, POOL)
        cleanup.callback(lambda: processes.stop_program(workers))
        others = [prefect.program]
        if vendors:
            others.append(_start_vendors(directory))
            cleanup.callback(lambda: processes.stop_program(others[-1]))
        with ThreadPoolExecutor(3) as executor:
            starting = executor.submit(lambda: cleanup.enter_context(postgres.run_server(directory / "postgres")))
            specs = executor.submit(deployments)
            vendors_url = executor.submit(_deliver_past, directory, others[-1]) if vendors else None
            prefect.wait_until_ready()
        api, database = prefect.api(), starting.result()
        crash_unfinished_runs(api)
        register.register_deployments(api, specs.result(), kind=KIND, pool=POOL)
        cleanup.callback(lambda: processes.terminate_processes(processes.find_leftover_processes(directory)))  # while Postgres stops
        cleanup.callback(lambda: processes.stop_program(workers))  # first: its jobs report to the server how they ended
        warehouse, password = database.url_of("{job}"), database.password_reference_of("{job}")  # each job as the role of its name
        yield Stack(directory, api, warehouse, password, vendors_url.result() if vendors_url else None, workers, tuple(others))


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
