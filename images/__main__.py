"""scripts/images: the images of the jobs and of what they run beside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

import click

from images import base as bases
from images import docker_cli, size
from images import plan as plans
from jobs.catalogue import REPOSITORY, CatalogueError, JobSpec, catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from images.plan import Service

AUDITOR = "pip-audit==2.10.0"
TESTS = ("tests/images/test_images_plan.py", "tests/images/test_images.py")
names_argument = click.argument("names", nargs=-1, metavar="[NAME]...")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def images() -> None:
    r"""One image per job, and the services: orchestration, start-dropped-files, sample-vendors.

    The tag is a hash of everything that can change the image: the job, jobkit, its part of uv.lock, the recipe, the base.

    \b
    FINELT_PYTHON_IMAGE   the base image; pin it by digest. Default: the one in images/job.Dockerfile
    FINELT_BUILD_CA       certificates for the build where a proxy opens TLS; they do not stay. Default: SSL_CERT_FILE
    FINELT_BUILD_NETWORK  the network of the build, such as host
    FINELT_PLATFORM       such as linux/amd64. Default: the engine's own
    """


def chosen(names: Sequence[str], among: Sequence[JobSpec | Service]) -> list[JobSpec | Service]:
    """What has these names, or all. Raises click's usage error for a name that is none of them."""
    specs = {spec.name: spec for spec in among}
    if unknown := [name for name in names if name not in specs]:
        raise click.UsageError(f"nothing is called {unknown[0]!r}; there are {', '.join(specs)}")
    return [specs[name] for name in names or specs]


def everything() -> tuple[JobSpec | Service, ...]:
    """What has an image."""
    return (*catalogue(), *plans.SERVICES)


def surroundings() -> docker_cli.Surroundings:
    """What the environment says about building here."""
    return docker_cli.Surroundings.of(os.environ)


@images.command("list")
def list_images() -> None:
    """Every image by name, and whether it is built here."""
    for spec in everything():
        name = docker_cli.plan(spec, surroundings()).image
        click.echo(f"{name}  {'built' if docker_cli.exists(name) else 'not built'}")


@images.command()
@names_argument
@click.option("--again", is_flag=True, help="Build from nothing, also what is there already.")
def build(names: tuple[str, ...], *, again: bool) -> None:
    """Build what is missing, of all jobs where none is named; print the images' names."""
    for spec in chosen(names, everything()) if names else catalogue():
        click.echo(docker_cli.build(spec, surroundings(), again=again))


@images.command()
@names_argument
def test(names: tuple[str, ...]) -> None:
    """Test the images of these names, or all; what is missing is built first."""
    specs = chosen(names, everything())
    environ = {**os.environ, "FINELT_REQUIRE_DOCKER": "1"}
    command = [sys.executable, "-m", "pytest", *TESTS, *(["-k", " or ".join(spec.name for spec in specs)] if names else [])]
    sys.exit(subprocess.run(command, cwd=REPOSITORY, env=environ, check=False).returncode)  # noqa: S603


@images.command()
@click.option("--since", metavar="REV", required=True, help="A commit, branch or tag.")
def changed(since: str) -> None:
    """The images that may have changed, as a JSON list for a CI matrix."""
    click.echo(json.dumps(plans.changed(everything(), plans.revision(since), plans.checkout())))


@images.command("size")
@names_argument
def sizes(names: tuple[str, ...]) -> None:
    """Size over the base and the time of `describe` of jobs, against their budgets; 1 when one is over."""
    here, excesses = surroundings(), list[str]()
    click.echo(f"{'job':28} {'MB over base':>12} {'allowed':>8} {'describe s':>11} {'CPU s':>6}")
    budgeted = {spec.name for spec in catalogue()}
    for spec in (spec for spec in chosen(names, everything()) if spec.name in budgeted):
        base = docker_cli.plan(spec, here).args["PYTHON_IMAGE"]
        found = size.measure(spec.name, docker_cli.build(spec, here), base)
        own = f"{found.size_bytes / size.MB:12.1f} {size.budget_bytes(spec.name) / size.MB:8.0f}"
        click.echo(f"{spec.name:28} {own} {found.describe_s:11.3f} {found.own_cpu_s:6.3f}")
        excesses += found.excesses
    for excess in excesses:
        click.echo(excess, err=True)
    sys.exit(bool(excesses))


@images.command()
@click.argument("registry")
@names_argument
def push(registry: str, names: tuple[str, ...]) -> None:
    """Push to REGISTRY/NAME, all jobs where none is named, and print, as JSON, the digest each image is deployed by."""
    here, specs = surroundings(), chosen(names, everything()) if names else catalogue()
    pushed = {spec.name: docker_cli.push(docker_cli.build(spec, here), f"{registry.rstrip('/')}/{spec.name}") for spec in specs}
    click.echo(json.dumps(pushed, indent=2))


@images.command()
@click.argument("name")
def sbom(name: str) -> None:
    """Print the Python parts of an image as CycloneDX JSON."""
    (spec,) = chosen([name], everything())
    click.echo(_exported(spec, "cyclonedx1.5"))


@images.command()
@click.argument("name")
def audit(name: str) -> None:
    """Look for known holes in the Python parts of an image; 1 when there are any. Asks PyPI."""
    (spec,) = chosen([name], everything())
    with NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(_exported(spec, "requirements.txt"))
        requirements.flush()
        words = ["tool", "run", "--from", AUDITOR, "pip-audit", "--disable-pip", "--require-hashes", "--requirement", requirements.name]
        sys.exit(subprocess.run([_uv(), *words], check=False).returncode)  # noqa: S603


def _exported(spec: JobSpec | Service, form: str) -> str:
    """What of uv.lock is in an image."""
    which = ["--package", spec.name, "--no-dev"] if isinstance(spec, JobSpec) else ["--only-group", spec.group]
    command = [_uv(), "export", "--quiet", "--frozen", "--no-emit-workspace", *which, "--format", form]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout  # noqa: S603


def _uv() -> str:
    return shutil.which("uv") or str(REPOSITORY / ".tools" / "bin" / "uv")


@images.command()
def base() -> None:
    """Make a base image from Debian's packages, where no registry can be reached; print its name. Needs root and Debian."""
    click.echo(bases.base())


def main() -> None:
    """The command; what is wrong is one sentence, and nothing is half done."""
    try:
        images(prog_name="scripts/images")
    except (docker_cli.EngineError, plans.PlanError, CatalogueError) as error:
        sys.exit(f"images: {error}")


if __name__ == "__main__":
    main()
