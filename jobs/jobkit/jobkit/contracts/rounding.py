"""Fit numbers to the scale of their column, where its contract allows it: `rounding` of `jobkit.contracts.model.Field`."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import TYPE_CHECKING

from jobkit.column_types import DECIMAL, INTEGER_LIMITS
from jobkit.contracts.messages import truncate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jobkit.contracts.model import Contract, Field
    from jobkit.contracts.values import Distinct, Texts

_EXACT = Context(prec=1000)  # the default context rounds to 28 digits
_WHOLE = re.compile(r"(-?\d{1,19})\.0+", re.ASCII)
_FRACTION = re.compile(r"-?0*(\d{1,38})\.(\d+)", re.ASCII)
_DOUBLE_DIGITS = 15  # significant digits that every double keeps (IEEE 754); a number with fewer was not printed from a double's last bits
_NOISE = Decimal("1e-14")  # relative; some last bits of a double


def round_values(
    contract: Contract, fields: Sequence[Field], texts: Texts, distinct: Distinct, place: Callable[[int], str]
) -> tuple[Texts, Distinct, list[str]]:
    """Return the columns with each number in the form that its type stores, their distinct texts, and a warning per rounded column.

    `place` names a row, counted from 1, in a warning. Row order and length do not change.
    """
    texts, distinct, warnings = dict(texts), dict(distinct), []
    for field in fields:
        if not _is_number(field):
            continue
        fractions = [text for text in distinct[field.name] if text is not None and "." in text]  # any other number has the form
        fitted = {text: fit for text in fractions if (fit := fit_to_type(field, text)) is not None}
        if not fitted:
            continue
        inexact = {text for text, fit in fitted.items() if Decimal(text) != Decimal(fit)}
        if inexact:
            rows = [row for row, text in enumerate(texts[field.name]) if text in inexact]
            first = str(texts[field.name][rows[0]])
            shown = f", from {truncate(first)} to {fitted[first]}" if contract.shows_values else ""
            warnings.append(f"{field.name}: {len(rows)} values were rounded; the first, in {place(rows[0] + 1)}{shown}")
        texts[field.name] = [text if text is None else fitted.get(text, text) for text in texts[field.name]]
        distinct[field.name] = set(texts[field.name])
    return texts, distinct, warnings


def _is_number(field: Field) -> bool:
    return DECIMAL.fullmatch(field.type) is not None or field.type in INTEGER_LIMITS


def fit_to_type(field: Field, text: str) -> str | None:
    """Return the number as a field of whole numbers or decimals stores it; None if it has that form, or if `rounding` does not allow it.

    1000.0 becomes 1000 in a column of whole numbers whatever `rounding` says, as it is the same number. A number too large for the type
    stays as it is, and is then a value of no type. Text of a field of another type is no number.
    """
    if not _is_number(field):
        return None
    decimal = DECIMAL.fullmatch(field.type)
    if not decimal and (whole := _WHOLE.fullmatch(text)):
        return whole[1]
    scale = int(decimal[2]) if decimal else 0
    if field.rounding == "none" or (number := _FRACTION.fullmatch(text)) is None or len(number[2].rstrip("0")) <= scale:
        return None
    value = Decimal(text)
    nearest = value.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_EVEN, _EXACT)
    if field.rounding == "measured":
        return format(nearest, "f")
    digits = len((number[1] + number[2]).lstrip("0"))
    is_noise = digits >= _DOUBLE_DIGITS and abs(value - nearest) <= abs(value) * _NOISE
    return format(nearest, "f") if is_noise else None
