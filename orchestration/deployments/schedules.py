"""What deployments are given when nobody is there to give it: values for their parameters, from one file, and schedules.

    lake = "s3://bucket/lake"               at the top: for every job and flow that has the option
    contact = "Example Ltd admin@example.com"
    [extract-tiingo-prices]                 for one job
    tickers = ["AAPL", "IBM"]

A job takes its dates as arguments, so its schedule is one of the flow `daily`, which knows the day it runs for: at the job's time it
extracts that one source, and loads, transforms and publishes what is new.
"""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobkit import urls
from jobkit.errors import MisconfiguredError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jobs.catalogue import JobSpec
    from orchestration.deployments.register import Wanted

DAILY = "daily"
TODAY = "today"  # daily puts the day of the schedule here
# Every five minutes; one that would wait for another is not needed.
OF_FLOWS: dict[str, dict[str, Any]] = {
    "reconcile": {
        "schedules": [{"slug": "reconcile", "active": True, "schedule": {"cron": "*/5 * * * *", "timezone": "UTC"}, "parameters": {}}],
        "concurrency_limit": 1,
        "concurrency_options": {"collision_strategy": "CANCEL_NEW"},
    }
}


def given(deployments: Sequence[Wanted], file: Path, specs: Sequence[JobSpec]) -> tuple[list[Wanted], list[str]]:
    """The same from a TOML file. Raises MisconfiguredError for one that cannot be read."""
    return valued(deployments, _read(file), str(file), specs)


def valued(
    deployments: Sequence[Wanted], values: Mapping[str, Any], source: str, specs: Sequence[JobSpec]
) -> tuple[list[Wanted], list[str]]:
    """The deployments with these values and the schedules they allow, and a sentence for each schedule they do not.

    Raises UsageError for a value that nothing takes.
    """
    found_valued = _valued(deployments, values, source)
    flow = next((wanted for wanted in found_valued if wanted.flow == DAILY), None)
    if flow is None:
        return found_valued, []  # a pool that runs no flows
    jobs = {wanted.flow: wanted for wanted in found_valued}
    found, sentences = [], []
    for spec in (spec for spec in specs if spec.schedule and spec.name in jobs):
        missing = [*_missing(flow, {"extracts"}), *_missing(jobs[spec.name], {"lake", "start", "end"})]
        if missing:
            sentences.append(f"not scheduled {spec.name}: {source} has no value for {', '.join(dict.fromkeys(missing))}")
        else:
            found.append(_schedule(spec, jobs[spec.name]))
    scheduled = replace(flow, fields={**flow.fields, "schedules": found})
    return [scheduled if wanted is flow else wanted for wanted in found_valued], sentences


def shown(found: Mapping[str, Any]) -> dict[str, Any]:
    """A deployment as the server shows it, its schedules and its limit in the form in which they are given.

    Whether a schedule is active is not compared: pausing one is the operator's.
    """
    found_schedules = [
        {
            "slug": schedule["slug"],
            "active": True,
            "schedule": {name: schedule["schedule"].get(name) for name in ("cron", "timezone")},
            "parameters": schedule["parameters"],
        }
        for schedule in found.get("schedules") or []
    ]
    limit = found.get("global_concurrency_limit") or {}
    ordered = sorted(found_schedules, key=lambda schedule: str(schedule["slug"]))
    options = {"collision_strategy": (found.get("concurrency_options") or {}).get("collision_strategy")}
    return {**found, "schedules": ordered, "concurrency_limit": limit.get("limit"), "concurrency_options": options}


def kept(found: Mapping[str, Any] | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a changed deployment keeps of the one that is there: its schedules, if it is given none, and the pauses in those it has."""
    if not found or not found.get("schedules"):
        return {}
    if "schedules" not in fields:
        return {"schedules": [{"active": old["active"], **new} for old, new in zip(found["schedules"], _bare(found), strict=True)]}
    paused = {schedule["slug"] for schedule in found["schedules"] if not schedule["active"]}
    return {"schedules": [{**schedule, "active": schedule["slug"] not in paused} for schedule in fields["schedules"]]}


def _bare(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{name: schedule[name] for name in ("slug", "schedule", "parameters")} for schedule in found["schedules"]]


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise MisconfiguredError(f"{file} is no TOML file that can be read: {error}") from None


def of_job(values: Mapping[str, object], job: str) -> dict[str, object]:
    """The values with {job} in a text as the job's name: so one value for all says where each job's own user and secret are."""
    return {name: value.replace("{job}", job) if isinstance(value, str) else value for name, value in values.items()}


def _valued(deployments: Sequence[Wanted], values: Mapping[str, Any], source: str) -> list[Wanted]:
    """The deployments with those of the values that they take."""
    names = {wanted.flow for wanted in deployments}
    for_all = {name: value for name, value in values.items() if name not in names}
    taken = {option for wanted in deployments for option in _options(wanted)}
    if unknown := sorted(set(for_all) - taken):
        raise UsageError(f"{source}: nothing is called {unknown[0]!r} and nothing takes it; see the options of the jobs' `describe`")
    valued = []
    for wanted in deployments:
        own = values.get(wanted.flow, {})
        if unknown := sorted(set(own) - set(_options(wanted))):
            raise UsageError(f"{source}: {wanted.flow} has no option {unknown[0]!r}; it takes {', '.join(_options(wanted))}")
        common = {name: value for name, value in for_all.items() if name in _options(wanted)}
        given = {**common, **own}
        if "entrypoint" not in wanted.fields:  # a flow hands them on to jobs of many names
            given = of_job(given, wanted.flow)
        if shown := [name for name, value in given.items() if urls.has_credential(str(value))]:
            raise UsageError(f"{source}: the value of {wanted.flow}'s {shown[0]} holds a password or a key; leave it out of the URL")
        valued.append(replace(wanted, fields={**wanted.fields, "parameters": given}))
    return valued


def _options(wanted: Wanted) -> list[str]:
    return list(wanted.fields["parameter_openapi_schema"]["properties"])


def _missing(wanted: Wanted, supplied: set[str]) -> list[str]:
    """The required options that have no value, but for those that are supplied at run time."""
    required = wanted.fields["parameter_openapi_schema"].get("required", [])
    return [name for name in required if name not in wanted.fields["parameters"] and name not in supplied]


def _schedule(spec: JobSpec, job: Wanted) -> dict[str, Any]:
    dates = {name: TODAY for name in ("start", "end") if name in _options(job)}
    return {
        "slug": spec.name,
        "active": True,
        "schedule": {"cron": spec.schedule, "timezone": spec.timezone},
        "parameters": {"extracts": {spec.name: dates}, "timezone": spec.timezone},
    }
