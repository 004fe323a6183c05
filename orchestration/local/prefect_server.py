"""A Prefect server for one machine: on a port of 127.0.0.1, with SQLite and a password, and without telemetry.

Run as a program, this module is that server. On SQLite, Prefect answers 503 if two transactions conflict, and its clients then sleep for
2, 4, 8, ... seconds unless the answer has a Retry-After header. So requests that write are serialised here, and a 503 that the server's
own background services still cause gets a short Retry-After.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import socket
import sqlite3
import sys
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobkit import files, prefect_api

from jobs.catalogue import REPOSITORY
from orchestration.local import ports, processes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from orchestration.local.processes import Program

READY_TIMEOUT_S, STOP_TIMEOUT_S = 300.0, 0.2  # a start takes 16 s of one core
DATABASE, MIGRATED_VERSION = "prefect.db", "migrated"
BUSY, RETRY_AFTER_S = 503, b"0.1"
SERVER_SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",  # no flow uses a block; this is a third of the first start
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",  # else it imports every integration of Prefect to compare their blocks
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS": "5",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_CANCELLING_TIMEOUT_SECONDS": "60",
    # A local stack schedules, pauses and automates no runs, and the writes of these services would conflict with other transactions.
    "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
}


@dataclass(frozen=True)
class PrefectServer:
    """A starting or running server, with the URL and credentials for its clients. `is_new`: its database was made by this start."""

    program: Program
    url: str
    auth_string: str
    home: Path
    is_new: bool

    def api(self) -> prefect_api.Api:
        """Return a client of its REST API."""
        return prefect_api.api(self.client_settings())

    def client_settings(self) -> dict[str, str]:
        """Return the environment variables of a client. None of them is a server setting."""
        return {"PREFECT_API_URL": self.url, "PREFECT_API_AUTH_STRING": self.auth_string}

    def wait_until_ready(self) -> None:
        """Wait until it answers. Raises MisconfiguredError if it ended, TemporaryError if it takes too long."""
        self.program.wait_until(self._answers, READY_TIMEOUT_S)
        (self.home / MIGRATED_VERSION).write_text(version("prefect"), encoding="utf-8")
        if self.is_new:
            _save_template(self.home / DATABASE)

    def _answers(self) -> bool:
        try:
            self.api().call("GET", "/admin/version", within_s=0)
        except prefect_api.UnreachableError:
            return False
        return True


def stop_server(server: PrefectServer) -> None:
    """Stop the server, after a short while with SIGKILL: it only waits for its own timers, and its database survives a kill."""
    processes.stop_program(server.program, STOP_TIMEOUT_S)


def start_server(directory: Path, settings: Mapping[str, str] | None = None) -> PrefectServer:
    """Start the server whose database is under `directory`, on its last port if that is free, and do not wait until it is ready.

    `settings` are added to SERVER_SETTINGS. The server inherits a listening socket, so that no other program can take the port while it
    loads.
    """
    home = directory / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    is_new = not (home / DATABASE).exists() and not _restore_template(home)
    auth_string = _auth_string(home / "auth")
    with ports.listen_on_last_port(directory / "ports" / "prefect") as listening:
        url = f"http://{ports.HOST}:{listening.getsockname()[1]}/api"
        environment = {
            "PYTHONPATH": str(REPOSITORY),
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_API_AUTH_STRING": auth_string,
            "PREFECT_SERVER_UI_API_URL": url,
            "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": str(_may_need_migration(home)).lower(),
            **SERVER_SETTINGS,
            **(settings or {}),
        }
        program = processes.start_program(
            "Prefect server",
            [sys.executable, "-m", "orchestration.local.prefect_server", str(listening.fileno())],
            directory,
            environment,
            inherited_fds=[listening.fileno()],
        )
    return PrefectServer(program, url, auth_string, home, is_new)


def _may_need_migration(home: Path) -> bool:
    """Whether this version of Prefect has not served this database yet. Prefect's own check takes most of a second."""
    try:
        return (home / MIGRATED_VERSION).read_text(encoding="utf-8") != version("prefect") or not (home / DATABASE).exists()
    except OSError:
        return True


def _template_db() -> Path:
    """Return the path of a migrated, empty database, kept with the packages: more than 100 migrations take most of a first start."""
    return Path(sys.prefix) / f".prefect-{version('prefect')}.db"


def _restore_template(home: Path) -> bool:
    """Copy the template database to a new home. Return False if there is no template."""
    try:
        files.replace_file(home / DATABASE, _template_db())
    except OSError:
        return False
    (home / MIGRATED_VERSION).write_text(version("prefect"), encoding="utf-8")
    return True


def _save_template(database: Path) -> None:
    """Save a new database as the template, atomically. Do nothing if the folder of the packages is not writable."""
    # Not files.replace_file: SQLite itself writes the copy, which is consistent while the server writes.
    temporary = _template_db().with_suffix(f".{os.getpid()}")
    with suppress(OSError, sqlite3.Error):
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(temporary)) as target:
            source.backup(target)
        temporary.rename(_template_db())
    with suppress(OSError):
        temporary.unlink(missing_ok=True)


def _auth_string(path: Path) -> str:
    """Return user:password, generated once and stored in a file that only we can read."""
    with suppress(FileExistsError):
        files.create_file(path, f"finelt:{secrets.token_urlsafe(18)}".encode(), mode=0o600)
    return path.read_text(encoding="utf-8")


def main(file_descriptor: int) -> None:
    """Serve on an inherited socket until SIGTERM or SIGINT."""
    gc.disable()  # saves a fifth of the loading time
    import uvicorn  # noqa: PLC0415  seconds of imports, for the server's own process only
    from prefect.server.api.server import create_app  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    config = uvicorn.Config(serialise_writes(create_app(final=True)), log_level="warning")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=file_descriptor)])


def serialise_writes(app: Any) -> Callable[..., Awaitable[None]]:  # noqa: ANN401  any ASGI application
    """Wrap an ASGI application: one writing request at a time, and a Retry-After header on its 503 answers."""
    write_lock = asyncio.Lock()

    async def answer(scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:  # noqa: ANN401
        async def send_with_header(message: Any) -> None:  # noqa: ANN401
            if message["type"] == "http.response.start" and message["status"] == BUSY:
                message = {**message, "headers": [*message["headers"], (b"retry-after", RETRY_AFTER_S)]}
            await send(message)

        is_write = scope["type"] == "http" and scope["method"] != "GET" and not scope["path"].endswith("/filter")
        async with write_lock if is_write else nullcontext():
            await app(scope, receive, send_with_header)

    return answer


if __name__ == "__main__":
    main(int(sys.argv[1]))
