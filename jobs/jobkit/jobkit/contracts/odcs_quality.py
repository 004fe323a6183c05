"""Quality rules of a contract file: comparisons, products and sums of columns, and the metrics of the standard's library.

finelt checks rows one by one, so a metric that counts must be zero (`mustBe: 0`); any other rule is refused.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_args

from jobkit.contracts.model import ContractError, Policy, Product, Rule, Sum
from jobkit.contracts.odcs_keys import LIST, QUALITY, TEXT, check_keys, check_texts, choose

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobkit.contracts.model import Field

RULE = re.compile(r"(.+) (<=|<) (.+)")
_AMOUNT = r"\d+(?:\.\d+)?"
PRODUCT = re.compile(rf"(\w+) = (\w+) \* (\w+)(?: / ({_AMOUNT}))? within (?:({_AMOUNT})%)?(?: or )?({_AMOUNT})?")
SUM = re.compile(r"(\w+) = (\w+(?: \+ \w+)+)")
SCHEMA_METRICS = ("duplicateValues",)
COLUMN_METRICS = ("nullValues", "invalidValues", "duplicateValues")


def read_quality(where: str, value: object) -> Rule | Product | Sum | dict[str, Any]:
    """Return a rule between columns, or the mapping of a rule of the library. Raises ContractError for one that is not implemented.

    `where` is `schema`, or the column that has the rule. A rule without a severity quarantines the row.
    """
    item = check_keys(f"{where}: quality", value, QUALITY)
    kind = item.get("type", "library" if "metric" in item else None)
    policy = choose(item, "severity", get_args(Policy), "quarantine", f"{where}: quality")
    if kind == "custom" and item.get("engine") == "finelt":
        _refuse_keys(where, item, ("metric", "arguments", "mustBe"))
        return _read_rule(where, str(item.get("implementation")), policy)
    if kind == "library":
        _refuse_keys(where, item, ("engine", "implementation"))
        _check_metric(where, item)
        return item
    raise ContractError(
        f"{where}: quality of type {kind!r} and engine {item.get('engine')!r} is not implemented; "
        "write type: library, or type: custom with engine: finelt"
    )


def _refuse_keys(where: str, item: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Raise ContractError if the rule has a key that belongs to another type of rule."""
    if wrong := [key for key in keys if key in item]:
        raise ContractError(f"{where}: quality of type {item.get('type', 'library')} has no key {wrong[0]!r}; remove it")


def _read_rule(where: str, text: str, policy: Policy) -> Rule | Product | Sum:
    """Read finelt's own rule: `low <= close`, `bid < ask`, `total = a + b` or `value = quantity * price / 100 within 0.5% or 0.01`."""
    if product := PRODUCT.fullmatch(text):
        return _read_product(where, product, policy)
    if total := SUM.fullmatch(text):
        return Sum(total[1], tuple(total[2].split(" + ")), policy)
    rule = RULE.fullmatch(text)
    if rule is None:
        raise ContractError(f"{where}: {text!r} is not a rule; expected one such as low <= close")
    return Rule(rule[1], rule[2], rule[3], policy)


def _read_product(where: str, match: re.Match[str], policy: Policy) -> Product:
    """Read a product with its tolerances. Raises ContractError if it has none, or divides by zero."""
    value, left, right, divisor, percent, amount = match.groups()
    has_tolerance = percent is not None or amount is not None
    has_both = bool(percent and amount)
    if not has_tolerance or (divisor is not None and not Decimal(divisor)) or ("or" in match[0].split()) != has_both:
        raise ContractError(f"{where}: {match[0]!r} is not a rule; expected one such as value = quantity * price / 100 within 0.5% or 0.01")
    share = Decimal(percent or 0) / 100
    return Product(value, (left, right), Decimal(divisor or 1), share, Decimal(amount or 0), policy, match[0])


def _check_metric(where: str, item: Mapping[str, Any]) -> None:
    """Raise ContractError for a metric that is not implemented here, or that may be anything but zero."""
    supported = SCHEMA_METRICS if where == "schema" else COLUMN_METRICS
    if item.get("metric") not in supported:
        raise ContractError(f"{where}: the metric {item.get('metric')!r} is not implemented here; choose one of {', '.join(supported)}")
    if item.get("mustBe") != 0:
        raise ContractError(f"{where}: the metric {item['metric']} must have mustBe: 0; each row is checked by itself")


def read_column_checks(where: str, item: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
    """Return a column's library rules as arguments of Field: values, pattern, required, unique. Raises ContractError."""
    checks: dict[str, Any] = {}
    for value in item.get("quality", ()):
        rule = read_quality(where, value)
        if not isinstance(rule, dict):
            raise ContractError(f"{where}: a rule of engine finelt compares columns; write it under schema.quality")
        if rule.get("severity", policy) != policy:
            raise ContractError(f"{where}: a rule of the library has the column's policy {policy}; drop its severity, or change the policy")
        for name, argument in _read_metric(where, rule):
            if name in checks:
                raise ContractError(f"{where}: the metric {rule['metric']} appears twice with the same arguments; keep one of them")
            checks[name] = argument
    return checks


def _read_metric(where: str, rule: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return a metric as arguments of Field, by name."""
    metric, arguments = rule["metric"], rule.get("arguments", {})
    if metric == "invalidValues":
        if not arguments:
            raise ContractError(f"{where}: metric invalidValues needs arguments; write validValues or pattern")
        checked = check_keys(f"{where}: arguments", arguments, {"validValues": LIST, "pattern": TEXT})
        return [({"validValues": "values", "pattern": "pattern"}[name], value) for name, value in checked.items()]
    check_keys(f"{where}: arguments of {metric}", arguments, {})
    return [({"nullValues": "required", "duplicateValues": "unique"}[metric], True)]


def read_unique(fields: Sequence[Field], rules: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], ...]:
    """Return the sets of columns, other than the key, that no two rows share. Raises ContractError."""
    names = {field.name for field in fields}
    unique: list[tuple[str, ...]] = [(field.name,) for field in fields if field.unique]
    for rule in rules:
        if rule.get("severity", "quarantine") != "quarantine":
            raise ContractError(f"schema: a repeated row is quarantined; severity {rule['severity']} of duplicateValues is not implemented")
        arguments = check_keys("schema: arguments of duplicateValues", rule.get("arguments", {}), {"properties": LIST}, ("properties",))
        columns = check_texts("schema: properties of duplicateValues", arguments["properties"])
        if not columns:
            raise ContractError("schema: properties of duplicateValues is empty; name the columns")
        if unknown := [name for name in columns if name not in names]:
            raise ContractError(f"schema: duplicateValues names {unknown[0]!r}, which is no column")
        unique.append(columns)
    return tuple(dict.fromkeys(unique))
