"""A real Prefect server for one machine: on a free port of 127.0.0.1, with SQLite, a password, and nothing sent anywhere.

Run as a program it is that server. On SQLite it answers 503 when two transactions meet, and Prefect's clients then sleep for two
seconds, four, eight, unless the answer says when to come back. Here requests that change something take turns, and where one meets
the server's own services all the same, the answer says: soon.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import shutil
import socket
import sqlite3
import sys
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobkit import prefect_api

from jobs.catalogue import REPOSITORY
from orchestration.local import processes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestration.local.processes import Program

HOST = "127.0.0.1"
READY_WITHIN_S, STOP_WITHIN_S = 90.0, 0.2
DATABASE, MIGRATED = "prefect.db", "migrated"
BUSY, RETRY_AFTER_S = 503, b"0.1"
SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",  # no flow of ours uses a block; a third of the first start
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS": "5",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_CANCELLING_TIMEOUT_SECONDS": "60",
    # What no local stack needs, and what would meet its transactions: nothing here is scheduled, late, paused or automated.
    "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
}


@dataclass(frozen=True)
class Server:
    """A starting or running server, and what its clients need to know."""

    program: Program
    url: str
    auth_string: str
    home: Path
    new: bool

    def api(self) -> prefect_api.Api:
        """A client of its REST API."""
        return prefect_api.api(self.client_settings())

    def client_settings(self) -> dict[str, str]:
        """The environment of a client; nothing in it is a setting of the server's."""
        return {"PREFECT_API_URL": self.url, "PREFECT_API_AUTH_STRING": self.auth_string}

    def wait(self) -> None:
        """Nothing, once it answers. Raises MisconfiguredError when it ended, TemporaryError when it takes too long."""
        self.program.wait_until(self._answers, READY_WITHIN_S)
        (self.home / MIGRATED).write_text(version("prefect"), encoding="utf-8")
        if self.new:
            _keep(self.home / DATABASE)

    def _answers(self) -> bool:
        try:
            self.api().call("GET", "/admin/version", within_s=0)
        except prefect_api.UnreachableError:
            return False
        return True


def stop(server: Server) -> None:
    """End the server. It is not waited for long: what it waits for are its own timers, and its database survives a kill."""
    processes.stop(server.program, STOP_WITHIN_S)


def start(directory: Path, port: int = 0) -> Server:
    """Start the server that keeps its runs under `directory`; it is not ready yet. Port 0 is any that is free.

    It gets a socket that listens already, so that nobody can take the port while it loads.
    """
    home = directory / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    new = not (home / DATABASE).exists() and not _copied(home)
    auth_string = _auth_string(home / "auth")
    with socket.create_server((HOST, port), backlog=128) as listening:
        url = f"http://{HOST}:{listening.getsockname()[1]}/api"
        environment = {
            "PYTHONPATH": str(REPOSITORY),
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_API_AUTH_STRING": auth_string,
            "PREFECT_SERVER_UI_API_URL": url,
            "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": str(_may_need_migration(home)).lower(),
            **SETTINGS,
        }
        program = processes.start(
            "Prefect server",
            [sys.executable, "-m", "orchestration.local.prefect_server", str(listening.fileno())],
            directory,
            environment,
            inherited_fds=[listening.fileno()],
        )
    return Server(program, url, auth_string, home, new)


def _may_need_migration(home: Path) -> bool:
    """Whether this Prefect has not served this database yet. To find that out by itself takes it most of a second."""
    try:
        return (home / MIGRATED).read_text(encoding="utf-8") != version("prefect") or not (home / DATABASE).exists()
    except OSError:
        return True


def _empty() -> Path:
    """A database in which nothing is yet, kept with the packages: its hundred and more migrations are two thirds of a first start."""
    return Path(sys.prefix) / f".prefect-{version('prefect')}.db"


def _copied(home: Path) -> bool:
    """Whether there was one to begin with."""
    made = home / f"{DATABASE}.new"
    try:
        shutil.copyfile(_empty(), made)
    except OSError:
        return False
    made.rename(home / DATABASE)
    (home / MIGRATED).write_text(version("prefect"), encoding="utf-8")
    return True


def _keep(database: Path) -> None:
    """Keep a database that was made just now for the next; whole or not at all, and not where nobody may write."""
    made = _empty().with_suffix(f".{os.getpid()}")
    with suppress(OSError, sqlite3.Error):
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(made)) as target:
            source.backup(target)
        made.rename(_empty())
    with suppress(OSError):
        made.unlink(missing_ok=True)


def _auth_string(path: Path) -> str:
    """user:password, made once and kept where only we can read it."""
    with suppress(FileExistsError), os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"finelt:{secrets.token_urlsafe(18)}")
    return path.read_text(encoding="utf-8")


def main(file_descriptor: int) -> None:
    """Serve on an inherited socket until SIGTERM or SIGINT."""
    gc.disable()  # a fifth of the time that loading takes
    import uvicorn  # noqa: PLC0415  seconds of imports, for the server's own process only
    from prefect.server.api.server import create_app  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    config = uvicorn.Config(in_turn(create_app(final=True)), log_level="warning")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=file_descriptor)])


def in_turn(app: Any) -> Callable[..., Awaitable[None]]:  # noqa: ANN401  any ASGI application
    """The application, one changing request at a time, and with Retry-After on its 503 answers."""
    turn = asyncio.Lock()

    async def answer(scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:  # noqa: ANN401
        async def send_with_header(message: Any) -> None:  # noqa: ANN401
            if message["type"] == "http.response.start" and message["status"] == BUSY:
                message = {**message, "headers": [*message["headers"], (b"retry-after", RETRY_AFTER_S)]}
            await send(message)

        changes = scope["type"] == "http" and scope["method"] != "GET" and not scope["path"].endswith("/filter")
        async with turn if changes else nullcontext():
            await app(scope, receive, send_with_header)

    return answer


if __name__ == "__main__":
    main(int(sys.argv[1]))
