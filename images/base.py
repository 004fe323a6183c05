"""Builds a base image from Debian's packages, for machines that cannot reach an image registry. Needs root and Debian."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from images.docker_cli import EngineError, build_image, docker, print_progress
from images.plan import FALLBACK

if TYPE_CHECKING:
    from images.docker_cli import BuildEnvironment

NAME, LABEL = "finelt/python", "finelt.packages"
POSTGRES_PACKAGES = ",postgresql"  # the fallback image needs it as well
UNSUPPORTED_RELEASES = {"buster", "bullseye"}  # their Python is too old for the jobs
PACKAGES = "python3,python3-pip,ca-certificates,tzdata,libstdc++6"  # what the jobs need of the official images
EXCLUDED_PATHS = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")


def ensure_base(extra_packages: str = "") -> str:
    """Return the name of the base image for this machine's Debian release; build it if it does not exist. Raises EngineError.

    `extra_packages` are further package names, each preceded by a comma.
    """
    packages = PACKAGES + extra_packages
    codename = parse_codename(Path("/etc/os-release").read_text(encoding="utf-8"))
    filters = ["--filter", f"reference={NAME}:{codename}-*", "--filter", f"label={LABEL}={packages}"]
    images = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", *filters).split()
    return images[0] if images else _create_base(codename, packages)


def ensure_fallback_image(environment: BuildEnvironment) -> str:
    """Return the name of the image of Postgres and an S3 server, for machines that cannot pull theirs. Raises EngineError."""
    return build_image(FALLBACK, replace(environment, python_image=ensure_base(POSTGRES_PACKAGES)))


def parse_codename(os_release: str) -> str:
    """Return the codename of the Debian release in the text of /etc/os-release. Raises EngineError if the release is not supported."""
    fields = {key: value.strip('"') for key, _, value in (line.partition("=") for line in os_release.splitlines())}
    codename = fields.get("VERSION_CODENAME", "")
    if fields.get("ID") != "debian" or not codename or codename in UNSUPPORTED_RELEASES:
        system = fields.get("PRETTY_NAME", "this system")
        raise EngineError(f"a base image can be built only on Debian 12 or later, and this is {system}; name one in FINELT_PYTHON_IMAGE")
    return codename


def _create_base(codename: str, packages: str) -> str:
    if os.geteuid() != 0:
        raise EngineError("building a base image unpacks packages with their owners, which needs root; run this as root")
    if shutil.which("mmdebstrap") is None:
        print_progress("installing mmdebstrap")
        _run("apt-get", "update", "-qq")
        _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "mmdebstrap")
    print_progress(f"building a base image from Debian {codename}'s packages (half a minute)")
    with TemporaryDirectory() as folder:
        archive = str(Path(folder, "base.tar"))
        options = [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED_PATHS]
        _run("mmdebstrap", "--quiet", "--variant=essential", f"--include={packages}", *options, codename, archive)
        image = docker("import", "--change", 'CMD ["python3"]', "--change", f"LABEL {LABEL}={packages}", archive)
    name = f"{NAME}:{codename}-{image.removeprefix('sha256:')[:12]}"  # the content determines the name
    docker("tag", image, name)
    return name


def _run(*command: str) -> None:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise EngineError(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
