"""Render the dbt source and the staging model of a dataset from its contract: each column renamed, nothing more."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from finelt.contracts.dbt_project import DBT
from finelt.contracts.lint import LOADER_COLUMNS, sql_type

if TYPE_CHECKING:
    from pathlib import Path

    from jobkit.contracts import Contract

MODEL = """\
with source as (
    select * from {{{{ current_rows(source('{vendor}', '{dataset}')) }}}} as raw
)

select
{columns},
    source.known_from
from source
"""


def render(contract: Contract, vendor: str) -> dict[Path, str]:
    """Return the files: text by path. `vendor` is the dbt source, and how the dataset's name begins."""
    folder, model = DBT / "models" / "staging" / vendor, f"stg_{vendor}__{contract.dataset.removeprefix(f'{vendor}_')}"
    names = choose_names([field.name for field in contract.fields])
    columns = ",\n".join(f'    source."{field}" as {name}' for field, name in names.items())
    return {
        folder / f"_{contract.dataset}__sources.yml": _to_yaml({"sources": [_describe_source(contract, vendor)]}),
        folder / f"{model}.sql": MODEL.format(vendor=vendor, dataset=contract.dataset, columns=columns),
        folder / f"{model}.yml": _to_yaml({"models": [_describe_model(contract, model, names)]}),
    }


def choose_names(fields: list[str]) -> dict[str, str]:
    """Return the column of the staging model for each field, in lower case with underscores."""
    chosen: dict[str, str] = {}
    for field in fields:
        name = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", field).lower()).strip("_")
        name = name if name[:1].isalpha() else f"column_{name}"
        chosen[field] = name if name not in chosen.values() else f"{name}_{len(chosen) + 1}"
    return chosen


def _describe_source(contract: Contract, vendor: str) -> dict[str, Any]:
    """Return the source as `contracts lint` expects it. Each dataset has its terms and freshness itself."""
    meta = {"classification": contract.classification, "redistribution": contract.redistribution, "licence": contract.licence}
    columns: list[dict[str, Any]] = [{"name": field.name, "data_type": sql_type(field.type), "quote": True} for field in contract.fields]
    columns += [{"name": name, "data_type": kind} for name, kind in LOADER_COLUMNS.items()]
    table = {
        "name": contract.dataset,
        "description": contract.description,
        "config": {
            "loaded_at_field": "known_from",
            "meta": meta,
            "freshness": {"warn_after": {"count": contract.latency_days, "period": "day"}},
        },
        "columns": columns,
    }
    return {"name": vendor, "description": f"{vendor.capitalize()}.", "schema": "raw", "tables": [table]}


def _describe_model(contract: Contract, model: str, names: dict[str, str]) -> dict[str, Any]:
    fields = {field.name: field.description or f"The vendor's {field.name}." for field in contract.fields}
    columns = [{"name": name, "description": fields[field]} for field, name in names.items()]
    known_from = {"name": "known_from", "description": "When the row was committed to the lake."}
    return {"name": model, "description": contract.description, "columns": [*columns, known_from]}


def _to_yaml(document: dict[str, Any]) -> str:
    """Return a document as YAML, with innermost mappings on one line."""
    return str(yaml.safe_dump(document, default_flow_style=None, sort_keys=False, width=140, allow_unicode=True))
