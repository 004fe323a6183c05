"""The limits of one field: range, multiple, length, pattern, identifier, list of values.

Each check is built once per column and called once per distinct text of the field's type. It returns why the text is refused, without the
text itself, or None. Quarantine files store these reasons, so a changed word makes a new commit of every partition with bad rows.
"""

from __future__ import annotations

from decimal import Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING

from jobkit.contracts.messages import MAX_SHOWN_ITEMS
from jobkit.contracts.patterns import compile_pattern
from jobkit.contracts.values import limit_parser, parse_limit

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobkit.contracts.model import Field

    Check = Callable[[str], str | None]

_EXACT = Context(prec=1000)  # the default context rounds to 28 digits


def constraint_check(field: Field) -> Check | None:
    """Return a function that explains which limit of the field a value breaks, or returns None; no function for a field without limits.

    The function takes a text that is a value of the field's type. The first broken limit in the order of CHECK_BUILDERS is explained.
    """
    checks = [check for build in CHECK_BUILDERS if (check := build(field))]
    if len(checks) < 2:  # noqa: PLR2004
        return checks[0] if checks else None
    return lambda text: next((fault for check in checks if (fault := check(text))), None)


def _range_check(field: Field) -> Check | None:
    """Check minimum and maximum, which values may equal."""
    if field.minimum is None and field.maximum is None:
        return None
    parse = limit_parser(field)
    low, high = parse_limit(field, field.minimum), parse_limit(field, field.maximum)

    def check(text: str) -> str | None:
        value = parse(text)
        if low is not None and value < low:
            return f"below {field.minimum}"
        if high is not None and value > high:
            return f"above {field.maximum}"
        return None

    return check


def _exclusive_range_check(field: Field) -> Check | None:
    """Check exclusive minimum and maximum, which values may not equal."""
    if field.exclusive_minimum is None and field.exclusive_maximum is None:
        return None
    parse = limit_parser(field)
    low, high = parse_limit(field, field.exclusive_minimum), parse_limit(field, field.exclusive_maximum)

    def check(text: str) -> str | None:
        value = parse(text)
        if low is not None and value <= low:
            return f"not above {field.exclusive_minimum}"
        if high is not None and value >= high:
            return f"not below {field.exclusive_maximum}"
        return None

    return check


def _multiple_check(field: Field) -> Check | None:
    """Check that numbers are whole multiples of `multiple_of`, such as 0.01, as JSON Schema defines it."""
    step = field.multiple_of
    if step is None:
        return None
    return lambda text: None if _is_multiple(Decimal(text), step) else f"no multiple of {step}"


def _is_multiple(value: Decimal, step: Decimal) -> bool:
    """Whether value is a whole number of steps, exactly; false if it has more digits than the context."""
    try:
        return _EXACT.remainder(value, step) == 0
    except InvalidOperation:
        return False


def _length_check(field: Field) -> Check | None:
    """Check the number of characters (code points, as in Postgres), not of bytes."""
    shortest, longest = field.min_length, field.max_length
    if shortest is None and longest is None:
        return None

    def check(text: str) -> str | None:
        if shortest is not None and len(text) < shortest:
            return f"shorter than {shortest} characters"
        if longest is not None and len(text) > longest:
            return f"longer than {longest} characters"
        return None

    return check


def _pattern_check(field: Field) -> Check | None:
    """Check that the pattern matches somewhere in the text; it is anchored only where it says so."""
    if field.pattern is None:
        return None
    search = compile_pattern(field.pattern).search
    return lambda text: None if search(text) else f"not of the form {field.pattern}"


def _identifier_check(field: Field) -> Check | None:
    """Check that a text is an identifier, with its check digit: `format` of a string column (jobkit.identifiers)."""
    if field.format is None or field.type != "string":
        return None
    from jobkit import identifiers  # noqa: PLC0415  few contracts name one

    return identifiers.CHECKS[field.format]


def _enum_check(field: Field) -> Check | None:
    """Check that the value is in the list of valid values. Numbers are compared by value: 2.50 is 2.5."""
    if field.values is None:
        return None
    parse, values = limit_parser(field), frozenset(parse_limit(field, value) for value in field.values)
    listed = ", ".join(map(str, field.values[:MAX_SHOWN_ITEMS])) + (", ..." if len(field.values) > MAX_SHOWN_ITEMS else "")
    return lambda text: None if parse(text) in values else f"none of {listed}"


CHECK_BUILDERS = (_range_check, _exclusive_range_check, _multiple_check, _length_check, _pattern_check, _identifier_check, _enum_check)
