"""All that the pipeline needs on one machine, started together and ended together: Postgres, sample vendors, Prefect server, worker.

Everything lives under one directory, which one stack at a time may use. What a killed stack left running is ended first.
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

from jobkit.errors import JobError, MisconfiguredError, TemporaryError

from jobs.catalogue import REPOSITORY
from orchestration.console import follow
from orchestration.deployments import register
from orchestration.local import postgres, prefect_server, processes, worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from jobkit.prefect_api import Api

    from orchestration.deployments.model import DeploymentSpec
    from orchestration.local.processes import Program

KIND = POOL = "process"
SPACE_BYTES, FULL_BYTES = 250 * 1024 * 1024, 10 * 1024 * 1024
VENDORS_WITHIN_S = 30.0
UNENDED = ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "PAUSED"]


@dataclass(frozen=True)
class Stack:
    """What runs: Prefect's API, the warehouse and its password by reference, and where the sample vendors answer, if they do."""

    directory: Path
    api: Api
    warehouse: str
    warehouse_password: str
    vendors: str | None
    worker: Program
    others: tuple[Program, ...]

    def start(self, flow: str, parameters: dict[str, Any]) -> str:
        """The id of a new run of a flow. The worker is let go with the first, which its first question then finds."""
        run_id = follow.start(self.api, flow, POOL, parameters)
        self.worker.release()
        return run_id

    def check(self) -> None:
        """Nothing, while all programs run. Raises MisconfiguredError with the last words of one that ended.

        Raises TemporaryError when the disk is full, which no program of them survives or tells as well.
        """
        if shutil.disk_usage(self.directory).free < FULL_BYTES:
            raise TemporaryError(f"no space left at {self.directory}; free some and run it again, it goes on where it ended")
        for program in (self.worker, *self.others):
            program.check()


@contextmanager
def running(directory: Path, *, vendors: bool, deployments: Callable[[], Sequence[DeploymentSpec]]) -> Iterator[Stack]:
    """The stack of a directory, ready to take runs of the deployments.

    Raises TemporaryError when another one uses the directory or there is no space, MisconfiguredError when something does not start.
    """
    _prepare(directory)
    with alone(directory), ExitStack() as ends:
        processes.end(processes.left_behind(directory))
        prefect = prefect_server.start(directory)
        ends.callback(lambda: prefect_server.stop(prefect))
        workers = worker.start(directory, prefect, POOL)
        ends.callback(lambda: processes.stop(workers))
        others = [prefect.program]
        if vendors:
            others.append(_start_vendors(directory))
            ends.callback(lambda: processes.stop(others[-1]))
        with ThreadPoolExecutor(2) as aside:
            starting = aside.submit(lambda: ends.enter_context(postgres.running(directory / "postgres")))
            wanted = aside.submit(deployments)
            prefect.wait()
        api, database = prefect.api(), starting.result()
        put_away(api)
        register.register_deployments(api, wanted.result(), kind=KIND, pool=POOL)
        url = _vendors_url(others[-1]) if vendors else None
        ends.callback(lambda: processes.ask_to_end(processes.left_behind(directory)))  # while Postgres stops
        ends.callback(lambda: processes.stop(workers))  # first: its jobs want to tell the server how they ended
        warehouse_url, password = database.url_of("{job}"), database.password_reference_of("{job}")  # each job as the role of its name
        yield Stack(directory, api, warehouse_url, password, url, workers, tuple(others))


def put_away(api: Api) -> None:
    """End the runs of a stack that was killed: nobody works on them, and a new worker must not take them up."""
    wanted = {"flow_runs": {"state": {"type": {"any_": UNENDED}}}}
    while runs := api.call("POST", "/flow_runs/filter", wanted):
        for run in runs:
            state = {"type": "CRASHED", "message": "the stack it ran on was ended"}
            api.call("POST", f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})


def _prepare(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(directory).free
        (directory / "lock").touch()
    except OSError as error:
        raise _storage_error(error, directory) from None
    if free < SPACE_BYTES:
        megabytes = SPACE_BYTES // 1024 // 1024
        raise TemporaryError(
            f"{free // 1024 // 1024} MB are free at {directory}, {megabytes} are needed; free some or choose another --dir"
        )


def _storage_error(error: OSError, directory: Path) -> JobError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TemporaryError(f"no space left at {directory}; free some or choose another place with --dir")
    return MisconfiguredError(f"cannot work in {directory}: {error.strerror}; choose another place with --dir")


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold a directory's lock, which goes with the process that holds it. Raises TemporaryError while another one does."""
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
    return processes.start("sample vendors", command, directory, {})


def _vendors_url(program: Program) -> str:
    """Where they answer, which is the first line they print."""
    program.wait_until(lambda: "\n" in program.log.read_text(encoding="utf-8"), VENDORS_WITHIN_S)
    return program.log.read_text(encoding="utf-8").split("\n")[0]


def secret_file(path: Path, value: str) -> str:
    """A reference to a file that holds a secret and only we can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(value)
    return path.as_uri()
