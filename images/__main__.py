"""The command `scripts/images`: builds, tests and pushes the images of jobs and services."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

import click
from jobkit.version import version_option

from images import base as bases
from images import docker_cli, labels, size
from images import plan as plans
from images import release as releases
from images.uv import find_uv
from jobs.catalogue import REPOSITORY, CatalogueError, JobSpec, catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from images.plan import Service

PIP_AUDIT = "pip-audit==2.10.0"
TESTS = "tests/images"
names_argument = click.argument("names", nargs=-1, metavar="[NAME]...")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@version_option()
def images() -> None:
    """One image per job, and the services: orchestration, start-dropped-files, sample-vendors.

    The tag is a hash of everything that can change the image: the job, jobkit, its part of uv.lock, the recipe, the base.

    \b
    FINELT_PYTHON_IMAGE   the base image; pin it by digest. Default: the one in images/job.Dockerfile
    FINELT_BUILD_CA       certificates for a build behind a TLS proxy; they stay out of the image. Default: SSL_CERT_FILE
    FINELT_BUILD_NETWORK  the network of the build, such as host
    FINELT_PLATFORM       such as linux/amd64. Default: the engine's own
    FINELT_BUILD_CACHE    a cache of layers, such as gha in GitHub Actions
    """  # noqa: D301  click needs the character \b in front of a block that it must not wrap


def select_specs(names: Sequence[str], specs: Sequence[JobSpec | Service]) -> list[JobSpec | Service]:
    """Return the specs with these names, or all if there are no names. Raises UsageError for an unknown name."""
    by_name = {spec.name: spec for spec in specs}
    if unknown := [name for name in names if name not in by_name]:
        raise click.UsageError(f"there is no image {unknown[0]!r}; choose from {', '.join(by_name)}")
    return [by_name[name] for name in names or by_name]


def list_specs() -> tuple[JobSpec | Service, ...]:
    """Return all jobs and services that have an image."""
    return (*catalogue(), *plans.SERVICES)


def read_environment() -> docker_cli.BuildEnvironment:
    """Read how this machine builds images from environment variables."""
    return docker_cli.BuildEnvironment.from_environ(os.environ)


@images.command("list")
def list_images() -> None:
    """List every image and whether it exists on this machine."""
    for spec in list_specs():
        name = docker_cli.plan_image(spec, read_environment()).image
        click.echo(f"{name}  {'built' if docker_cli.image_exists(name) else 'not built'}")


@images.command()
@names_argument
@click.option("--rebuild", is_flag=True, help="Build without the cache, even if the image exists.")
@click.option("--again", is_flag=True, hidden=True)
def build(names: tuple[str, ...], *, rebuild: bool, again: bool) -> None:
    """Build missing images, of all jobs by default, and print their names."""
    if again:
        click.echo("images: --again is deprecated and will be removed in the next version; use --rebuild", err=True)
    for spec in select_specs(names, list_specs()) if names else catalogue():
        click.echo(docker_cli.build_image(spec, read_environment(), rebuild=rebuild or again))


@images.command()
@names_argument
def test(names: tuple[str, ...]) -> None:
    """Build missing images, then test them, all by default."""
    specs = select_specs(names, list_specs())
    environ = {**os.environ, "FINELT_REQUIRE_DOCKER": "1"}
    command = [sys.executable, "-m", "pytest", TESTS, *(["-k", " or ".join(spec.name for spec in specs)] if names else [])]
    sys.exit(subprocess.run(command, cwd=REPOSITORY, env=environ, check=False).returncode)  # noqa: S603


@images.command()
@click.option("--since", metavar="REV", required=True, help="A commit, branch or tag.")
def changed(since: str) -> None:
    """Print the images that may have changed as a JSON list, for a CI matrix."""
    click.echo(json.dumps(plans.list_changed(list_specs(), plans.read_revision(since), plans.read_checkout())))


@images.command("size")
@names_argument
def print_sizes(names: tuple[str, ...]) -> None:
    """Print size over the base and time of `describe` for jobs; exit with 1 if one exceeds its budget."""
    environment, excesses = read_environment(), list[str]()
    click.echo(f"{'job':28} {'MB over base':>12} {'allowed':>8} {'describe s':>11} {'CPU s':>6}")
    budgeted = {spec.name for spec in catalogue()}
    for spec in (spec for spec in select_specs(names, list_specs()) if spec.name in budgeted):
        base = docker_cli.plan_image(spec, environment).args["PYTHON_IMAGE"]
        measurement = size.measure_image(spec.name, docker_cli.build_image(spec, environment), base)
        row = f"{measurement.size_bytes / size.MB:12.1f} {size.budget_bytes(spec.name) / size.MB:8.0f}"
        click.echo(f"{spec.name:28} {row} {measurement.describe_s:11.3f} {measurement.own_cpu_s:6.3f}")
        excesses += measurement.excesses
    for excess in excesses:
        click.echo(excess, err=True)
    sys.exit(bool(excesses))


@images.command()
@click.argument("registry")
@names_argument
def push(registry: str, names: tuple[str, ...]) -> None:
    """Push to REGISTRY/NAME what is not there, all images by default, and print where each is, by digest, as JSON."""
    environment, pushed = read_environment(), {}
    for spec in select_specs(names, list_specs()):
        image = docker_cli.build_image(spec, environment)
        pushed[spec.name] = docker_cli.push_image(image, f"{registry.rstrip('/')}/{spec.name}")
    click.echo(json.dumps(pushed, indent=2))


@images.command()
@click.argument("registry")
@names_argument
def missing(registry: str, names: tuple[str, ...]) -> None:
    """Print the images that REGISTRY does not have as a JSON list, for a CI matrix."""
    click.echo(json.dumps([name for name, reference in find_references(registry, names).items() if reference is None]))


@images.command()
@click.argument("registry")
@names_argument
def digests(registry: str, names: tuple[str, ...]) -> None:
    """Print where REGISTRY has the images, by digest, as JSON; exit with 1 if one is missing."""
    references = find_references(registry, names)
    if absent := [name for name, reference in references.items() if reference is None]:
        raise docker_cli.EngineError(f"{registry} does not have {', '.join(absent)}; build and push them, or log in to the registry")
    click.echo(json.dumps(references))


def find_references(registry: str, names: Sequence[str], environment: docker_cli.BuildEnvironment | None = None) -> dict[str, str | None]:
    """Return registry/name@sha256:... of each image, or None if the registry does not have its tag."""
    references: dict[str, str | None] = {}
    environment = environment or read_environment()
    for spec in select_specs(names, list_specs()):
        repository = f"{registry.rstrip('/')}/{spec.name}"
        digest = docker_cli.find_digest(f"{repository}:{docker_cli.plan_image(spec, environment).tag}")
        references[spec.name] = digest and f"{repository}@{digest}"
    return references


@images.command()
@click.argument("registry")
@names_argument
def release(registry: str, names: tuple[str, ...]) -> None:
    """Tag the images of both platforms in REGISTRY as this version, and print where each is, by digest, as JSON."""
    about = labels.read_checkout()
    version, environment, released = about[f"{labels.PREFIX}version"], read_environment(), {}
    for spec in select_specs(names, list_specs()):
        found = {
            platform: find_references(registry, (spec.name,), replace(environment, platform=platform))[spec.name]
            for platform in releases.PLATFORMS
        }
        if absent := [platform for platform, reference in found.items() if reference is None]:
            raise docker_cli.EngineError(f"{registry} does not have {spec.name} for {', '.join(absent)}; CI on main pushes it")
        here = {**about, f"{labels.PREFIX}title": spec.name, f"{labels.PREFIX}description": spec.description}
        present = {platform: reference for platform, reference in found.items() if reference}
        released[spec.name] = releases.publish_index(f"{registry.rstrip('/')}/{spec.name}", version, present, here)
    click.echo(json.dumps(released, indent=2))


@images.command()
@click.argument("tag")
def notes(tag: str) -> None:
    """Print the section of CHANGELOG.md for TAG, such as v0.2.0. Fail unless TAG is the version of this checkout."""
    version = labels.read_checkout()[f"{labels.PREFIX}version"]
    if tag != f"v{version}":
        raise docker_cli.EngineError(f"the tag is {tag} and the version in pyproject.toml {version}; make them equal")
    click.echo(releases.read_changes((REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), version), nl=False)


@images.command()
@click.argument("name")
def sbom(name: str) -> None:
    """Print the Python and npm packages of an image as CycloneDX JSON."""
    (spec,) = select_specs([name], list_specs())
    document = json.loads(_export_lock(spec, "cyclonedx1.5"))
    if isinstance(spec, JobSpec) and (spec.folder / "web" / "package-lock.json").is_file():
        scripts = _export_npm_lock(spec.folder / "web")
        for part in ("components", "dependencies"):
            document[part] += scripts[part]
    click.echo(json.dumps(document, indent=2))


@images.command()
@click.argument("name")
def audit(name: str) -> None:
    """Check the Python packages of an image for known vulnerabilities on PyPI; exit with 1 if there are any."""
    (spec,) = select_specs([name], list_specs())
    with NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(_export_lock(spec, "requirements.txt"))
        requirements.flush()
        arguments = [
            "tool",
            "run",
            "--from",
            PIP_AUDIT,
            "pip-audit",
            "--disable-pip",
            "--require-hashes",
            "--requirement",
            requirements.name,
        ]
        sys.exit(subprocess.run([find_uv(), *arguments], check=False).returncode)  # noqa: S603


def _export_lock(spec: JobSpec | Service, form: str) -> str:
    """Export the part of uv.lock that is in an image."""
    selection = ["--package", spec.name, "--no-dev"] if isinstance(spec, JobSpec) else ["--only-group", spec.group]
    command = [find_uv(), "export", "--quiet", "--frozen", "--no-emit-workspace", *selection, "--format", form]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout  # noqa: S603


def _export_npm_lock(folder: Path) -> dict[str, Any]:
    """Return the npm packages that a folder's lock file puts into an image, as CycloneDX."""
    command = [str(Path(sys.executable).with_name("npm")), "sbom", "--package-lock-only", "--omit", "dev", "--sbom-format", "cyclonedx"]
    document: dict[str, Any] = json.loads(subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout)  # noqa: S603
    return document


@images.command()
def base() -> None:
    """Build a base image from Debian's packages, without a registry, and print its name. Needs root and Debian."""
    click.echo(bases.ensure_base())


def main() -> None:
    """Run the command; report an expected error in one sentence."""
    try:
        images(prog_name="scripts/images")
    except (docker_cli.EngineError, plans.PlanError, CatalogueError) as error:
        sys.exit(f"images: {error}")


if __name__ == "__main__":
    main()
