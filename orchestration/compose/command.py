"""scripts/compose: writes what docker-compose.yml wants to know into .env, then calls docker compose with the words it was given."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import click

from images import base, docker_cli, plan
from jobs.catalogue import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ENV_FILE = REPOSITORY / ".env"
SERVICES = ("orchestration", "sample-vendors")
FILE, STAND_INS = "docker-compose.yml", "docker-compose.stand-ins.yml"
SOCKET = "/var/run/docker.sock"
PORTS = {"FINELT_PREFECT_PORT": "4200", "FINELT_S3_PORT": "8333", "FINELT_POSTGRES_PORT": "5432"}
HEADER = "# Written by scripts/compose: the passwords once, the images' names each time. Ports and the project's name may be changed here."

Settings = dict[str, str]


def read(path: Path) -> Settings:
    """The settings in a file; none where there is no file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def settings(known: Settings, *, stand_ins: bool) -> Settings:
    """All that docker-compose.yml asks for: what is known stays, passwords that are missing are made. Builds the images that are missing.

    Raises EngineError.
    """
    here = docker_cli.Surroundings.of(os.environ)
    images = {service.name: docker_cli.build(service, here) for service in plan.SERVICES if service.name in SERVICES}
    images |= {plan.STAND_INS.name: base.stand_ins(here)} if stand_ins else {}
    return {
        "COMPOSE_PROJECT_NAME": "finelt",
        **PORTS,
        "FINELT_POSTGRES_PASSWORD": secrets.token_urlsafe(24),
        "FINELT_WAREHOUSE_PASSWORD": secrets.token_urlsafe(24),  # of the role `reader`
        "FINELT_S3_ACCESS_KEY": secrets.token_hex(10),
        "FINELT_S3_SECRET_KEY": secrets.token_urlsafe(24),
        "FINELT_PREFECT_AUTH": f"finelt:{secrets.token_urlsafe(24)}",
        **known,
        **{f"FINELT_{name.upper().replace('-', '_')}_IMAGE": image for name, image in images.items()},
        "FINELT_DOCKER_GROUP": _group_of_the_socket(images["orchestration"]),
        "COMPOSE_FILE": f"{FILE}:{STAND_INS}" if stand_ins else FILE,
    }


def write(path: Path, values: Settings) -> None:
    """Nothing; only we can read the file, and it is there whole or as it was."""
    made = path.with_name(f"{path.name}.new")
    made.unlink(missing_ok=True)
    made.touch(mode=0o600)
    made.write_text("\n".join([HEADER, *(f"{name}={value}" for name, value in values.items()), ""]), encoding="utf-8")
    made.rename(path)


def compose(env_file: Path, words: Sequence[str]) -> list[str]:
    """The command line of docker compose for the stack of an environment file."""
    files = [word for name in read(env_file)["COMPOSE_FILE"].split(":") for word in ("--file", str(REPOSITORY / name))]
    return [str(word) for word in (*program(), "--project-directory", REPOSITORY, "--env-file", env_file, *files, *words)]


def program() -> list[str]:
    """The docker compose of this machine: the plugin, or the program before it. Raises EngineError."""
    found = [path for folder in os.get_exec_path() if (path := shutil.which("docker", path=folder))]
    if plugin := next((path for path in found if _works(path, "compose", "version")), None):
        return [plugin, "compose"]
    if older := shutil.which("docker-compose"):
        return [older]
    raise docker_cli.EngineError("there is no docker compose on this machine; install it (Debian: apt-get install docker-compose)")


def remove_runs(project: str) -> None:
    """Nothing; the containers of runs are gone. Compose did not start them, and while they are there it cannot take down what they use."""
    runs = docker_cli.docker("ps", "--all", "--quiet", "--filter", f"network={project}", "--filter", "label=io.prefect.flow-run-id").split()
    if runs:
        docker_cli.docker("rm", "--force", *runs)


def _group_of_the_socket(image: str) -> str:
    """The group that may use the engine, as a container sees it: on a Mac, that is not what this machine sees."""
    ask = f"import os; print(os.stat('{SOCKET}').st_gid)"
    return docker_cli.docker("run", "--rm", "--network", "none", "--volume", f"{SOCKET}:{SOCKET}:ro", image, "python", "-c", ask)


def _works(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.option("--stand-ins", is_flag=True, help="Postgres and S3 from PyPI's packages, where their images cannot be pulled.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def main(context: click.Context, words: tuple[str, ...], *, stand_ins: bool) -> None:
    """Write .env and build the images it names, then call docker compose with WORDS, such as up --detach."""
    if words in ((), ("--help",)):
        click.echo(context.get_help())
        return
    known = read(ENV_FILE)
    try:
        write(ENV_FILE, settings(known, stand_ins=stand_ins or STAND_INS in known.get("COMPOSE_FILE", "")))
        command = compose(ENV_FILE, words)
        if "down" in words:
            remove_runs(read(ENV_FILE)["COMPOSE_PROJECT_NAME"])
    except (docker_cli.EngineError, plan.PlanError) as error:
        sys.exit(f"compose: {error}")
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(prog_name="scripts/compose")
