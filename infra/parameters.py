"""The jobs' parameters of a stack, `finelt:parameters` in Pulumi.<stack>.yaml, and which jobs have all that they need to be scheduled."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from jobkit.errors import UsageError
from jobkit.secrets import check_reference
from jsonschema import Draft202012Validator

from images import plan
from infra.settings import LOCAL_REFERENCES, SettingsError
from jobs.catalogue import SUPPLIED_BY_FLOW

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from jobs.catalogue import JobSpec

VENDORS = "vendors"  # in finelt.toml: whose jobs are scheduled
SET_BY_STACK = ("lake", "docs", "site", "warehouse", "warehouse_password", "audience", "drop")


def describe_options(spec: JobSpec) -> dict[str, Any]:
    """Return the JSON Schema of a job's options. Raises PlanError."""
    return dict(json.loads(plan.describe_job(spec))["options"])


def check_parameters(specs: Sequence[JobSpec], parameters: Mapping[str, Any]) -> None:
    """Raise SettingsError for a parameter that no job takes: the registration would fail after everything has changed."""
    schemas = {spec.name: describe_options(spec) for spec in specs} if parameters else {}
    secrets = {spec.name: spec.secrets for spec in specs}
    _check_vendors(specs, parameters.get(VENDORS, []))
    for name, value in parameters.items():
        if name == VENDORS:
            continue
        _refuse_what_stack_sets(name)
        if name in schemas:
            if not isinstance(value, dict):
                raise SettingsError(f"finelt:parameters: {name} = {value!r}; expected a mapping of the job's options")
            options = schemas[name]["properties"]
            for option, own in value.items():
                _refuse_what_stack_sets(option)
                if option not in options:
                    raise SettingsError(f"finelt:parameters: {name} has no option {option!r}; its options are {', '.join(options)}")
                _check_value(name, schemas[name], option, own, secrets[name])
        else:
            takers = [job for job, schema in schemas.items() if name in schema["properties"]]
            if not takers:
                raise SettingsError(f"finelt:parameters: unknown option or job {name!r}; run `describe` of a job to see its options")
            for job in takers:
                _check_value(job, schemas[job], name, value, secrets[job])


def _check_vendors(specs: Sequence[JobSpec], vendors: object) -> None:
    if not (isinstance(vendors, list) and all(isinstance(vendor, str) for vendor in vendors)):
        raise SettingsError(f'vendors = {vendors!r}; expected a list of names such as ["ecb", "tiingo"]')
    if unknown := sorted(set(vendors) - {spec.vendor for spec in specs}):
        raise SettingsError(f"vendors: no job calls a vendor {unknown[0]!r}; see finelt.toml")


def _refuse_what_stack_sets(option: str) -> None:
    if option in SET_BY_STACK:
        raise SettingsError(f"finelt:parameters has {option!r}, which the stack sets itself; remove it")


def _check_value(job: str, schema: Mapping[str, Any], option: str, value: object, secrets: Collection[str]) -> None:
    """Raise SettingsError for a value that Prefect's server or the job would refuse, and for a secret itself instead of a reference."""
    if option in secrets:
        try:
            check_reference(str(value))
        except UsageError as error:  # its message does not repeat the value
            raise SettingsError(f"finelt:parameters: {option} of {job}: {error}") from None
        if str(value).startswith(LOCAL_REFERENCES):
            raise SettingsError(
                f"finelt:parameters: {option} of {job} = {value}, which no task has; remove it, and the stack's secret is used"
            )
    if value == [] and option in schema.get("required", ()):
        raise SettingsError(f"finelt:parameters: {option} of {job} is empty; remove it, and the job is not scheduled")
    for problem in Draft202012Validator(schema["properties"][option]).iter_errors(value):
        raise SettingsError(f"finelt:parameters: {option} of {job}: {problem.message}")


def list_scheduled(specs: Sequence[JobSpec], parameters: Mapping[str, Any]) -> Iterator[str]:
    """Yield the jobs that the registration schedules: those with a schedule and a value for every required option."""
    for spec in specs:
        if spec.schedule and spec.vendor in parameters.get(VENDORS, [spec.vendor]):
            given = SUPPLIED_BY_FLOW.union(parameters, parameters.get(spec.name, ()))
            if given.issuperset(describe_options(spec).get("required", ())):
                yield spec.name
