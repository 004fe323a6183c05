"""Emit a definition of jobs for another scheduler, from the catalogue and each job's `describe`."""

from __future__ import annotations

import json
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from jobkit.errors import ExitCode, JobError, UsageError
from jobkit.version import version_option

from jobs.catalogue import CatalogueError, catalogue, schedule_problem, timezone_problem
from orchestration.deployments import descriptions
from orchestration.deployments.parameters import find_settings_file, rename_options, select_parameters, split_settings
from orchestration.emit import airflow, argo, batch, compose, cron, dagster, kubernetes, pipeline, stepfunctions
from orchestration.job_order import order_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobs.catalogue import JobSpec

TARGETS: dict[str, Callable[[pipeline.Pipeline], str]] = {
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
TARGETS_WITHOUT_IMAGE = ("stepfunctions",)  # its task definitions have the image, by digest


def resolve_images(jobs: Sequence[str], file: str | None, references: Sequence[str], *, allow_tag: bool) -> dict[str, str]:
    """Return the image of each job. Raises UsageError for a job without an image, and for an image without a digest."""
    images = dict(json.loads(Path(file).read_text(encoding="utf-8"))) if file else {}
    for text in references:
        name, _, reference = text.partition("=")
        if name not in jobs or not reference:
            raise UsageError(f"--image {text}: expected JOB=IMAGE@sha256:..., with one of {', '.join(jobs)}")
        images[name] = reference
    for job in jobs:
        if job not in images:
            raise UsageError(f"{job} has no image; add --image {job}=IMAGE@sha256:..., or --images FILE, from scripts/images push")
        if not allow_tag and not pipeline.DIGEST.fullmatch(images[job]):
            raise UsageError(
                f"{images[job]} has no digest, and a tag may name another image tomorrow; "
                "use the digest that scripts/images push prints, or add --allow-tag"
            )
    return images


def collect_parameters(specs: Sequence[JobSpec], sources: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, dict[str, object]]:
    """Return the options' values by job; later sources replace earlier ones. Raises UsageError for a value that no job takes."""
    described = descriptions.describe_jobs(descriptions.installed_commands(specs))
    options = {spec.name: list(described[spec.name]["options"]["properties"]) for spec in specs}
    parameters: dict[str, dict[str, object]] = {spec.name: {} for spec in specs}
    for source, document in sources:
        renamed, warnings = rename_options(split_settings(document, source).values, source)
        for warning in warnings:
            click.echo(warning, err=True)
        for job, values in select_parameters(options, renamed, source).items():
            parameters[job].update(values)
    return parameters


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Parse --set into the form of a parameter file: NAME=VALUE for all jobs, JOB.NAME=VALUE for one; repeated values form a list."""
    document: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: expected NAME=VALUE or JOB.NAME=VALUE")
        job, _, name = key.rpartition(".")
        table = document.setdefault(job, {}) if job else document
        option = name.replace("-", "_")
        table[option] = [*_as_list(table[option]), value] if option in table else value
    return document


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def read_document(path: str | Path | None, parse: Callable[[str], Any]) -> dict[str, Any]:
    """Return the document in a file, or on standard input for `-`; empty without a path. Raises UsageError if it cannot be read."""
    if path is None:
        return {}
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        return dict(parse(text))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None


def _check_time(schedule: str | None, timezone: str) -> None:
    """Raise UsageError for a schedule or a time zone that some scheduler rejects or reads differently."""
    if schedule is not None and (problem := schedule_problem(schedule)):
        raise UsageError(f"--schedule {problem}")
    if problem := timezone_problem(timezone):
        raise UsageError(f"--timezone {problem}")


def _check_secrets_folder(path: str) -> str:
    """Return the folder of secrets. Raises UsageError unless it is an absolute path: the scheduler starts jobs in another folder."""
    if not pipeline.LOCAL_PATH.fullmatch(path) or ":" in path:
        raise UsageError(f"--secrets {path!r} is not an absolute path; use one such as /etc/finelt/secrets")
    return path.rstrip("/")


def _check_name(name: str) -> str:
    """Return the name. Raises UsageError if some scheduler rejects it."""
    if not NAME.fullmatch(name):
        raise UsageError(f"--name {name!r} is not valid for every scheduler; use up to 52 lower-case letters, digits and hyphens")
    return name


def _join_command_line() -> str:
    """Return the command line of this call, ready to copy."""
    words = click.get_current_context().command_path.split()
    return shlex.join([*words, *sys.argv[len(words) :]])


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@version_option()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@click.option("--target", type=click.Choice(list(TARGETS)), required=True, help="The scheduler that starts the jobs.")
@click.option("--image", "image", multiple=True, metavar="JOB=REF", help="A job's image, by digest. Repeatable.")
@click.option(
    "--images", metavar="FILE", type=click.Path(exists=True, dir_okay=False), help="The images of jobs, as scripts/images push prints them."
)
@click.option("--allow-tag", is_flag=True, help="Take images by tag, which may be another image tomorrow.")
@click.option("--set", "settings", multiple=True, metavar="[JOB.]NAME=VALUE", help="A value for an option of the jobs. Repeatable.")
@click.option("--parameters", metavar="FILE", help="A TOML file with values for options. Default: finelt.toml, if there is one.")
@click.option(
    "--stack", metavar="FILE", help="For batch and stepfunctions: the file that `pulumi -C infra stack output stack --json` prints."
)
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
    settings: tuple[str, ...],
    parameters: str | None,
    stack: str | None,
    schedule: str | None,
    timezone: str | None,
    secrets: str,
    name: str | None,
    *,
    allow_tag: bool,
) -> None:
    """Print a definition that starts JOB..., each after the jobs whose data it reads, and retries exit code 75 only."""
    specs = {spec.name: spec for spec in catalogue()}
    if unknown := [job for job in jobs if job not in specs]:
        raise UsageError(f"there is no job {unknown[0]!r}; there are {', '.join(specs)}")
    stack_output, file = read_document(stack, json.loads), parameters or find_settings_file()
    sources = [
        ("--stack", stack_output.get("parameters", {})),
        (str(file), read_document(file, tomllib.loads)),
        ("--set", parse_settings(settings)),
    ]
    values = collect_parameters(tuple(specs.values()), sources)
    described = descriptions.describe_jobs(descriptions.installed_commands([specs[job] for job in dict.fromkeys(jobs)]))
    order = order_jobs([specs[job] for job in dict.fromkeys(jobs)])
    references = {} if target in TARGETS_WITHOUT_IMAGE else resolve_images(list(order), images, image, allow_tag=allow_tag)
    steps = [
        pipeline.build_step(specs[job], described[job], values[job], image=references.get(job), after=after) for job, after in order.items()
    ]
    cron_schedule, zone = (schedule, timezone or "UTC") if schedule is not None else pipeline.common_schedule([specs[job] for job in order])
    _check_time(cron_schedule, timezone or zone)
    definition = pipeline.Pipeline(
        name=_check_name(name or (jobs[0] if len(order) == 1 else "finelt")),
        steps=tuple(steps),
        schedule=cron_schedule,
        timezone=timezone or zone,
        generated_by=_join_command_line(),
        secrets=_check_secrets_folder(secrets),
        stack=stack_output,
    )
    click.echo(TARGETS[target](definition), nl=False)


def main() -> None:
    """Run the command. Print an error as one sentence and exit with its code."""
    try:
        emit.main(prog_name="scripts/emit")
    except (JobError, CatalogueError) as error:
        click.echo(f"scripts/emit: {error}", err=True)
        sys.exit(getattr(error, "exit_code", ExitCode.MISCONFIGURED))


if __name__ == "__main__":
    main()
