"""Give jobs and flows values for their options, from one document.

lake = "s3://bucket/lake"               at the top: for every job and flow that has the option
contact = "Example Ltd admin@example.com"
[extract-tiingo-prices]                 for one job
tickers = ["AAPL", "IBM"]
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from jobkit import deprecation, urls
from jobkit.errors import MisconfiguredError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path


def read_parameter_file(file: Path) -> dict[str, Any]:
    """Read a TOML file. Raises MisconfiguredError if it cannot be read."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise MisconfiguredError(f"{file} is not a readable TOML file: {error}") from None


def accept_old_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job's options, as JSON Schema, with the old names of renamed ones: stored parameters and schedules may still have them."""
    properties: Mapping[str, Mapping[str, Any]] = options["properties"]
    old_properties = {
        old: {
            **{key: value for key, value in properties[new].items() if key != "default"},
            "deprecated": True,
            "description": f"Deprecated and removed in the next version; use {new}.",
        }
        for old, new in deprecation.PARAMETERS.items()
        if new in properties
    }
    return {**options, "properties": {**properties, **old_properties}}


def rename_options(document: Mapping[str, Any], source: str) -> tuple[dict[str, Any], list[str]]:
    """Return a document with the current names of renamed options, and one warning for each old name. `source` is for the warnings."""
    renamed, warnings = deprecation.rename_parameters(document)
    for name, value in renamed.items():
        if isinstance(value, dict):
            renamed[name], more = deprecation.rename_parameters(value)
            warnings += more
    return renamed, [f"{source}: {warning}" for warning in dict.fromkeys(warnings)]


def select_parameters(
    options: Mapping[str, Collection[str]], values: Mapping[str, Any], source: str, *, flows: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """Return by name the values that each job or flow takes. `options` holds the option names of each; `source` is for messages.

    A value for one job replaces the value for all. `{job}` in a job's value becomes its name; a flow keeps it, because it passes its
    parameters on to jobs of many names. Raises UsageError for an unknown option or job, and for a URL that holds a credential.
    """
    shared = {name: value for name, value in values.items() if name not in options}
    if unknown := sorted(set(shared) - {option for names in options.values() for option in names}):
        raise UsageError(f"{source}: unknown option or job {unknown[0]!r}; run `describe` of a job to see its options")
    selected = {}
    for name, option_names in options.items():
        own = values.get(name, {})
        if unknown := sorted(set(own) - set(option_names)):
            raise UsageError(f"{source}: {name} has no option {unknown[0]!r}; its options are {', '.join(option_names)}")
        parameters = {**{option: value for option, value in shared.items() if option in option_names}, **own}
        if name not in flows:
            parameters = expand_job_name(parameters, name)
        if exposed := [option for option, value in parameters.items() if urls.has_credential(str(value))]:
            raise UsageError(f"{source}: the value of {name}'s {exposed[0]} holds a password or a key; remove it from the URL")
        selected[name] = parameters
    return selected


def expand_job_name(values: Mapping[str, object], job: str) -> dict[str, object]:
    """Replace {job} in each text with the job's name, so that one value names each job's own database user and secret."""
    return {name: value.replace("{job}", job) if isinstance(value, str) else value for name, value in values.items()}
