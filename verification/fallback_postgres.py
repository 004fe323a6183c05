"""Run Postgres from Debian's package in a container, if the official image cannot be pulled. Its data is lost with the container.

It reads the variables of the official image: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from tempfile import NamedTemporaryFile

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"))
DATA = Path("/tmp/data")  # noqa: S108  a container's own


def create_cluster(user: str, password: str, database: str) -> None:
    """Create a cluster that other containers reach with the password."""
    with NamedTemporaryFile("w") as file:
        file.write(password)
        file.flush()
        options = ["-D", str(DATA), "-U", user, f"--pwfile={file.name}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
        subprocess.run([str(PROGRAMS / "initdb"), *options], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    with (DATA / "pg_hba.conf").open("a") as rules:
        rules.write("host all all all scram-sha-256\n")
    single_user = [str(PROGRAMS / "postgres"), "--single", "-D", str(DATA), "postgres"]
    subprocess.run(single_user, input=f'create database "{database}"\n', text=True, check=True, stdout=subprocess.DEVNULL)  # noqa: S603


if __name__ == "__main__":
    if not DATA.exists():
        create_cluster(os.environ["POSTGRES_USER"], os.environ["POSTGRES_PASSWORD"], os.environ["POSTGRES_DB"])
    server = str(PROGRAMS / "postgres")
    os.execv(server, [server, "-D", str(DATA), "-c", "listen_addresses=*", "-c", "unix_socket_directories="])  # noqa: S606
