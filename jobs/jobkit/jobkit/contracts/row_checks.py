"""Find the rows that break the contract, one by one: in a field, in a rule between columns, by the length of the key.

Each function yields breaches by column or rule, and within one in the order of the rows. A reason shows the value only if the contract
shows values. Quarantine files store these reasons, so a changed word makes a new commit of every partition with bad rows.
"""

from __future__ import annotations

from decimal import Context, Decimal
from functools import reduce
from typing import TYPE_CHECKING

from jobkit.contracts.batch import UNREADABLE, Breach
from jobkit.contracts.constraints import constraint_check
from jobkit.contracts.messages import quote, truncate
from jobkit.contracts.values import look_up, parse_values

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from jobkit.contracts.batch import Batch
    from jobkit.contracts.model import Field, Policy, Product, Rule, Sum

MAX_KEY_BYTES = 1000  # of the texts in a key; a row of a Postgres index has at most 2,704 bytes, and some marts index two keys
_MAX_UTF8_BYTES = 4  # of a character
_EXACT = Context(prec=1000)  # the default context rounds to 28 digits


def find_field_breaches(batch: Batch) -> Iterator[Breach]:
    """Yield missing values, values of no type and values outside their limits. Looks at rows only where a distinct value is wrong."""
    for field in batch.fields:
        distinct, untyped = batch.distinct[field.name], batch.untyped[field.name]
        check = constraint_check(field)
        typed = [text for text in distinct if text is not None and text not in untyped] if check else []
        refused = {text: fault for text in typed if check and (fault := check(text))}
        if untyped or refused or (field.required and None in distinct):
            yield from _find_in_column(batch, field, refused)


def _find_in_column(batch: Batch, field: Field, refused: dict[str, str]) -> Iterator[Breach]:
    """Yield the breaches of one column. `refused` are texts of the field's type that break its limits, with the reason."""
    untyped, shows = batch.untyped[field.name], batch.contract.shows_values
    stop_policy: Policy = "quarantine" if field.policy == "warn" else field.policy  # a value of no type cannot be stored
    name = field.label if shows or field in batch.contract.fields else "a field that is not in the contract"
    for row, text in enumerate(batch.texts[field.name]):
        if text is None:
            if field.required:
                yield Breach(row, f"{name} is missing", stop_policy)
        elif fault := untyped.get(text):
            yield Breach(row, f"{name} is {f'{quote(text.removeprefix(UNREADABLE))}, ' if shows else ''}{fault}", stop_policy)
        elif fault := refused.get(text):
            yield Breach(row, f"{name} is {f'{truncate(text)}, ' if shows else ''}{fault}", field.policy)


def find_long_keys(batch: Batch) -> Iterator[Breach]:
    """Yield rows whose key is too long for an index: their texts have more than MAX_KEY_BYTES bytes in UTF-8."""
    names = [field.name for field in batch.fields if field.name in batch.contract.key and field.type == "string"]
    longest = sum(max(map(len, filter(None, batch.distinct[name])), default=0) for name in names)
    if longest * _MAX_UTF8_BYTES <= MAX_KEY_BYTES:
        return
    for row, key in enumerate(zip(*(batch.texts[name] for name in names), strict=True)):
        size = sum(len(text.encode(errors="replace")) for text in key if text)
        if size > MAX_KEY_BYTES:
            reason = f"its key ({', '.join(names)}) has {size:,} bytes, more than the {MAX_KEY_BYTES:,} that an index holds"
            yield Breach(row, reason, "quarantine")


def find_broken_rules(batch: Batch) -> Iterator[Breach]:
    """Yield rows whose columns contradict each other. A missing value, or one of no type, is a breach of its field and of no rule."""
    types = {field.name: field.type for field in batch.fields}
    rules = [rule for rule in batch.contract.rules if rule.left in types and rule.right in types]
    products = [product for product in batch.contract.products if {product.value, *product.factors} <= types.keys()]
    sums = [total for total in batch.contract.sums if {total.value, *total.terms} <= types.keys()]
    compared = {name for rule in rules for name in (rule.left, rule.right)}
    compared |= {name for product in products for name in (product.value, *product.factors)}
    compared |= {name for total in sums for name in (total.value, *total.terms)}
    values = {name: look_up(batch.texts[name], parse_values(types[name], batch.distinct[name], batch.untyped[name])) for name in compared}
    for rule in rules:
        yield from _find_broken_comparison(batch, rule, values)
    for product in products:
        yield from _find_broken_product(batch, product, values)
    for total in sums:
        yield from _find_broken_sum(batch, total, values)


def _find_broken_comparison(batch: Batch, rule: Rule, values: dict[str, list[Any]]) -> Iterator[Breach]:
    """Yield the rows that break a comparison. `values` are the compared columns, row by row."""
    for row, (low, high) in enumerate(zip(values[rule.left], values[rule.right], strict=True)):
        if low is not None and high is not None and (low > high or (rule.operator == "<" and low == high)):
            left, right = (truncate(batch.texts[name][row] or "") for name in (rule.left, rule.right))
            shown = f"{rule.left} is {left}, which breaks {rule.text} with {right}"
            yield Breach(row, shown if batch.contract.shows_values else f"breaks {rule.text}", rule.policy)


def _find_broken_product(batch: Batch, product: Product, values: dict[str, list[Any]]) -> Iterator[Breach]:
    """Yield the rows in which a column is too far from the product of two others, computed exactly."""
    columns = (values[name] for name in (product.value, *product.factors))
    for row, numbers in enumerate(zip(*columns, strict=True)):
        if None not in numbers and not _is_product(product, *map(Decimal, numbers)):
            shown = f"{product.value} is {truncate(batch.texts[product.value][row] or '')}, which breaks {product.text}"
            yield Breach(row, shown if batch.contract.shows_values else f"breaks {product.text}", product.policy)


def _find_broken_sum(batch: Batch, total: Sum, values: dict[str, list[Any]]) -> Iterator[Breach]:
    """Yield the rows in which a column is not the sum of others, computed exactly."""
    columns = (values[name] for name in (total.value, *total.terms))
    for row, numbers in enumerate(zip(*columns, strict=True)):
        if None in numbers:
            continue
        value, *terms = map(Decimal, numbers)
        if (found := reduce(_EXACT.add, terms)) != value:
            shown = f"{total.value} is {truncate(batch.texts[total.value][row] or '')}, which breaks {total.text} ({found:f})"
            yield Breach(row, shown if batch.contract.shows_values else f"breaks {total.text}", total.policy)


def _is_product(product: Product, value: Decimal, left: Decimal, right: Decimal) -> bool:
    """Whether the value is within the tolerance of the product."""
    expected = _EXACT.divide(_EXACT.multiply(left, right), product.divisor)
    allowed = max(product.amount, _EXACT.multiply(product.share, abs(value)))
    return _EXACT.subtract(value, expected).copy_abs() <= allowed
