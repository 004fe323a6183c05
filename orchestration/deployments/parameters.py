"""Give jobs and flows values for their options, from one document: finelt.toml, which `finelt init` writes.

vendors = ["ecb", "tiingo"]             of finelt itself: whose extracts run; all vendors without it
webhook = "env://SLACK_WEBHOOK"         of finelt itself: the reference to a URL that is notified of failed runs
lake = "s3://bucket/lake"               at the top: for every job and flow that has the option
contact = "Example Ltd admin@example.com"
[extract-tiingo-prices]                 for one job
tickers = ["AAPL", "IBM"]

demo, run, deploy, emit and stack read the file finelt.toml of the current directory, else that of the repository.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobkit import deprecation, urls
from jobkit.errors import MisconfiguredError, UsageError

from jobs.catalogue import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

FILE = "finelt.toml"
VENDORS, WEBHOOK = "vendors", "webhook"


@dataclass(frozen=True)
class Settings:
    """What a person set: values for options, whose extracts run (None: all), and who is notified. `source` is for messages."""

    source: str = FILE
    values: Mapping[str, Any] = field(default_factory=dict)
    vendors: Sequence[str] | None = None
    webhook: str | None = None

    def selects(self, vendor: str) -> bool:
        """Whether the extracts of a vendor run."""
        return self.vendors is None or vendor in self.vendors

    def check_vendors(self, known: Collection[str]) -> None:
        """Raise UsageError for a vendor that no job calls."""
        if unknown := sorted(set(self.vendors or ()) - set(known)):
            raise UsageError(f"{self.source}: no job calls a vendor {unknown[0]!r}; the vendors are {', '.join(sorted(set(known)))}")


def find_settings_file() -> Path | None:
    """Return the path of finelt.toml in the current directory, else in the repository; None if there is none."""
    return next((path for folder in (Path.cwd(), REPOSITORY) if (path := folder / FILE).is_file()), None)


def read_settings(path: Path | None = None) -> Settings:
    """Read a settings file, by default finelt.toml; without one, nothing is set. Raises MisconfiguredError, UsageError."""
    file = path or find_settings_file()
    return split_settings(read_parameter_file(file), str(file)) if file else Settings()


def split_settings(document: Mapping[str, Any], source: str) -> Settings:
    """Separate what is for finelt itself from the values for options. Raises UsageError for a value of the wrong type."""
    values: dict[str, Any] = {name: _to_json(value) for name, value in document.items()}
    vendors, webhook = values.pop(VENDORS, None), values.pop(WEBHOOK, None)
    if vendors is not None and not (isinstance(vendors, list) and all(isinstance(vendor, str) for vendor in vendors)):
        raise UsageError(f'{source}: vendors = {vendors!r} is not a list of names such as ["ecb", "tiingo"]')
    if webhook is not None and not (isinstance(webhook, str) and "://" in webhook):
        raise UsageError(f'{source}: webhook is not a reference such as "env://SLACK_WEBHOOK" or "file:///run/secrets/webhook"')
    return Settings(source, values, vendors, webhook)


def _to_json(value: object) -> object:
    """Return a value of TOML as JSON has it: dates as texts."""
    if isinstance(value, dict):
        return {name: _to_json(item) for name, item in value.items()}
    return str(value) if isinstance(value, date) else value


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
    known = {option for names in options.values() for option in names}
    if unknown := sorted(set(shared) - known):
        close = get_close_matches(unknown[0], sorted({VENDORS, WEBHOOK, *known, *options}), 1)
        help_text = f"did you mean {close[0]}?" if close else "run `describe` of a job to see its options"
        raise UsageError(f"{source}: unknown option or job {unknown[0]!r}; {help_text}")
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
