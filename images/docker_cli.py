"""Builds, inspects and pushes images with the docker command."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from jobkit.errors import MisconfiguredError

from images import plan as plans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from images.plan import Plan, Service
    from jobs.catalogue import JobSpec

UNREACHABLE = ("no such host", "failed to do request", "failed to resolve", "network is unreachable", "i/o timeout", "pull access denied")
ABSENT = ("manifest unknown", "name unknown", "StatusCode: 404", "denied")
LAST_WITHOUT_PLUGIN = 22  # from 23 on, the docker command builds with BuildKit through its plugin buildx only


class EngineError(MisconfiguredError):
    """Docker is missing or a command failed; the message says what to do."""


@dataclass(frozen=True)
class BuildEnvironment:
    """How this machine builds images: the base image, certificates, network, platform, and a cache of layers such as gha."""

    python_image: str | None = None
    ca: Path | None = None
    network: str | None = None
    platform: str | None = None
    cache: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> BuildEnvironment:
        """Read the environment variables that `scripts/images --help` lists."""
        bundle = environ.get("FINELT_BUILD_CA") or environ.get("SSL_CERT_FILE")
        return cls(
            python_image=environ.get("FINELT_PYTHON_IMAGE") or None,
            ca=Path(bundle) if bundle else None,
            network=environ.get("FINELT_BUILD_NETWORK") or None,
            platform=environ.get("FINELT_PLATFORM") or None,
            cache=environ.get("FINELT_BUILD_CACHE") or None,
        )


@cache
def find_client() -> str:
    """Return the path of the first docker command on PATH that can build with BuildKit. Raises EngineError."""
    paths = [path for folder in os.get_exec_path() if (path := shutil.which("docker", path=folder))]
    for path in paths:
        version = _output(path, "version", "--format", "{{.Client.Version}}")
        is_old = version is not None and int(version.partition(".")[0]) <= LAST_WITHOUT_PLUGIN
        if is_old or _output(path, "buildx", "version") is not None:
            return path
    if paths:
        raise EngineError(f"{paths[0]} cannot build with BuildKit; install its plugin (Debian: apt-get install docker-buildx)")
    raise EngineError("there is no docker command on this machine; install one (Debian: apt-get install docker.io)")


def docker(*arguments: str) -> str:
    """Run a docker command and return its standard output. Raises EngineError with its standard error."""
    done = subprocess.run([find_client(), *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise EngineError(f"docker {' '.join(arguments[:2])}: {done.stderr.strip()}")
    return done.stdout.strip()


def image_exists(image: str) -> bool:
    """Return whether the image exists on this machine."""
    return _output(find_client(), "image", "inspect", image) is not None


def plan_image(spec: JobSpec | Service, environment: BuildEnvironment) -> Plan:
    """Plan the image that this checkout and this machine would build."""
    return plans.plan_image(spec, plans.read_checkout(), python_image=environment.python_image, platform=environment.platform)


def build_image(spec: JobSpec | Service, environment: BuildEnvironment, *, rebuild: bool = False) -> str:
    """Build the image unless it exists, and return its name. With `rebuild`, build it in any case, without the cache."""
    plan = plan_image(spec, environment)
    if rebuild or not image_exists(plan.image):
        with TemporaryDirectory() as folder:
            context = plan.write_context(Path(folder))
            _run_build(plan, plans.build_arguments(spec, plan), context, environment, rebuild=rebuild)
    return plan.image


def _run_build(plan: Plan, build_args: Mapping[str, str], context: Path, environment: BuildEnvironment, *, rebuild: bool) -> None:
    arguments = ["build", "--file", str(context / plans.RECIPE), "--target", plan.target, "--tag", plan.image, "--progress", "plain"]
    arguments += [word for name, value in build_args.items() for word in ("--build-arg", f"{name}={value}")]
    arguments += ["--network", environment.network] if environment.network else []
    arguments += ["--secret", f"id=ca,src={environment.ca}"] if environment.ca else []
    arguments += ["--platform", environment.platform] if environment.platform else []
    arguments += ["--no-cache"] if rebuild else []
    if environment.cache:  # a builder that can write a cache does not load the image into the engine by itself
        cache = f"type={environment.cache},scope={plan.name}-{environment.platform}"
        arguments += ["--cache-from", cache, "--cache-to", f"{cache},mode=max", "--load"]
    # A provenance attestation contains the time, and Lambda rejects an image that has one.
    environ = {**os.environ, "DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    done = subprocess.run([find_client(), *arguments, str(context)], env=environ, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise EngineError(_explain_failure(plan, done.stdout + done.stderr))


def _explain_failure(plan: Plan, output: str) -> str:
    tail = "\n".join(output.strip().splitlines()[-20:])
    base = plan.args["PYTHON_IMAGE"]
    if any(sign in tail for sign in UNREACHABLE) and base in tail:
        return (
            f"{plan.name}: the base image {base} cannot be pulled; name another one in FINELT_PYTHON_IMAGE,"
            " or build one from Debian's packages: export FINELT_PYTHON_IMAGE=$(scripts/images base)"
        )
    return f"{plan.name}: the build failed\n{tail}"


def list_layer_bytes(image: str) -> list[int]:
    """Return the unpacked size of each layer in bytes, lowest layer first."""
    sizes = docker("history", "--human=false", "--format", "{{.Size}}", image).splitlines()
    return [int(float(size.removesuffix("B"))) for size in reversed(sizes) if size not in ("0", "0B")]


def find_digest(image: str) -> str | None:
    """Return the digest of an image in its registry, or None if the registry does not have it. Raises EngineError.

    A registry may deny access to a repository that does not exist.
    """
    done = _run_skopeo("inspect", "--raw", image=image)
    if done.returncode == 0:
        return f"sha256:{hashlib.sha256(done.stdout).hexdigest()}"
    if any(sign in done.stderr.decode() for sign in ABSENT):
        return None
    raise EngineError(f"{image} cannot be looked up: {done.stderr.decode().strip()}")


def read_manifest(image: str) -> bytes:
    """Return the manifest of an image in its registry. Raises EngineError."""
    return run_skopeo("inspect", "--raw", image)


def run_skopeo(*arguments: str) -> bytes:
    """Run a skopeo command whose last argument is an image in a registry; return its output. Raises EngineError."""
    done = _run_skopeo(*arguments[:-1], image=arguments[-1])
    if done.returncode != 0:
        raise EngineError(f"skopeo {arguments[0]} {arguments[-1]}: {done.stderr.decode().strip()}")
    return done.stdout


def _run_skopeo(verb: str, *arguments: str, image: str) -> subprocess.CompletedProcess[bytes]:
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        raise EngineError("there is no skopeo command, which reads registries; install it (Debian: apt-get install skopeo)")
    is_local = image.startswith(("127.0.0.1:", "localhost:"))  # without TLS, as `docker push` does
    insecure = [f"--{'dest-' if verb == 'copy' else ''}tls-verify=false"] if is_local else []
    return subprocess.run([skopeo, verb, *insecure, *arguments, f"docker://{image}"], capture_output=True, check=False)  # noqa: S603


def push_image(image: str, repository: str) -> str:
    """Push the image unless the registry has its tag; return its reference by digest, repository@sha256:...."""
    remote = f"{repository}:{image.rpartition(':')[2]}"
    if digest := find_digest(remote):
        return f"{repository}@{digest}"
    docker("tag", image, remote)
    docker("push", "--quiet", remote)
    digests = docker("image", "inspect", "--format", "{{range .RepoDigests}}{{println .}}{{end}}", remote).split()
    return next(digest for digest in digests if digest.startswith(f"{repository}@"))


def _output(*command: str) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip() if done.returncode == 0 else None


def print_progress(text: str) -> None:
    """Write a line to standard error, so that standard output stays machine-readable."""
    sys.stderr.write(f"{text}\n")
