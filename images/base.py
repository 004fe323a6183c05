"""A base image made from Debian's packages, for machines that reach no image registry. Needs root and Debian."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from images.docker_cli import EngineError, build, docker, say
from images.plan import STAND_INS

if TYPE_CHECKING:
    from images.docker_cli import Surroundings

NAME, LABEL = "finelt/python", "finelt.packages"
POSTGRES = ",postgresql"  # what the stand-ins have besides
OLD = {"buster", "bullseye"}  # their Python is too old for the jobs
PACKAGES = "python3,python3-pip,ca-certificates,tzdata,libstdc++6"  # as much as the official images have of what the jobs need
WITHOUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")


def base(more: str = "") -> str:
    """The name of the base image made from this machine's Debian release; it is made now if it is missing. Raises EngineError.

    `more` are further packages, each with a comma before it.
    """
    packages = PACKAGES + more
    codename = debian(Path("/etc/os-release").read_text(encoding="utf-8"))
    wanted = ["--filter", f"reference={NAME}:{codename}-*", "--filter", f"label={LABEL}={packages}"]
    there = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", *wanted).split()
    return there[0] if there else _make(codename, packages)


def stand_ins(here: Surroundings) -> str:
    """The image of Postgres and an S3 server, for where their own images cannot be pulled. Raises EngineError."""
    return build(STAND_INS, replace(here, python_image=base(POSTGRES)))


def debian(os_release: str) -> str:
    """The codename of the Debian release that /etc/os-release tells of. Raises EngineError when it is none that will do."""
    told = {key: value.strip('"') for key, _, value in (line.partition("=") for line in os_release.splitlines())}
    codename = told.get("VERSION_CODENAME", "")
    if told.get("ID") != "debian" or not codename or codename in OLD:
        system = told.get("PRETTY_NAME", "this system")
        raise EngineError(f"a base image can be made on Debian 12 or later only, and this is {system}; name one in FINELT_PYTHON_IMAGE")
    return codename


def _make(codename: str, packages: str) -> str:
    if os.geteuid() != 0:
        raise EngineError("making a base image unpacks packages with their owners, which takes root; run this as root")
    if shutil.which("mmdebstrap") is None:
        say("installing mmdebstrap")
        _run("apt-get", "update", "-qq")
        _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "mmdebstrap")
    say(f"making a base image from Debian {codename}'s packages (half a minute)")
    with TemporaryDirectory() as folder:
        archive = str(Path(folder, "base.tar"))
        options = [f"--dpkgopt=path-exclude={pattern}" for pattern in WITHOUT]
        _run("mmdebstrap", "--quiet", "--variant=essential", f"--include={packages}", *options, codename, archive)
        image = docker("import", "--change", 'CMD ["python3"]', "--change", f"LABEL {LABEL}={packages}", archive)
    name = f"{NAME}:{codename}-{image.removeprefix('sha256:')[:12]}"  # what is in it is in its name
    docker("tag", image, name)
    return name


def _run(*command: str) -> None:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise EngineError(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
