"""Compare two versions of a contract: what differs, and which models and marts it breaks."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, get_args

from jobkit.contracts import Field, Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobkit.contracts import Contract, Policy

    from finelt.contracts.dbt_project import DbtProject

Weight = Literal["breaks", "watch", "fine"]

# The properties of a field that are compared by themselves, or that change no row. Any other change deserves a look.
_COMPARED_APART = {
    *("name", "type", "required", "unit", "minimum", "maximum", "policy", "evolution"),
    *("description", "vendor_name", "unique"),  # unique is compared as part of the contract
}
FIELD_PROPERTIES = [field.name for field in fields(Field) if field.name not in _COMPARED_APART]


@dataclass(frozen=True)
class Change:
    """One difference between two versions; `column` is None for one of the whole dataset.

    breaks: readers or the load fail or err. watch: other rows pass than before. fine: neither.
    """

    weight: Weight
    column: str | None
    text: str


def describe_changes(old: Contract, new: Contract, project: DbtProject) -> tuple[list[str], bool]:
    """Return the changes as lines, each with the models and marts that it affects, and whether the version hides a break.

    A break needs a new major version (https://semver.org).
    """
    changes = find_changes(old, new)
    lines = [_describe(change, old.dataset, project) for change in changes]
    breaks = any(change.weight == "breaks" for change in changes)
    return lines, breaks and _major(new) <= _major(old)


def _describe(change: Change, dataset: str, project: DbtProject) -> str:
    line = f"{change.weight:<6}  {change.column + ': ' if change.column else ''}{change.text}"
    readers = project.find_readers(dataset, change.column) if change.weight != "fine" else []
    if not readers:
        return line
    return f"{line}\n        read by {', '.join(readers)}; affected marts: {', '.join(project.find_marts(readers)) or 'none'}"


def _major(contract: Contract) -> int:
    return int(contract.version.partition(".")[0])


def find_changes(old: Contract, new: Contract) -> list[Change]:
    """List the differences between two versions, the worst first."""
    before, after = ({field.name: field for field in contract.fields} for contract in (old, new))
    changes = [*_compare_dataset(old, new), *_compare_tolerance(old, new), *_compare_files(old, new)]
    changes += [*_compare_terms(old, new), *_compare_rules(old, new)]
    changes += [Change("breaks", name, "is gone; its readers find null or nothing") for name in before if name not in after]
    changes += [_describe_new(after[name]) for name in after if name not in before]
    changes += [change for name in before if name in after for change in _compare_field(before[name], after[name], _reload_advice(new))]
    return sorted(changes, key=lambda change: get_args(Weight).index(change.weight))


def _compare_dataset(old: Contract, new: Contract) -> Iterator[Change]:
    for name in ("dataset", "key", "leaf"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            remedy = "it is another dataset" if name == "dataset" else _reload_advice(new)
            yield Change("breaks", None, f"{name} {_format(before)} -> {_format(after)}; {remedy}")
    if old.new_fields != new.new_fields:
        weight: Weight = "breaks" if new.new_fields == "freeze" else "watch"
        yield Change(weight, None, f"new vendor columns: {old.new_fields} -> {new.new_fields}")
    if old.new_field_type != new.new_field_type:
        yield Change("watch", None, f"type of new vendor columns: {old.new_field_type} -> {new.new_field_type}")
    for names in {*old.unique} ^ {*new.unique}:
        yield Change("watch", None, f"{', '.join(names)} {'must' if names in new.unique else 'need no longer'} be unique")


def _compare_tolerance(old: Contract, new: Contract) -> Iterator[Change]:
    if old.max_bad_rows != new.max_bad_rows:
        yield Change("watch", None, f"bad rows allowed: {old.max_bad_rows:.2%} -> {new.max_bad_rows:.2%}")
    if old.max_missing_rows != new.max_missing_rows:
        yield Change("watch", None, f"rows a response may leave out: {old.max_missing_rows:.2%} -> {new.max_missing_rows:.2%}")
    for name in ("retention_years", "as_of_from"):
        if getattr(old, name) != getattr(new, name):
            yield Change("watch", None, f"{name.replace('_', ' ')}: {getattr(old, name)} -> {getattr(new, name)}, for `lake expire`")
    if old.latency_days != new.latency_days:
        yield Change("watch", None, f"latency: {old.latency_days} -> {new.latency_days} days")


def _compare_files(old: Contract, new: Contract) -> Iterator[Change]:
    """Compare how dropped files are read and stored."""
    if old.partition != new.partition:
        before, after = (", ".join(contract.partition) or "the file" for contract in (old, new))
        yield Change("watch", None, f"lake partitions by {before} -> by {after}; partitions committed before stay")
    if old.repeated_key != new.repeated_key:
        yield Change("watch", None, f"a repeated key: {old.repeated_key} -> {new.repeated_key}")
    for field in fields(Layout):
        written_before, written_after = getattr(old.layout, field.name), getattr(new.layout, field.name)
        if written_before != written_after:
            text = f"{field.name.replace('_', ' ')} of files: {_format(written_before)} -> {_format(written_after)}"
            yield Change("watch", None, text)


def _compare_terms(old: Contract, new: Contract) -> Iterator[Change]:
    if old.licence != new.licence:
        yield Change("watch", None, f"licence: {old.licence} -> {new.licence}; check whether it may still be published")
    for name in ("classification", "redistribution"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            text = f"{name}: {before} -> {after}; other marts are published, and earlier published versions may have to be removed"
            yield Change("watch", None, text)


def _compare_rules(old: Contract, new: Contract) -> Iterator[Change]:
    before, after = _policies_by_rule(old), _policies_by_rule(new)
    yield from (Change("watch", None, f"rule {text} ({policy}) is new") for text, policy in after.items() if before.get(text) != policy)
    yield from (Change("watch", None, f"rule {text} ({policy}) is gone") for text, policy in before.items() if after.get(text) != policy)


def _policies_by_rule(contract: Contract) -> dict[str, Policy]:
    rules = {rule.text: rule.policy for rule in contract.rules}
    products = {product.text: product.policy for product in contract.products}
    return rules | products | {total.text: total.policy for total in contract.sums}


def _describe_new(field: Field) -> Change:
    if field.required:
        return Change("breaks", field.name, "is new and required; what the lake has without it cannot be replayed")
    return Change("fine", field.name, f"is new, {field.type}")


def _reload_advice(contract: Contract) -> str:
    return f"after the first commit under the new contract, run `finelt reload {contract.dataset}`"


def _compare_field(old: Field, new: Field, advice: str) -> Iterator[Change]:
    if old.type != new.type:
        yield Change("breaks", new.name, f"type {old.type} -> {new.type}; {advice}")
    if old.unit != new.unit:
        yield Change("breaks", new.name, f"unit {old.unit} -> {new.unit}; the same number means something else")
    if old.required and not new.required:
        yield Change("breaks", new.name, "may now be missing; its readers take it for granted")
    if new.required and not old.required:
        yield Change("watch", new.name, "is now required; rows without it are bad rows")
    if old.evolution != new.evolution:
        yield Change("watch", new.name, f"if the vendor stops sending the column: {old.evolution} -> {new.evolution}")
    if (old.minimum, old.maximum) != (new.minimum, new.maximum):
        yield Change("watch", new.name, f"range {_format_range(old)} -> {_format_range(new)}")
    for name in FIELD_PROPERTIES:
        if (before := getattr(old, name)) != (after := getattr(new, name)):
            yield Change("watch", new.name, f"{name.replace('_', ' ')} {_format(before)} -> {_format(after)}")
    if old.policy != new.policy:
        yield Change("watch", new.name, f"policy {old.policy} -> {new.policy}")


def _format_range(field: Field) -> str:
    return f"[{'' if field.minimum is None else field.minimum}, {'' if field.maximum is None else field.maximum}]"


def _format(value: object) -> str:
    if value in (None, "", ()):
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
