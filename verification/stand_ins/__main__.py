"""A Postgres in a container, from Debian's package: stands in for the official image where that cannot be pulled. Not for data that matter.

Reads what the official image reads: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB. (An S3 server needs no program of ours: moto is one.)
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from tempfile import NamedTemporaryFile

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"))
DATA = Path("/tmp/data")  # noqa: S108  a container's own


def initialise(user: str, password: str, database: str) -> None:
    """A new cluster, reachable from other containers with the password."""
    with NamedTemporaryFile("w") as file:
        file.write(password)
        file.flush()
        words = ["-D", str(DATA), "-U", user, f"--pwfile={file.name}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
        subprocess.run([str(PROGRAMS / "initdb"), *words], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    with (DATA / "pg_hba.conf").open("a") as rules:
        rules.write("host all all all scram-sha-256\n")
    alone = [str(PROGRAMS / "postgres"), "--single", "-D", str(DATA), "postgres"]
    subprocess.run(alone, input=f'create database "{database}"\n', text=True, check=True, stdout=subprocess.DEVNULL)  # noqa: S603


if __name__ == "__main__":
    if not DATA.exists():
        given = os.environ
        initialise(given["POSTGRES_USER"], given["POSTGRES_PASSWORD"], given["POSTGRES_DB"])
    server = str(PROGRAMS / "postgres")
    os.execv(server, [server, "-D", str(DATA), "-c", "listen_addresses=*", "-c", "unix_socket_directories="])  # noqa: S606
