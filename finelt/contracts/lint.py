"""Hold the data contracts against the standard's own schema, their file names, the declarations of jobs and the dbt sources."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema
from jobkit import column_types, contracts
from jobkit.errors import BadDataError
from jobkit.names import ROW_NUMBER

from jobs.catalogue import JOBS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from jobkit.contracts import Contract

    from finelt.contracts.dbt_project import DbtProject

SUFFIX = ".odcs.yaml"
LOADER_COLUMNS = {ROW_NUMBER: "integer", "_load_id": "bigint", "known_from": "timestamptz", "known_to": "timestamptz"}
LOGICAL_TYPES = {  # of the standard, by contract type; decimals and doubles are numbers
    "string": "string",
    "date": "date",
    "timestamp": "timestamp",
    "boolean": "boolean",
    **dict.fromkeys(("int", "long"), "integer"),
}


def contract_files() -> list[Path]:
    """List the contract files of all jobs, sorted by name."""
    return sorted(JOBS.glob(f"*/*/*{SUFFIX}"), key=lambda path: path.name)


def find_problems(paths: Sequence[Path], project: DbtProject, written: set[str]) -> list[str]:
    """Describe each problem of the contract files in one sentence; empty if there is none.

    `written` are the datasets that jobs declare to write, without `raw/`.
    """
    problems = [problem for path in paths for problem in _check_file(path, paths, project, written)]
    without = written - {_name_of(path) for path in paths}
    return problems + [f"raw/{dataset} is written without a contract; add {dataset}{SUFFIX} next to its extractor" for dataset in without]


def _name_of(path: Path) -> str:
    return path.name.removesuffix(SUFFIX)


def _check_file(path: Path, paths: Sequence[Path], project: DbtProject, written: set[str]) -> Iterator[str]:
    try:
        contract = contracts.load(path)
        dataset = contract.dataset if path.with_name(f"{contract.dataset}{SUFFIX}") in paths else _name_of(path)
        dataset_contract = contracts.load(path.with_name(f"{dataset}{SUFFIX}"))
    except BadDataError as error:
        yield str(error)
        return
    document = contracts.parse_document(path.read_text(encoding="utf-8"))
    problems = [*_check_standard(document), *_check_header(document, _name_of(path), dataset), *_check_columns(contract, document)]
    if dataset == _name_of(path):
        problems += [*_check_terms(contract, project), *_check_source(contract, project)]
    else:
        problems += _check_layout(dataset_contract, contract)
    yield from (f"{path.name}: {problem}" for problem in problems)
    if dataset not in written:
        yield f"{path.name}: no job declares to write raw/{dataset}; add it to writes in the job's pyproject.toml"


def _check_standard(document: dict[str, Any]) -> Iterator[str]:
    """Validate the document against the JSON Schema of the standard."""
    schema = json.loads((resources.files("open_data_contract_standard") / "schema.json").read_text(encoding="utf-8"))
    as_json = json.loads(json.dumps(document, default=float))
    for error in jsonschema.Draft201909Validator(schema).iter_errors(as_json):
        yield f"not valid by the Open Data Contract Standard: {error.json_path}: {error.message[:200]}"


def _check_header(document: dict[str, Any], name: str, dataset: str) -> Iterator[str]:
    """Check what the standard requires around the schema: kind, id, name and version."""
    if document.get("kind") != "DataContract" or not str(document.get("apiVersion", "")).startswith("v3."):
        yield "kind and apiVersion must be DataContract and v3.x of the Open Data Contract Standard"
    for key, value, expected in (("id", document.get("id"), name), ("schema name", document["schema"][0]["name"], dataset)):
        if value != expected:
            yield f"its {key} is {value!r}, its file says {expected!r}; make them equal"
    if not re.fullmatch(r"\d+\.\d+\.\d+", str(document.get("version"))):
        yield f"version {document.get('version')!r} is not of the form 1.2.3"


def _check_columns(contract: Contract, document: dict[str, Any]) -> Iterator[str]:
    """Check leaf, key and logical types."""
    column = column_types.leaf_column(contract.leaf) or contract.leaf
    if column not in [field.name for field in contract.fields]:
        yield f"the leaf names {column!r}, which is no column"
    if not contract.key:
        yield "it has no primaryKey; name the columns that identify a row"
    for field, item in zip(contract.fields, document["schema"][0]["properties"], strict=True):
        if item.get("logicalType") != LOGICAL_TYPES.get(field.type, "number"):
            yield f"{field.name}: logicalType {item.get('logicalType')!r} does not go with physicalType {field.type!r}"


def _check_layout(dataset: Contract, layout: Contract) -> Iterator[str]:
    """Check that the contract of one bank's files fits the dataset that they fill."""
    for conflict in contracts.list_conflicts(dataset, layout):
        yield f"it differs from {dataset.dataset}, which its files fill, in {conflict}"


def _check_terms(contract: Contract, project: DbtProject) -> Iterator[str]:
    """Check that the terms are stated, that dbt states the same, and that no mart depends on a confidential dataset."""
    terms: dict[str, str | None] = {"classification": contract.classification, "redistribution": contract.redistribution}
    for name, value in terms.items():
        if value is None:
            yield f"it states no {name}, so no mart that depends on it is ever published; add the custom property {name}"
    if table := project.sources.get(contract.dataset):
        meta = table["config"].get("meta", {})
        for name, value in {**terms, "licence": contract.licence}.items():
            if meta.get(name) != value:
                yield f"the meta of the dbt source says {name} {meta.get(name)!r}, the contract {value!r}; make them equal"
    if not contract.shows_values and (marts := project.find_marts(project.find_readers(contract.dataset))):
        yield f"it is {contract.classification or 'not classified'} and must not reach a mart, but {', '.join(marts)} depends on it"


def _check_source(contract: Contract, project: DbtProject) -> Iterator[str]:
    """Check that the dbt source declares the same columns, types and freshness."""
    table = project.sources.get(contract.dataset)
    if table is None:
        yield "dbt declares no source table for it; add one to the _<source>__sources.yml of its staging folder"
        return
    columns = {field.name: sql_type(field.type) for field in contract.fields}
    if any(project.unpivots(model) for model in project.find_readers(contract.dataset)):
        columns = {name: columns[name] for name in contract.key}  # the others become rows, whichever exist
    expected = list({**columns, **LOADER_COLUMNS}.items())
    declared = [(column["name"], column["data_type"]) for column in table["columns"]]
    if declared != expected:
        differing = sorted({name for name, _ in set(expected) ^ set(declared)})
        yield f"the dbt source declares other columns or types; look at {', '.join(differing) or 'their order'}"
    age = table["config"].get("freshness", {}).get("warn_after", {})
    if age != {"count": contract.latency_days, "period": "day"}:
        yield f"the dbt source warns after {age.get('count')} {age.get('period')}s, the contract's latency is {contract.latency_days} days"


def sql_type(kind: str) -> str | None:
    """Return the warehouse's type for a contract's type, as dbt's YAML writes it; None if the type is unknown."""
    return "timestamptz" if kind == column_types.TIMESTAMP else column_types.postgres_type(kind)
