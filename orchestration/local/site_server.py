"""Serve the published site of a local stack on a port of 127.0.0.1, with range requests, as S3 does.

Run as a program, this module is that server. It lives as long as the stack that `demo --keep` left running.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.catalogue import REPOSITORY
from orchestration.local import ports, processes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.applications import Starlette

    from orchestration.local.processes import Program


def start_server(directory: Path, held_fds: Sequence[int]) -> tuple[Program, str]:
    """Start the server of `directory`/site and return it with its URL. It keeps the file descriptors `held_fds` open."""
    with ports.listen_on_last_port(directory / "ports" / "site") as listening:
        url = f"http://{ports.HOST}:{listening.getsockname()[1]}/"
        program = processes.start_program(
            "site server",
            [sys.executable, "-m", "orchestration.local.site_server", str(listening.fileno()), str(directory / "site")],
            directory,
            {"PYTHONPATH": str(REPOSITORY)},
            inherited_fds=[listening.fileno(), *held_fds],
        )
    return program, url


def build_app(site: Path) -> Starlette:
    """Return the application that serves a folder. It turns a missing file into 404: StaticFiles alone raises, and that would be 500."""
    from starlette.applications import Starlette  # noqa: PLC0415  for the server's own process only
    from starlette.routing import Mount  # noqa: PLC0415
    from starlette.staticfiles import StaticFiles  # noqa: PLC0415

    return Starlette(routes=[Mount("/", StaticFiles(directory=site, html=True, check_dir=False))])


def main(file_descriptor: int, site: Path) -> None:
    """Serve on an inherited socket until SIGTERM."""
    import uvicorn  # noqa: PLC0415  for the server's own process only

    config = uvicorn.Config(build_app(site), log_level="warning", lifespan="off")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=file_descriptor)])


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
