"""Which extract jobs a flow of this machine runs, and with which options: for the sample vendors or the real ones, and from finelt.toml.

The demo and the stack in containers use them. They have a lake, a warehouse and a site of their own, and ignore those of the file.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from jobkit import secrets
from jobkit.errors import UsageError

from jobs.catalogue import catalogue
from orchestration.deployments.parameters import rename_options, select_parameters
from orchestration.local.sample_parameters import CIKS, RELEASES, SERIES, TICKERS, build_all_sample_extracts, build_sample_extracts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestration.deployments.model import DeploymentSpec
    from orchestration.deployments.parameters import Settings
    from orchestration.local.sample_parameters import Extracts

LIVE_DAYS, LIVE_MARKET_DAYS = 730, 5
TIINGO, MASSIVE, FRED = "extract-tiingo-prices", "extract-massive-daily-prices", "extract-fred-series"
SUPPLIED = frozenset({"lake", "warehouse", "warehouse_password", "docs", "site", "audience"})  # by whoever runs the flow
DATES = frozenset({"start", "end"})
# By option: what the sample vendors have, and what it is called in a message.
SAMPLES: Mapping[str, tuple[Sequence[str], str]] = {
    "tickers": (TICKERS, "prices of"),
    "ciks": (CIKS, "facts of the company"),
    "series": (SERIES, "series"),
}


def build_sample_extracts_for(
    settings: Settings, deployments: Sequence[DeploymentSpec], vendors: str, token: str
) -> tuple[Extracts, list[str]]:
    """Return the extracts for the sample vendors at a URL, with the person's settings as far as the samples go, and what they do not have.

    Raises UsageError if the samples have none of the tickers or companies.
    """
    samples, own = build_sample_extracts(vendors, token), settings.values
    samples |= {job: options for job, options in build_all_sample_extracts(vendors, token).items() if job in own}
    notes = [
        f"the sample vendors' days are fixed, so {name} = {settings.values[name]} of {settings.source} is not used; "
        "add --live to ask the real vendors"
        for name in sorted(DATES & settings.values.keys())
    ]
    extracts = _apply_settings(samples, settings, deployments, fixed=DATES | {"base_url"})
    for options in (extracts[job] for job in samples if job in extracts):
        for option, (known, what) in SAMPLES.items():
            wanted = [str(value) for value in _as_list(options.get(option, ()))]
            missing = [value for value in wanted if _normalise(value) not in map(_normalise, known)]
            if not missing:
                continue
            note = f"the sample vendors have no {what} {', '.join(missing)}, only {', '.join(known)}; add --live to ask the real vendors"
            if len(missing) == len(wanted):
                raise UsageError(f"{settings.source}: {note}")
            options[option] = [value for value in wanted if value not in missing]
            notes.append(note)
    return extracts, list(dict.fromkeys(notes))


def build_live_extracts(
    settings: Settings, deployments: Sequence[DeploymentSpec], contact: str, store_secret: Callable[[str, str], str]
) -> Extracts:
    """Return the extracts for the real vendors: those that need no key, and those for which there is a token.

    A token comes from the job's table in the settings, or from TIINGO_TOKEN, MASSIVE_TOKEN and FRED_TOKEN. `store_secret` puts it, by name,
    where the job can read it, and returns the reference. Raises JobError for a reference that cannot be read.
    """
    end = datetime.now(UTC).date() - timedelta(days=1)
    days: dict[str, object] = {"start": settings.values.get("start", str(end - timedelta(days=LIVE_DAYS))), "end": str(end)}
    extracts: Extracts = {
        "extract-ecb-fx-rates": days,
        "extract-treasury-yields": days,
        "extract-nyfed-rates": days,
        "extract-fiscaldata-debt": days,
        "extract-sdmx-series": days,
        "extract-sec-company-facts": {"ciks": CIKS, "contact": contact},
        "extract-sec-filers": {"contact": contact},
    }
    if settings.selects("tiingo") and (token := _read_token(settings, TIINGO, "TIINGO_TOKEN")):
        extracts[TIINGO] = {**days, "tickers": TICKERS, "token": store_secret("tiingo", token)}
    if settings.selects("massive") and (token := _read_token(settings, MASSIVE, "MASSIVE_TOKEN")):
        market_days = {**days, "start": str(end - timedelta(days=LIVE_MARKET_DAYS))}  # one request for each day
        extracts[MASSIVE] = {**market_days, "token": store_secret("massive", token)}
    if settings.selects("fred") and (token := _read_token(settings, FRED, "FRED_TOKEN")):
        extracts[FRED] = {"series": SERIES, "releases": RELEASES, "token": store_secret("fred", token)}
    return _apply_settings(extracts, settings, deployments, fixed=frozenset({"contact"}))


def _apply_settings(extracts: Extracts, settings: Settings, deployments: Sequence[DeploymentSpec], *, fixed: frozenset[str]) -> Extracts:
    """Return the extracts of the chosen vendors with the person's values. An extract job with a table of its own in the settings joins.

    `fixed` are options of the given extracts that keep their values. Raises UsageError for an unknown vendor, job or option.
    """
    specs = {spec.name: spec for spec in catalogue()}
    settings.check_vendors([spec.vendor for spec in specs.values() if spec.hosts])
    values, _ = rename_options(settings.values, settings.source)
    flows = [deployment.flow for deployment in deployments if "entrypoint" in deployment.fields]
    options = {deployment.flow: deployment.options for deployment in deployments}
    selected = select_parameters(options, values, settings.source, flows=flows)
    jobs = [*extracts, *(name for name in values if name in specs and specs[name].hosts and name not in extracts)]
    return {
        job: _merge(extracts.get(job), selected[job], values.get(job, {}), fixed | set(specs[job].secrets))
        for job in jobs
        if settings.selects(specs[job].vendor)
    }


def _merge(
    given: Mapping[str, object] | None, values: Mapping[str, Any], own: Mapping[str, Any], fixed: frozenset[str]
) -> dict[str, object]:
    """Return the options of one job: those given, and a person's. Dates at the top of the file are for the flow."""
    if given is None:
        return {name: value for name, value in values.items() if name not in SUPPLIED}
    wanted = {name: value for name, value in values.items() if name not in SUPPLIED | fixed and (name not in DATES or name in own)}
    return {**given, **wanted}


def _read_token(settings: Settings, job: str, variable: str) -> str | None:
    reference = settings.values.get(job, {}).get("token")
    return secrets.resolve(str(reference)) if reference else os.environ.get(variable)


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _normalise(value: str) -> str:
    return value.upper().lstrip("0")
