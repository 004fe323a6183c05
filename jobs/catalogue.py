"""Which jobs there are and what each declares. The only list of jobs, and it is derived: a folder in jobs/ registers itself.

From it come the images, the deployments, the infrastructure and the CI matrix. A folder is a job when its pyproject.toml
installs a command; the table [tool.finelt] beside it says what cannot be inferred.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

JOBS = Path(__file__).parent
REPOSITORY = JOBS.parent.resolve()
GIB = 1024
LONGEST_S = 7 * 86_400
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
# What every scheduler reads alike: numbers, names of months and weekdays, lists, ranges and steps. Not all know L, #, ?, 7 or 5/10.
_FIELD = r"(?:\*|{0}-{0})(?:/\d+)?|{0}"
_FIELDS = [rf"(?:{field})(?:,(?:{field}))*" for field in (_FIELD.format(r"\d+"), _FIELD.format(r"(?:\d+|[A-Za-z]{3})"))]
CRON = re.compile(" ".join([_FIELDS[0]] * 3 + [_FIELDS[1]] * 2), re.ASCII)
DATASET = re.compile(r"(raw/([a-z][a-z0-9_]*|\*)|warehouse/[a-z]+|site|drop)")
HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
OPTION = re.compile(r"[a-z][a-z_]*")


class CatalogueError(Exception):
    """A declaration that is wrong or missing; the message names the job and the fix."""


@dataclass(frozen=True)
class JobSpec:
    """One job: its names, and what its pyproject.toml declares. `cpu` in Fargate units, `memory` in MiB, `schedule` cron in `timezone`.

    `deadline_s` is after how many seconds a run gives up by itself; who starts it allows some more (jobkit.interruption.MARGIN_S).
    `timezone` is also where the vendor's business days begin and end. `concurrency` is how many runs may ask the job's vendor at once,
    counted over all jobs of that vendor; None for any number. `max_body_mib` is the largest answer it takes; None where that follows
    from the memory.
    """

    name: str
    package: str
    folder: Path
    description: str
    cpu: int
    memory: int
    deadline_s: int
    schedule: str | None
    timezone: str
    hosts: tuple[str, ...]
    secrets: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    concurrency: int | None = None
    max_body_mib: int | None = None

    @property
    def vendor(self) -> str:
        """Whom it asks: the second word of its name."""
        return self.name.partition("-")[2].partition("-")[0]


def catalogue(jobs: Path = JOBS) -> tuple[JobSpec, ...]:
    """Every job, by name. Raises CatalogueError."""
    documents = ((path.parent, tomllib.loads(path.read_text(encoding="utf-8"))) for path in sorted(jobs.glob("*/pyproject.toml")))
    specs = tuple(_spec(folder, document) for folder, document in documents if "scripts" in document.get("project", {}))
    _check_writers(specs)
    _check_vendors(specs)
    return specs


def _spec(folder: Path, document: dict[str, Any]) -> JobSpec:
    name, project, declared = folder.name, document["project"], document.get("tool", {}).get("finelt")
    if declared is None:
        raise CatalogueError(f"{name}: its pyproject.toml has no table [tool.finelt]; add one with at least cpu, memory and deadline_s")
    if project.get("name") != name or list(project["scripts"]) != [name]:
        raise CatalogueError(f"{name}: project.name and the one command in project.scripts must both be {name!r}, the folder's name")
    if not project.get("description"):
        raise CatalogueError(f"{name}: project.description is empty; say in one sentence what the job does")
    given = {"schedule": None, "timezone": "UTC", "hosts": [], "secrets": [], "reads": [], "writes": [], **declared}
    _check_keys(name, declared)
    _check_resources(name, declared)
    _check_deadline(name, declared)
    _check_schedule(name, given["schedule"], given["timezone"])
    _check_concurrency(name, declared)
    _check_body(name, declared)
    for key, form in (("hosts", HOST), ("secrets", OPTION), ("reads", DATASET), ("writes", DATASET)):
        given[key] = _words(name, key, given[key], form)
    return JobSpec(name=name, package=name.replace("-", "_"), folder=folder, description=project["description"], **given)


def _check_keys(name: str, declared: dict[str, Any]) -> None:
    known = {field.name for field in fields(JobSpec)} - {"name", "package", "folder", "description"}
    if unknown := sorted(set(declared) - known):
        raise CatalogueError(f"{name}: [tool.finelt] has no key {unknown[0]!r}; it takes {', '.join(sorted(known))}")
    if missing := [key for key in ("cpu", "memory") if key not in declared]:
        raise CatalogueError(f"{name}: [tool.finelt] lacks {missing[0]!r}; Fargate's smallest is cpu = 256, memory = 512")


def _check_resources(name: str, declared: dict[str, Any]) -> None:
    cpu, memory = declared["cpu"], declared["memory"]
    if cpu not in FARGATE:
        raise CatalogueError(f"{name}: Fargate has no cpu = {cpu!r}; choose one of {', '.join(map(str, FARGATE))}")
    if memory not in FARGATE[cpu]:
        offered = ", ".join(map(str, FARGATE[cpu]))
        raise CatalogueError(f"{name}: Fargate has no memory = {memory!r} with cpu = {cpu}; choose one of {offered} (MiB)")


def _check_deadline(name: str, declared: dict[str, Any]) -> None:
    if "deadline_s" not in declared:
        raise CatalogueError(f"{name}: [tool.finelt] lacks 'deadline_s'; write after how many seconds a run gives up, such as 900")
    deadline_s = declared["deadline_s"]
    if not isinstance(deadline_s, int) or isinstance(deadline_s, bool) or not 1 <= deadline_s <= LONGEST_S:
        raise CatalogueError(f"{name}: deadline_s = {deadline_s!r} is no number of seconds from 1 to {LONGEST_S:,} (a week)")


def _check_schedule(name: str, schedule: object, timezone: object) -> None:
    if schedule is not None and (problem := schedule_problem(schedule)):
        raise CatalogueError(f"{name}: schedule = {problem}")
    if problem := timezone_problem(timezone):
        raise CatalogueError(f"{name}: timezone = {problem}")


def schedule_problem(schedule: object) -> str | None:
    """Why some scheduler would refuse a cron schedule or read it differently, and what to write; None where all agree."""
    from cronsim import CronSim, CronSimError  # noqa: PLC0415  Prefect's own parser; who only lists jobs need not have it

    if not (isinstance(schedule, str) and CRON.fullmatch(schedule)):
        return f"{schedule!r} is not cron; write five fields such as '0 17 * * 1-5'"
    _, _, day, _, weekday = schedule.split()
    if 7 in map(int, re.findall(r"(?<!/)\b\d+", weekday)):  # noqa: PLR2004
        return f"{schedule!r} says 7 for Sunday, which Kubernetes and Argo refuse; write 0"
    if "*" not in (day, weekday) and (day + weekday).count("*"):
        return f"{schedule!r} restricts days of month and of week, and schedulers disagree which days that is; restrict one of them"
    try:
        CronSim(schedule, datetime(2000, 1, 1))  # noqa: DTZ001  any will do
    except CronSimError as error:
        return f"{schedule!r} is not cron ({str(error).lower()}); write five fields such as '0 17 * * 1-5'"
    return None


def timezone_problem(timezone: object) -> str | None:
    """Why a text is no time zone, and what to write; None where it is one."""
    if isinstance(timezone, str) and timezone in _timezones() - {"localtime", "Factory"}:
        return None
    return f"{timezone!r} is in no time zone database; write one such as 'Europe/Berlin'"


@cache
def _timezones() -> frozenset[str]:
    """All there are: looking them up takes longer than reading all declarations."""
    return frozenset(available_timezones())


def _check_concurrency(name: str, declared: dict[str, Any]) -> None:
    limit = declared.get("concurrency", 1)
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise CatalogueError(f"{name}: concurrency = {limit!r} is no number of runs; write one from 1 up, or drop it")


def _check_body(name: str, declared: dict[str, Any]) -> None:
    limit, most = declared.get("max_body_mib", 1), declared["memory"] // 4
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= most:
        raise CatalogueError(
            f"{name}: max_body_mib = {limit!r} is no size of an answer; write MiB, from 1 to {most} (a quarter of the memory), or drop it"
        )


def _words(name: str, key: str, value: object, form: re.Pattern[str]) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise CatalogueError(f"{name}: {key} = {value!r} is no list; write {key} = [...]")
    for word in value:
        if not (isinstance(word, str) and form.fullmatch(word)):
            raise CatalogueError(f"{name}: {key} holds {word!r}, which is not of the form {form.pattern}; correct it")
    return tuple(value)


def _check_writers(specs: tuple[JobSpec, ...]) -> None:
    writers: dict[str, str] = {}
    for spec in specs:
        for dataset in spec.writes:
            if dataset in writers:
                raise CatalogueError(
                    f"{spec.name}: it writes {dataset!r}, which {writers[dataset]} writes too; a dataset has one writer, so rename one"
                )
            writers[dataset] = spec.name


def _check_vendors(specs: tuple[JobSpec, ...]) -> None:
    first: dict[str, JobSpec] = {}
    for spec in specs:
        other = first.setdefault(spec.vendor, spec)
        if other.concurrency != spec.concurrency:
            raise CatalogueError(
                f"{spec.name}: concurrency = {spec.concurrency}, but {other.name} has {other.concurrency} and asks the same vendor; "
                "make them equal"
            )
