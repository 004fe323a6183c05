"""Read contract files: YAML in a subset of the Open Data Contract Standard v3.

Standard: https://bitol-io.github.io/open-data-contract-standard/. The file is read strictly: a key or rule that finelt does not implement
is refused by name (`jobkit.contracts.odcs_keys`), and so is a value that YAML reads as something else (`jobkit.contracts.strict_yaml`).
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from jobkit.contracts.model import Classification, Contract, ContractError, Evolution, Policy, Product, Redistribution, Rule, Sum
from jobkit.contracts.odcs_columns import check_column_type, read_column
from jobkit.contracts.odcs_keys import (
    CONTRACT,
    DESCRIPTION,
    MAPPING,
    SCHEMA,
    SCHEMA_CUSTOM,
    SLA,
    check_keys,
    check_type,
    choose,
    read_custom,
)
from jobkit.contracts.odcs_layout import read_layout
from jobkit.contracts.odcs_quality import read_quality, read_unique
from jobkit.contracts.strict_yaml import load_yaml
from jobkit.errors import BadDataError, NewerFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobkit.contracts.model import Field

API_VERSION, NEWEST_API = re.compile(r"v(\d+)\.(\d+)\.\d+"), (3, 1)
PARTITION_NAME = re.compile(r"[a-z_]+")
# Of each property: the least value, and the units that it may have.
UNITS = {"latency": (0, ("d", "day", "days")), "retention": (1, ("y", "yr", "year", "years"))}


def load(path: Path) -> Contract:
    """Read the contract in a file.

    Raises BadDataError (exit code 65) naming the file and the first key or value that is wrong, NewerFormatError (78) for a newer standard.
    """
    try:
        return read_contract(path.read_text(encoding="utf-8"))
    except NewerFormatError as error:
        raise NewerFormatError(f"{path}: {error}") from None
    except ValueError as error:
        raise BadDataError(f"{path} is not a contract this version can read: {error}") from None


def load_packaged(package: str, dataset: str) -> Contract:
    """Read the contract of a dataset from <dataset>.odcs.yaml in an extractor's package. Raises BadDataError as `load` does."""
    with resources.as_file(resources.files(package) / f"{dataset}.odcs.yaml") as path:
        return load(Path(path))


def parse_document(text: str) -> dict[str, Any]:
    """Return the YAML document of a contract file, unchecked but for being a mapping. Raises ContractError."""
    document: dict[str, Any] = check_type("the file", load_yaml(text), MAPPING)
    return document


def read_contract(text: str) -> Contract:
    """Read the contract in the text of a file.

    Raises ContractError naming the first key or value that is wrong, NewerFormatError for a newer version of the standard.
    """
    document = check_keys("the contract", parse_document(text), CONTRACT, ("version", "schema"))
    _check_api_version(document.get("apiVersion", "v3.0.0"))
    check_keys("description", document.get("description", {}), DESCRIPTION)
    if document.get("kind", "DataContract") != "DataContract":
        raise ContractError(f"kind is {document['kind']!r}; expected DataContract")
    if len(document["schema"]) != 1:
        raise ContractError(f"schema has {len(document['schema'])} items; a contract is of one dataset")
    schema = check_keys("schema", document["schema"][0], SCHEMA, ("name", "description", "properties", "customProperties"))
    custom = read_custom("schema", schema, SCHEMA_CUSTOM, ("leaf", "licence"))
    sla = _read_sla(document.get("slaProperties", ()))
    columns = [read_column(item, number) for number, item in enumerate(schema["properties"], 1)]
    fields = tuple(field for field, _ in columns)
    rules = [read_quality("schema", item) for item in schema.get("quality", ())]
    _check_names(fields, [rule for rule in rules if not isinstance(rule, dict)])
    return Contract(
        dataset=schema["name"],
        description=schema["description"],
        fields=fields,
        key=tuple(name for _, name in sorted((position, field.name) for field, position in columns if position is not None)),
        leaf=custom["leaf"],
        licence=custom["licence"],
        new_fields=choose(custom, "newFields", get_args(Evolution), "freeze"),
        new_field_type=check_column_type("newFieldType", custom.get("newFieldType", "string")),
        max_bad_rows=_read_share(custom, "maxBadRows", Decimal("0.05")),
        rules=tuple(rule for rule in rules if isinstance(rule, Rule)),
        version=document["version"],
        latency_days=sla.get("latency", 1),
        retention_years=sla.get("retention"),
        as_of_from=_read_date(custom, "asOfFrom"),
        unique=read_unique(fields, [rule for rule in rules if isinstance(rule, dict)]),
        products=tuple(rule for rule in rules if isinstance(rule, Product)),
        sums=tuple(rule for rule in rules if isinstance(rule, Sum)),
        partition=_read_partition(schema["properties"]),
        repeated_key=choose(custom, "repeatedKey", get_args(Policy), "quarantine"),
        layout=read_layout(custom, fields),
        classification=choose(custom, "classification", get_args(Classification), None),
        redistribution=choose(custom, "redistribution", get_args(Redistribution), None),
        licence_url=custom.get("licenceUrl", ""),
        max_missing_rows=_read_share(custom, "maxMissingRows", 0),
    )


def _check_api_version(text: str) -> None:
    """Raise NewerFormatError for a newer version of the standard, ContractError for one before v3 or none."""
    match = API_VERSION.fullmatch(text)
    if match is None or int(match[1]) < NEWEST_API[0]:
        raise ContractError(f"apiVersion is {text!r}; expected v3.0.0 to v{NEWEST_API[0]}.{NEWEST_API[1]}.x of the standard")
    if (int(match[1]), int(match[2])) > NEWEST_API:
        raise NewerFormatError(
            f"apiVersion is {text}, and this version reads the standard up to v{NEWEST_API[0]}.{NEWEST_API[1]}.x; "
            f"upgrade finelt, or write v{NEWEST_API[0]}.{NEWEST_API[1]}.0 if the contract uses nothing newer"
        )


def _check_names(fields: Sequence[Field], rules: Sequence[Rule | Product | Sum]) -> None:
    """Raise ContractError if two columns share a name or header, or if a rule names a column that does not exist."""
    names, labels = [field.name for field in fields], [field.label for field in fields if field.constant is None]
    for kind, used in (("column", names), ("physicalName", labels)):
        if repeated := sorted({name for name in used if used.count(name) > 1}):
            raise ContractError(f"{kind} {repeated[0]!r} appears twice; keep one of them")
    references = [("a rule", name) for rule in rules for name in _columns_of(rule)]
    references += [(f"countedWithin of {field.name}", name) for field in fields for name in field.counted_within]
    if unknown := [(place, name) for place, name in references if name not in names]:
        raise ContractError(f"schema: {unknown[0][0]} names {unknown[0][1]!r}, which is no column")


def _columns_of(rule: Rule | Product | Sum) -> tuple[str, ...]:
    if isinstance(rule, Rule):
        return (rule.left, rule.right)
    return (rule.value, *(rule.terms if isinstance(rule, Sum) else rule.factors))


def _read_partition(items: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the columns that name the lake partition of a row, in the order of their positions."""
    partitioned = [(item.get("partitionKeyPosition", -1), item) for item in items if item.get("partitioned", False)]
    for position, item in partitioned:
        if position < 1:
            raise ContractError(f"column {item['name']} is partitioned without a place in it; write partitionKeyPosition from 1 up")
        if not PARTITION_NAME.fullmatch(item["name"]) or not item.get("required", False):
            raise ContractError(
                f"column {item['name']} is partitioned; it must be required and its name of lower-case letters and underscores"
            )
    return tuple(item["name"] for _, item in sorted(partitioned, key=lambda pair: pair[0]))


def _read_sla(items: Sequence[object]) -> dict[str, int]:
    """Return the latency in days and the retention in years, those that there are."""
    properties: dict[str, int] = {}
    for value in items:
        item = check_keys("slaProperties", value, SLA, ("property", "value"))
        name, amount, unit = item["property"], item["value"], item.get("unit", "d")
        if name not in (*UNITS, "frequency"):
            raise ContractError(f"slaProperties: {name!r} is not implemented; remove it, or write latency, frequency or retention")
        if name in UNITS:
            least, units = UNITS[name]
            if unit not in units or not isinstance(amount, int) or isinstance(amount, bool) or amount < least:
                expected = f"a whole number of {units[-1]} from {least} up, unit {units[0]}"
                raise ContractError(f"slaProperties: {name} is {amount!r} with unit {unit!r}; expected {expected}")
            properties[name] = amount
    return properties


def _read_date(custom: Mapping[str, Any], name: str) -> date | None:
    try:
        return date.fromisoformat(custom[name]) if name in custom else None
    except ValueError:
        raise ContractError(f"schema: {name} is {custom[name]!r}; expected a date such as 2015-01-31, in quotes") from None


def _read_share(custom: Mapping[str, Any], name: str, default: int | Decimal) -> float:
    value = custom.get(name, default)
    if not 0 <= value <= 1:
        raise ContractError(f"schema: {name} is {value}; expected a share from 0 to 1")
    return float(value)
