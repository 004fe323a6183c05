"""Ports of 127.0.0.1 that stay the same from one start of a server to the next, so that bookmarks and connection strings keep working."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from jobkit import files

if TYPE_CHECKING:
    from pathlib import Path

HOST = "127.0.0.1"
BACKLOG = 128
PORTS = range(1024, 65536)


def listen_on_last_port(remembered: Path) -> socket.socket:
    """Listen on the port in a file, or on any free one if there is no file or the port is taken, and write the port to the file."""
    try:
        listening = socket.create_server((HOST, _read_port(remembered)), backlog=BACKLOG)
    except OSError:
        listening = socket.create_server((HOST, 0), backlog=BACKLOG)
    remembered.parent.mkdir(parents=True, exist_ok=True)
    files.replace_file(remembered, str(listening.getsockname()[1]).encode())
    return listening


def _read_port(remembered: Path) -> int:
    """Return the port in a file, or 0, which stands for any free port."""
    try:
        port = int(remembered.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0
    return port if port in PORTS else 0
