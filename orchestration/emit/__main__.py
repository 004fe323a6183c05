"""scripts/emit: jobs as a definition for somebody else's scheduler, from what the jobs say of themselves."""

from __future__ import annotations

import json
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from jobkit.errors import JobError, UsageError

from jobs.catalogue import CatalogueError, catalogue, schedule_problem, timezone_problem
from orchestration.deployments import descriptions
from orchestration.deployments.parameters import select_parameters
from orchestration.emit import airflow, argo, batch, compose, cron, dagster, kubernetes, pipeline, stepfunctions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobs.catalogue import JobSpec

TARGETS: dict[str, Callable[[pipeline.Chain], str]] = {
    "airflow": airflow.emit,
    "dagster": dagster.emit,
    "argo": argo.emit,
    "k8s-cronjob": kubernetes.emit,
    "stepfunctions": stepfunctions.emit,
    "batch": batch.emit,
    "compose": compose.emit,
    "cron": cron.emit,
}
NAME = re.compile(r"[a-z]([a-z0-9-]{0,50}[a-z0-9])?")  # Kubernetes adds eleven characters to a CronJob's name, and takes 63
WITHOUT_IMAGE = ("stepfunctions",)  # there the image, by digest too, is in the stack's task definition


def pictures(jobs: Sequence[str], files: str | None, given: Sequence[str], *, allow_tag: bool) -> dict[str, str]:
    """The image of each job. Raises UsageError for one without, and for one that is not named by its digest."""
    found = dict(json.loads(Path(files).read_text(encoding="utf-8"))) if files else {}
    for text in given:
        name, _, reference = text.partition("=")
        if name not in jobs or not reference:
            raise UsageError(f"--image {text}: expected JOB=IMAGE@sha256:..., with one of {', '.join(jobs)}")
        found[name] = reference
    for job in jobs:
        if job not in found:
            raise UsageError(f"{job} has no image; add --image {job}=IMAGE@sha256:..., or --images FILE, from scripts/images push")
        if not allow_tag and not pipeline.DIGEST.fullmatch(found[job]):
            raise UsageError(
                f"{found[job]} is no digest: what runs tomorrow would be whatever the tag is then. "
                "scripts/images push prints the digest; --allow-tag takes the tag all the same"
            )
    return found


def collect_parameters(specs: Sequence[JobSpec], sources: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, dict[str, object]]:
    """Return the options' values by job; later sources replace earlier ones. Raises UsageError for a value that no job takes."""
    described = descriptions.describe_jobs(descriptions.installed_commands(specs))
    options = {spec.name: list(described[spec.name]["options"]["properties"]) for spec in specs}
    parameters: dict[str, dict[str, object]] = {spec.name: {} for spec in specs}
    for source, document in sources:
        for job, values in select_parameters(options, document, source).items():
            parameters[job].update(values)
    return parameters


def as_document(given: Sequence[str]) -> dict[str, Any]:
    """--set as a file of parameters would say it: NAME=VALUE for all jobs, JOB.NAME=VALUE for one; what is repeated is a list."""
    document: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: expected NAME=VALUE or JOB.NAME=VALUE")
        job, _, name = key.rpartition(".")
        table = document.setdefault(job, {}) if job else document
        option = name.replace("-", "_")
        table[option] = [*_listed(table[option]), value] if option in table else value
    return document


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def read(path: str | None, parse: Callable[[str], Any]) -> dict[str, Any]:
    """The document in a file, `-` for standard input; empty without one. Raises UsageError where it cannot be read."""
    if path is None:
        return {}
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        return dict(parse(text))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None


def _check_time(schedule: str | None, timezone: str) -> None:
    """Raise UsageError for a schedule or a time zone that a scheduler would refuse, or read in its own way."""
    if schedule is not None and (problem := schedule_problem(schedule)):
        raise UsageError(f"--schedule {problem}")
    if problem := timezone_problem(timezone):
        raise UsageError(f"--timezone {problem}")


def _checked_folder(path: str) -> str:
    """The folder of the secrets. Raises UsageError where it is no absolute path: the scheduler starts jobs from another folder."""
    if not pipeline.LOCAL.fullmatch(path) or ":" in path:
        raise UsageError(f"--secrets {path!r} is no absolute path; write one such as /etc/finelt/secrets")
    return path.rstrip("/")


def _checked_name(name: str) -> str:
    """The name, if every target takes it. Raises UsageError otherwise."""
    if not NAME.fullmatch(name):
        raise UsageError(f"--name {name!r} is no name that every scheduler takes; write up to 52 lower-case letters, digits and hyphens")
    return name


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@click.option("--target", type=click.Choice(list(TARGETS)), required=True, help="Who is to start the jobs.")
@click.option("--image", "image", multiple=True, metavar="JOB=REF", help="A job's image, by digest. Repeatable.")
@click.option("--images", metavar="FILE", help="The images of jobs, as scripts/images push prints them.")
@click.option("--allow-tag", is_flag=True, help="Take images by tag, which may be another image tomorrow.")
@click.option("--set", "given", multiple=True, metavar="[JOB.]NAME=VALUE", help="A value for an option of the jobs. Repeatable.")
@click.option("--parameters", metavar="FILE", help="A TOML file with values for options, as scripts/deploy takes it.")
@click.option("--stack", metavar="FILE", help="For batch and stepfunctions: what `pulumi -C infra stack output stack --json` prints.")
@click.option("--schedule", metavar="CRON", help="When to start them. Default: the jobs' own, where they agree.")
@click.option("--timezone", metavar="ZONE", help="The time zone of --schedule. Default: UTC.")
@click.option(
    "--secrets", metavar="DIR", default="/etc/finelt/secrets", show_default=True, help="Where a machine with Docker keeps secrets."
)
@click.option("--name", help="The name of the definition. Default: that of the one job, or finelt.")
def emit(
    jobs: tuple[str, ...],
    target: str,
    image: tuple[str, ...],
    images: str | None,
    given: tuple[str, ...],
    parameters: str | None,
    stack: str | None,
    schedule: str | None,
    timezone: str | None,
    secrets: str,
    name: str | None,
    *,
    allow_tag: bool,
) -> None:
    """Print a definition that starts JOB..., each after the jobs whose data it reads, and again only where its exit code is 75."""
    specs = {spec.name: spec for spec in catalogue()}
    if unknown := [job for job in jobs if job not in specs]:
        raise UsageError(f"there is no job {unknown[0]!r}; there are {', '.join(specs)}")
    told = read(stack, json.loads)
    sources = [("--stack", told.get("parameters", {})), (str(parameters), read(parameters, tomllib.loads)), ("--set", as_document(given))]
    valued = collect_parameters(tuple(specs.values()), sources)
    described = descriptions.describe_jobs(descriptions.installed_commands([specs[job] for job in dict.fromkeys(jobs)]))
    order = pipeline.ordered([specs[job] for job in dict.fromkeys(jobs)])
    found = {} if target in WITHOUT_IMAGE else pictures(list(order), images, image, allow_tag=allow_tag)
    steps = [pipeline.step(specs[job], described[job], valued[job], image=found.get(job), after=after) for job, after in order.items()]
    due, zone = (schedule, timezone or "UTC") if schedule is not None else pipeline.timed([specs[job] for job in order])
    _check_time(due, timezone or zone)
    whole = pipeline.Chain(
        name=_checked_name(name or (jobs[0] if len(order) == 1 else "finelt")),
        steps=tuple(steps),
        schedule=due,
        timezone=timezone or zone,
        made_by=shlex.join(["scripts/emit", *sys.argv[1:]]),
        secrets=_checked_folder(secrets),
        stack=told,
    )
    click.echo(TARGETS[target](whole), nl=False)


def main() -> None:
    """The command; what is wrong is one sentence and the exit code of its kind."""
    try:
        emit.main(prog_name="scripts/emit")
    except (JobError, CatalogueError) as error:
        click.echo(f"scripts/emit: {error}", err=True)
        sys.exit(getattr(error, "exit_code", 78))


if __name__ == "__main__":
    main()
