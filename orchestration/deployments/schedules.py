"""Give deployments their parameters and schedules.

A job takes its dates as arguments, so its schedule is one of the flow `daily`, which knows the day it runs for: at the job's time the
flow extracts that one source, then loads, transforms and publishes what is new.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobs.catalogue import SUPPLIED_BY_FLOW
from orchestration.deployments.model import TODAY
from orchestration.deployments.parameters import read_parameter_file, rename_options, select_parameters, split_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from jobs.catalogue import JobSpec
    from orchestration.deployments.model import DeploymentSpec

DAILY, BACKFILL = "daily", "backfill"


def apply_parameter_file(
    deployments: Sequence[DeploymentSpec], file: Path, specs: Sequence[JobSpec]
) -> tuple[list[DeploymentSpec], list[str]]:
    """Apply the values of a TOML file; see `apply_parameters`. Raises MisconfiguredError if the file cannot be read."""
    return apply_parameters(deployments, read_parameter_file(file), str(file), specs)


def apply_parameters(
    deployments: Sequence[DeploymentSpec], values: Mapping[str, Any], source: str, specs: Sequence[JobSpec] | None
) -> tuple[list[DeploymentSpec], list[str]]:
    """Return the deployments with these values and every schedule that has all its values, of the vendors that the values name.

    If `specs` is None, no schedule changes. Also return messages: one for each deprecated name and for each schedule that lacks a value.
    Raises UsageError for a value that no deployment takes.
    """
    settings = split_settings(values, source)
    if specs is not None:
        settings.check_vendors([spec.vendor for spec in specs])
    values, messages = rename_options(settings.values, source)
    parameters = select_parameters(
        {deployment.flow: deployment.options for deployment in deployments},
        values,
        source,
        flows=[deployment.flow for deployment in deployments if "entrypoint" in deployment.fields],
    )
    result = [replace(deployment, fields={**deployment.fields, "parameters": parameters[deployment.flow]}) for deployment in deployments]
    by_flow = {deployment.flow: deployment for deployment in result}
    daily = by_flow.get(DAILY)
    if daily is None or specs is None:
        return result, messages  # a pool that runs no flows, or nothing to schedule
    schedules = []
    for spec in (spec for spec in specs if spec.schedule and spec.name in by_flow and settings.selects(spec.vendor)):
        missing = [*_missing_options(daily, {"extracts"}), *_missing_options(by_flow[spec.name], SUPPLIED_BY_FLOW)]
        if missing:
            messages.append(f"not scheduled {spec.name}: {source} has no value for {', '.join(dict.fromkeys(missing))}")
        else:
            schedules.append(_build_schedule(spec, by_flow[spec.name]))
    daily.fields["schedules"] = schedules
    extracts = {job: options for schedule in schedules for job, options in schedule["parameters"]["extracts"].items()}
    for flow, default in ((DAILY, extracts), (BACKFILL, {job: {} for job in extracts})):
        if flow in by_flow:  # what the form of a new run shows first
            by_flow[flow].fields["parameters"].setdefault("extracts", default)
    return result, messages


def normalise_deployment(existing: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deployment as the server shows it, with schedules in the form in which we send them.

    Whether a schedule is active is not compared: pausing it is the operator's decision.
    """
    schedules = [
        {
            "slug": schedule["slug"],
            "active": True,
            "schedule": {name: schedule["schedule"].get(name) for name in ("cron", "timezone")},
            "parameters": schedule["parameters"],
        }
        for schedule in existing.get("schedules") or []
    ]
    return {**existing, "schedules": sorted(schedules, key=lambda schedule: str(schedule["slug"]))}


def preserve_schedules(existing: Mapping[str, Any] | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `schedules` field of a changed deployment: its present schedules if none are given, else the given ones, still paused."""
    if not existing or not existing.get("schedules"):
        return {}
    if "schedules" not in fields:
        kept = [{name: schedule[name] for name in ("active", "slug", "schedule", "parameters")} for schedule in existing["schedules"]]
        return {"schedules": kept}
    paused = {schedule["slug"] for schedule in existing["schedules"] if not schedule["active"]}
    return {"schedules": [{**schedule, "active": schedule["slug"] not in paused} for schedule in fields["schedules"]]}


def preserve_parameters(existing: Mapping[str, Any] | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `parameters` field of a changed deployment if none are given: its present values of options that it still has."""
    if not existing or "parameters" in fields:
        return {}
    supported = fields["parameter_openapi_schema"]["properties"]
    return {"parameters": {name: value for name, value in (existing.get("parameters") or {}).items() if name in supported}}


def _missing_options(deployment: DeploymentSpec, supplied: AbstractSet[str]) -> list[str]:
    """Return the required options without a value, except those that are supplied at run time."""
    return [name for name in deployment.required_options if name not in deployment.fields["parameters"] and name not in supplied]


def _build_schedule(spec: JobSpec, job: DeploymentSpec) -> dict[str, Any]:
    dates = {name: TODAY for name in ("start", "end") if name in job.options}
    return {
        "slug": spec.name,
        "active": True,
        "schedule": {"cron": spec.schedule, "timezone": spec.timezone},
        "parameters": {"extracts": {spec.name: dates}, "timezone": spec.timezone},
    }
