"""Docker, as its command line: building images and asking about them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from images import plan as plans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from images.plan import Plan, Service
    from jobs.catalogue import JobSpec

UNREACHABLE = ("no such host", "failed to do request", "failed to resolve", "network is unreachable", "i/o timeout", "pull access denied")
LAST_WITHOUT_PLUGIN = 22  # from 23 on, the docker command builds with BuildKit through its plugin buildx only


class EngineError(Exception):
    """Docker is not there or refused; the message says what to do."""


@dataclass(frozen=True)
class Surroundings:
    """What a build needs to know of the machine it runs on: where the base comes from, and how the network is reached."""

    python_image: str | None = None
    ca: Path | None = None
    network: str | None = None
    platform: str | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Surroundings:
        """As the environment says: FINELT_PYTHON_IMAGE, FINELT_BUILD_CA (else SSL_CERT_FILE), FINELT_BUILD_NETWORK, FINELT_PLATFORM."""
        bundle = environ.get("FINELT_BUILD_CA") or environ.get("SSL_CERT_FILE")
        return cls(
            python_image=environ.get("FINELT_PYTHON_IMAGE") or None,
            ca=Path(bundle) if bundle else None,
            network=environ.get("FINELT_BUILD_NETWORK") or None,
            platform=environ.get("FINELT_PLATFORM") or None,
        )


@cache
def client() -> str:
    """The docker command to use: the first on PATH that can build with BuildKit. Raises EngineError."""
    found = [path for folder in os.get_exec_path() if (path := shutil.which("docker", path=folder))]
    for path in found:
        version = _output(path, "version", "--format", "{{.Client.Version}}")
        old = version is not None and int(version.partition(".")[0]) <= LAST_WITHOUT_PLUGIN
        if old or _output(path, "buildx", "version") is not None:
            return path
    if found:
        raise EngineError(f"{found[0]} cannot build with BuildKit; install its plugin (Debian: apt-get install docker-buildx)")
    raise EngineError("there is no docker command on this machine; install one (Debian: apt-get install docker.io)")


def docker(*arguments: str) -> str:
    """What a docker command prints. Raises EngineError with what it said."""
    done = subprocess.run([client(), *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise EngineError(f"docker {' '.join(arguments[:2])}: {done.stderr.strip()}")
    return done.stdout.strip()


def exists(image: str) -> bool:
    """Whether this machine has the image."""
    return _output(client(), "image", "inspect", image) is not None


def plan(spec: JobSpec | Service, here: Surroundings) -> Plan:
    """An image as this checkout and this machine would make it."""
    return plans.plan(spec, plans.checkout(), python_image=here.python_image, platform=here.platform)


def build(spec: JobSpec | Service, here: Surroundings, *, again: bool = False) -> str:
    """The name of the image, which is built now unless it is there. `again` builds it all the same, from nothing."""
    planned = plan(spec, here)
    if again or not exists(planned.image):
        with TemporaryDirectory() as folder:
            context = planned.stage(Path(folder))
            _build(planned, plans.arguments(spec, planned), context, here, again=again)
    return planned.image


def _build(planned: Plan, build_args: Mapping[str, str], context: Path, here: Surroundings, *, again: bool) -> None:
    words = ["build", "--file", str(context / plans.RECIPE), "--target", planned.target, "--tag", planned.image, "--progress", "plain"]
    words += [word for name, value in build_args.items() for word in ("--build-arg", f"{name}={value}")]
    words += ["--network", here.network] if here.network else []
    words += ["--secret", f"id=ca,src={here.ca}"] if here.ca else []
    words += ["--platform", here.platform] if here.platform else []
    words += ["--no-cache"] if again else []
    # A statement of provenance holds the time, and Lambda takes no image that has one.
    environ = {**os.environ, "DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    done = subprocess.run([client(), *words, str(context)], env=environ, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise EngineError(_why(planned, done.stdout + done.stderr))


def _why(planned: Plan, said: str) -> str:
    end = "\n".join(said.strip().splitlines()[-20:])
    base = planned.args["PYTHON_IMAGE"]
    if any(sign in end for sign in UNREACHABLE) and base in end:
        return (
            f"{planned.name}: the base image {base} cannot be had from here; name another in FINELT_PYTHON_IMAGE,"
            " or make one from Debian's packages: export FINELT_PYTHON_IMAGE=$(scripts/images base)"
        )
    return f"{planned.name}: the build failed\n{end}"


def layers(image: str) -> list[int]:
    """The unpacked size of each layer in bytes, lowest first."""
    sizes = docker("history", "--human=false", "--format", "{{.Size}}", image).splitlines()
    return [int(float(size.removesuffix("B"))) for size in reversed(sizes) if size not in ("0", "0B")]


def push(image: str, repository: str) -> str:
    """The digest reference under which a registry now has the image."""
    remote = f"{repository}:{image.rpartition(':')[2]}"
    docker("tag", image, remote)
    docker("push", "--quiet", remote)
    digests = docker("image", "inspect", "--format", "{{range .RepoDigests}}{{println .}}{{end}}", remote).split()
    return next(digest for digest in digests if digest.startswith(f"{repository}@"))


def _output(*command: str) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip() if done.returncode == 0 else None


def say(text: str) -> None:
    """Nothing; the person at the terminal reads it, and standard output stays what a program reads."""
    sys.stderr.write(f"{text}\n")
