"""The catalogue: every job of the repository and what it declares.

No file lists the jobs. A folder in jobs/ is a job when its pyproject.toml installs a command; the table [tool.finelt] in the same file
declares what cannot be inferred. Images, deployments, infrastructure and the CI matrix are derived from the catalogue.
"""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from jobkit import declaration
from jobkit.declaration import SPOOL_BYTES, Declaration
from jobkit.errors import MisconfiguredError
from jobkit.interruption import LONGEST_S

JOBS = Path(__file__).parent
REPOSITORY = JOBS.parent.resolve()
GIB = 1024
# CPU units and the memory in MiB that Fargate sells with them. Source: "Task CPU and memory" in the Amazon ECS guide.
FARGATE: dict[int, tuple[int, ...]] = {
    256: (512, 1 * GIB, 2 * GIB),
    512: tuple(range(1 * GIB, 4 * GIB + 1, GIB)),
    1024: tuple(range(2 * GIB, 8 * GIB + 1, GIB)),
    2048: tuple(range(4 * GIB, 16 * GIB + 1, GIB)),
    4096: tuple(range(8 * GIB, 30 * GIB + 1, GIB)),
    8192: tuple(range(16 * GIB, 60 * GIB + 1, 4 * GIB)),
    16384: tuple(range(32 * GIB, 120 * GIB + 1, 8 * GIB)),
}
# What every scheduler reads the same way: numbers, names of months and weekdays, lists, ranges and steps; not L, #, ?, 7 or 5/10.
_FIELD = r"(?:\*|{0}-{0})(?:/\d+)?|{0}"
_FIELDS = [rf"(?:{field})(?:,(?:{field}))*" for field in (_FIELD.format(r"\d+"), _FIELD.format(r"(?:\d+|[A-Za-z]{3})"))]
CRON = re.compile(" ".join([_FIELDS[0]] * 3 + [_FIELDS[1]] * 2), re.ASCII)
LAKE, DROP = "raw/", "drop"  # how datasets of the lake begin; the files that others drop for a job
ICEBERG = "iceberg"  # tables of the lake for other engines
DATASET = re.compile(r"(raw/([a-z][a-z0-9_]*|\*)|warehouse/[a-z]+|site|drop|iceberg)")
HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
SUPPLIED_BY_FLOW = frozenset({"lake", "start", "end"})  # options for which the flow that a schedule starts has the values
OPTION = re.compile(r"[a-z][a-z_]*")


class CatalogueError(MisconfiguredError):
    """A declaration is wrong or missing. The message names the job and the fix."""


@dataclass(frozen=True, kw_only=True)
class JobSpec(Declaration):
    """One job of this repository: what its pyproject.toml declares, and where it is."""

    folder: Path


def catalogue(jobs: Path = JOBS) -> tuple[JobSpec, ...]:
    """Read and check every job's declaration; return the jobs by name. Raises CatalogueError."""
    documents = ((path.parent, tomllib.loads(path.read_text(encoding="utf-8"))) for path in sorted(jobs.glob("*/pyproject.toml")))
    specs = tuple(_read_job(folder, document) for folder, document in documents if "scripts" in document.get("project", {}))
    _check_writers(specs)
    _check_vendors(specs)
    return specs


def _read_job(folder: Path, document: dict[str, Any]) -> JobSpec:
    name, project = folder.name, document["project"]
    if project.get("name") != name or list(project["scripts"]) != [name]:
        raise CatalogueError(f"{name}: project.name and the one command in project.scripts must both be {name!r}, the folder's name")
    try:
        spec = JobSpec(**vars(declaration.parse(document)), folder=folder)
    except declaration.DeclarationError as error:
        raise CatalogueError(f"{name}: {error}") from None
    _check_resources(spec)
    _check_deadline(spec)
    _check_schedule(spec)
    _check_concurrency(spec)
    _check_body(spec)
    _check_tmp(spec)
    for key, form in (("hosts", HOST), ("secrets", OPTION), ("reads", DATASET), ("writes", DATASET)):
        _check_words(name, key, getattr(spec, key), form)
    return spec


def _check_resources(spec: JobSpec) -> None:
    if spec.cpu not in FARGATE:
        raise CatalogueError(f"{spec.name}: Fargate has no cpu = {spec.cpu!r}; choose one of {', '.join(map(str, FARGATE))}")
    if spec.memory not in FARGATE[spec.cpu]:
        offered = ", ".join(map(str, FARGATE[spec.cpu]))
        raise CatalogueError(f"{spec.name}: Fargate has no memory = {spec.memory!r} with cpu = {spec.cpu}; choose one of {offered} (MiB)")


def _check_deadline(spec: JobSpec) -> None:
    if not _is_count(spec.deadline_s, LONGEST_S):
        raise CatalogueError(
            f"{spec.name}: deadline_s must be a number of seconds from 1 to {LONGEST_S:,} (a week), got {spec.deadline_s!r}"
        )


def _check_schedule(spec: JobSpec) -> None:
    if spec.schedule is not None and (problem := schedule_problem(spec.schedule)):
        raise CatalogueError(f"{spec.name}: schedule = {problem}")
    if problem := timezone_problem(spec.timezone):
        raise CatalogueError(f"{spec.name}: timezone = {problem}")


def schedule_problem(schedule: object) -> str | None:
    """Return why some scheduler would refuse a cron schedule or read it differently, and what to write; None where all agree."""
    from cronsim import CronSim, CronSimError  # noqa: PLC0415  Prefect's own parser; listing jobs works without it

    if not (isinstance(schedule, str) and CRON.fullmatch(schedule)):
        return f"{schedule!r} is not cron; write five fields such as '0 17 * * 1-5'"
    _, _, day, _, weekday = schedule.split()
    if 7 in map(int, re.findall(r"(?<!/)\b\d+", weekday)):  # noqa: PLR2004
        return f"{schedule!r} says 7 for Sunday, which Kubernetes and Argo refuse; write 0"
    if "*" not in (day, weekday) and (day + weekday).count("*"):
        return f"{schedule!r} restricts days of month and of week, and schedulers disagree which days that is; restrict one of them"
    try:
        CronSim(schedule, datetime(2000, 1, 1))  # noqa: DTZ001  any moment will do
    except CronSimError as error:
        return f"{schedule!r} is not cron ({str(error).lower()}); write five fields such as '0 17 * * 1-5'"
    return None


def timezone_problem(timezone: object) -> str | None:
    """Return why a text is no time zone, and what to write; None where it is one."""
    if isinstance(timezone, str) and timezone in _timezones() - {"localtime", "Factory"}:
        return None
    return f"{timezone!r} is in no time zone database; write one such as 'Europe/Berlin'"


@cache
def _timezones() -> frozenset[str]:
    """The names of all time zones. Cached: looking them up takes longer than reading all declarations."""
    return frozenset(available_timezones())


def _check_concurrency(spec: JobSpec) -> None:
    if spec.concurrency is not None and not _is_count(spec.concurrency):
        raise CatalogueError(f"{spec.name}: concurrency must be a positive integer, got {spec.concurrency!r}; correct it or drop the key")


def _check_body(spec: JobSpec) -> None:
    largest = spec.memory // 4
    if spec.max_body_mib is not None and not _is_count(spec.max_body_mib, largest):
        raise CatalogueError(
            f"{spec.name}: max_body_mib must be an integer from 1 to {largest} (a quarter of the memory), got {spec.max_body_mib!r}; "
            "correct it or drop the key"
        )


def _check_tmp(spec: JobSpec) -> None:
    """Check that /tmp fits into the memory, and a body that is kept in a temporary file, with a part of the next one, into /tmp."""
    largest = spec.memory // 2
    if not _is_count(spec.tmp_mib, largest):
        raise CatalogueError(
            f"{spec.name}: tmp_mib must be an integer from 1 to {largest} (half of the memory, which it uses), got {spec.tmp_mib!r}; "
            "correct it or declare more memory"
        )
    body_mib, spool_mib = spec.max_body_bytes >> 20, SPOOL_BYTES >> 20
    if (spec.hosts or spec.max_body_mib) and body_mib > spool_mib and spec.tmp_mib < body_mib + spool_mib:
        raise CatalogueError(
            f"{spec.name}: tmp_mib must be at least {body_mib + spool_mib}, because bodies of up to {body_mib} MiB are kept in /tmp, "
            f"got {spec.tmp_mib}; correct it or lower max_body_mib"
        )


def _is_count(value: object, largest: float = math.inf) -> bool:
    """Whether a value is an integer from 1 to `largest`; TOML's true is none."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= largest


def _check_words(name: str, key: str, words: tuple[str, ...], form: re.Pattern[str]) -> None:
    for word in words:
        if not (isinstance(word, str) and form.fullmatch(word)):
            raise CatalogueError(f"{name}: {key} has {word!r}, which is not of the form {form.pattern}; correct it")


def _check_writers(specs: tuple[JobSpec, ...]) -> None:
    writers: dict[str, str] = {}
    for spec in specs:
        for dataset in spec.writes:
            if dataset in writers:
                raise CatalogueError(
                    f"{spec.name}: both this job and {writers[dataset]} write {dataset!r}; a dataset has one writer, so rename one"
                )
            writers[dataset] = spec.name


def _check_vendors(specs: tuple[JobSpec, ...]) -> None:
    first: dict[str, JobSpec] = {}
    for spec in specs:
        other = first.setdefault(spec.vendor, spec)
        if other.concurrency != spec.concurrency:
            raise CatalogueError(
                f"{spec.name}: concurrency = {spec.concurrency}, but {other.name} has {other.concurrency} and calls the same vendor; "
                "make them equal"
            )
