"""The jobs' parameters of a stack, `finelt:parameters` in Pulumi.<stack>.yaml, and which jobs have all that they need to be scheduled."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from images import plan
from infra.settings import SettingsError
from jobs.catalogue import SUPPLIED_BY_FLOW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jobs.catalogue import JobSpec

VENDORS = "vendors"  # in finelt.toml: whose jobs are scheduled
SET_BY_STACK = ("lake", "docs", "site", "warehouse", "warehouse_password", "audience", "drop")


def describe_options(spec: JobSpec) -> dict[str, Any]:
    """Return the JSON Schema of a job's options. Raises PlanError."""
    return dict(json.loads(plan.describe_job(spec))["options"])


def check_parameters(specs: Sequence[JobSpec], parameters: Mapping[str, Any]) -> None:
    """Raise SettingsError for a parameter that no job takes: the registration would fail after everything has changed."""
    options = {spec.name: describe_options(spec)["properties"] for spec in specs} if parameters else {}
    for name, value in parameters.items():
        if name == VENDORS:
            if unknown := sorted(set(value) - {spec.vendor for spec in specs}):
                raise SettingsError(f"vendors: no job calls a vendor {unknown[0]!r}; see finelt.toml")
            continue
        if name in SET_BY_STACK:
            raise SettingsError(f"finelt:parameters has {name!r}, which the stack sets itself; remove it")
        if name in options:
            if unknown := sorted(set(value) - set(options[name])):
                raise SettingsError(f"finelt:parameters: {name} has no option {unknown[0]!r}; its options are {', '.join(options[name])}")
        elif not any(name in known for known in options.values()):
            raise SettingsError(f"finelt:parameters: unknown option or job {name!r}; run `describe` of a job to see its options")


def list_scheduled(specs: Sequence[JobSpec], parameters: Mapping[str, Any]) -> Iterator[str]:
    """Yield the jobs that the registration schedules: those with a schedule and a value for every required option."""
    for spec in specs:
        if spec.schedule and spec.vendor in parameters.get(VENDORS, [spec.vendor]):
            given = SUPPLIED_BY_FLOW.union(parameters, parameters.get(spec.name, ()))
            if given.issuperset(describe_options(spec).get("required", ())):
                yield spec.name
