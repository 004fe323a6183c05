"""What every scheduler is told: jobs in the order of their data, each with its image, its options, and where its secrets are."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

from jobkit import secrets
from jobkit.errors import UsageError
from jobkit.interruption import MARGIN_S
from jsonschema import Draft202012Validator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jobs.catalogue import JobSpec

RETRIED = 75
RETRIES, PAUSE_S = 3, 300  # tried again so often, so long after
SECRETS = "/run/secrets"  # where a container finds its secrets
SHARED = {"warehouse_password": ("warehouse", "password")}  # one secret for all jobs that have the option, as in infra/
DIGEST = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")
LOCAL = re.compile(r"(?:file://)?(/.*)")
TODAY = "today"  # a job reads it as the current day in its vendor's time zone


@dataclass(frozen=True)
class Secret:
    """A secret of a job: kept as `key` in `group`, given to `option` by reference."""

    option: str
    group: str
    key: str

    @property
    def reference(self) -> str:
        """Where the job finds it in its container."""
        return f"file://{SECRETS}/{self.group}/{self.key}"


@dataclass(frozen=True)
class Step:
    """A job of a chain. `options` are values by name, `dates` the options that whoever starts it fills, `after` the steps it waits for.

    `flags` are the options that take no value; `folders` the paths of this machine that the options name.
    """

    spec: JobSpec
    image: str | None
    options: Mapping[str, object]
    dates: tuple[str, ...]
    flags: frozenset[str]
    secrets: tuple[Secret, ...]
    after: tuple[str, ...]

    @property
    def name(self) -> str:
        """The job's name."""
        return self.spec.name

    @property
    def cpus(self) -> float:
        """Processors: Fargate counts in 1024ths."""
        return self.spec.cpu / 1024

    @property
    def limit_s(self) -> int:
        """How long one try of it may take before its launcher ends it. The job gives up before that, and says so."""
        return int(float(str(self.options.get("deadline", self.spec.deadline_s)))) + MARGIN_S

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of its secrets, each once."""
        return tuple(dict.fromkeys(secret.group for secret in self.secrets))

    @property
    def folders(self) -> tuple[str, ...]:
        """The absolute paths among its options, which have to be there in the container too."""
        found = (LOCAL.fullmatch(value) for value in self.options.values() if isinstance(value, str))
        return tuple(dict.fromkeys(match[1] for match in found if match))

    @property
    def environment(self) -> dict[str, str]:
        """Variables with nothing secret in them."""
        return {"FINELT_IMAGE_DIGEST": self.image} if self.image and DIGEST.fullmatch(self.image) else {}

    @property
    def today(self) -> dict[str, str]:
        """Its dates, for a launcher that knows none."""
        return dict.fromkeys(self.dates, TODAY)

    def words(self, dates: Mapping[str, str]) -> list[str]:
        """The command: verb and options."""
        given = {**self.options, **dates, **{secret.option: secret.reference for secret in self.secrets}}
        return ["run", *(word for name, value in given.items() for word in _words(name, value, flag=name in self.flags))]


def _words(name: str, value: object, *, flag: bool) -> Iterable[str]:
    option = f"--{name.replace('_', '-')}"
    if flag:
        return [option] if value in (True, "true") else []
    values = value if isinstance(value, list) else [value]
    return [word for one in values for word in (option, str(one))]


@dataclass(frozen=True)
class Chain:
    """The steps in an order in which each comes after those it waits for, and when they start.

    `made_by` is the command that makes the definition again, `stack` what a stack of infra/ says of itself.
    """

    name: str
    steps: tuple[Step, ...]
    schedule: str | None
    timezone: str
    made_by: str
    secrets: str
    stack: Mapping[str, Any]

    @property
    def header(self) -> str:
        """What stands at the top of a definition that can hold a comment."""
        return f"Made by {self.made_by}\nMake it again rather than change it here."

    @property
    def limit_s(self) -> int:
        """How long all of it may take: the longest step of each level, with every retry and the pauses before them."""
        pauses_s = sum(PAUSE_S * 2**number for number in range(RETRIES))
        return sum((1 + RETRIES) * max(step.limit_s for step in level) + pauses_s for level in self.levels())

    def levels(self) -> list[list[Step]]:
        """The steps, those together that wait for nothing but earlier levels."""
        depth: dict[str, int] = {}
        for step in self.steps:
            depth[step.name] = max((depth[name] + 1 for name in step.after), default=0)
        return [[step for step in self.steps if depth[step.name] == level] for level in range(max(depth.values()) + 1)]


def ordered(specs: Sequence[JobSpec]) -> dict[str, tuple[str, ...]]:
    """The jobs in the order of their data, each with those whose data it reads; not with those that these wait for anyway."""
    before = {spec.name: {other.name for other in specs if other is not spec and _feeds(other, spec)} for spec in specs}
    order = list(TopologicalSorter({name: sorted(before[name]) for name in sorted(before)}).static_order())
    above: dict[str, set[str]] = {}
    for name in order:
        above[name] = before[name].union(*(above[other] for other in before[name]))
    return {name: tuple(sorted(one for one in before[name] if not any(one in above[other] for other in before[name]))) for name in order}


def _feeds(writer: JobSpec, reader: JobSpec) -> bool:
    return any(fnmatchcase(dataset, wanted) for dataset in writer.writes for wanted in reader.reads)


def secrets_of(spec: JobSpec, given: Mapping[str, object]) -> tuple[Secret, ...]:
    """The secrets that the launcher has to bring: those that no option refers to already."""
    return tuple(Secret(option, *SHARED.get(option, (spec.name, option))) for option in spec.secrets if option not in given)


def step(spec: JobSpec, described: Mapping[str, Any], given: Mapping[str, object], *, image: str | None, after: tuple[str, ...]) -> Step:
    """A step with these values.

    Raises UsageError for a required option that has none, a secret that is no reference, and a path that is not absolute.
    """
    schema = described["options"]
    dates = tuple(name for name in schema["required"] if schema["properties"][name].get("format") == "date" and name not in given)
    if missing := [name for name in schema["required"] if name not in {*given, *dates}]:
        example = " ".join(f"--set {name}=..." for name in missing)
        raise UsageError(f"{spec.name} needs a value for {', '.join(missing)}; add {example}, or --parameters FILE")
    _check_values(spec.name, schema, given)
    for name in (name for name in spec.secrets if name in given):
        if secrets.check_reference(str(given[name])).startswith("env:"):
            raise UsageError(f"{spec.name}: nobody would set {given[name]} in the container; leave {name} out, or refer to another place")
    for name in ("lake", "site", "docs"):
        if name in given and not (LOCAL.fullmatch(str(given[name])) or "://" in str(given[name])):
            raise UsageError(f"{name}={given[name]} is no absolute path and no URL; whoever starts the job starts it from another folder")
    flags = frozenset(name for name, option in schema["properties"].items() if option.get("type") == "boolean")
    return Step(spec, image, given, dates, flags, secrets_of(spec, given), after)


def _check_values(job: str, schema: Mapping[str, Any], given: Mapping[str, object]) -> None:
    """Raise UsageError for a value that the job would refuse, by the JSON Schema of its options."""
    checker = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    typed = {name: _typed(schema["properties"][name], value) for name, value in given.items() if value != TODAY}
    for error in checker.iter_errors({**dict.fromkeys(schema["required"], ""), **typed}):
        if error.path and error.path[0] in typed:
            raise UsageError(f"{job}: {error.path[0]}={error.instance} is no value that it takes: {error.message}")


def _typed(schema: Mapping[str, Any], value: object) -> object:
    """A value as its option's schema has it: on a command line, all of them are texts."""
    if schema.get("type") == "array":
        return [_typed(schema["items"], one) for one in (value if isinstance(value, list) else [value])]
    if isinstance(value, str) and schema.get("type") in ("integer", "number", "boolean"):
        with suppress(ValueError):
            return json.loads(value)
    return value


def timed(specs: Sequence[JobSpec]) -> tuple[str | None, str]:
    """The schedule that the jobs agree on, and its time zone; None where they have none. Raises UsageError where they disagree."""
    times = sorted({(spec.schedule, spec.timezone) for spec in specs if spec.schedule})
    if len(times) > 1:
        told = "; ".join(f"{schedule!r} in {timezone}" for schedule, timezone in times)
        raise UsageError(f"these jobs are due at different times ({told}); choose one with --schedule CRON --timezone ZONE")
    schedule, timezone = times[0] if times else (None, "UTC")
    return schedule, timezone


def remote(chain: Chain, target: str) -> None:
    """Nothing. Raises UsageError where an option names a path, which would be another on each machine that a job may run on."""
    for one in chain.steps:
        if one.folders:
            raise UsageError(f"{one.name}: {one.folders[0]} is a path of one machine, and {target} starts jobs on any; give an s3:// URL")
