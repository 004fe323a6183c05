"""JSON whose numbers stay the text the vendor wrote: a float in between would change digits."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.contract import Columns


LONGEST_EXPONENT = 4  # characters: -308 is the last of a double


def decode(body: bytes, what: str) -> Any:  # noqa: ANN401  JSON
    """The document, fractional numbers as text without exponents. Raises BadDataError naming `what` when it is no JSON."""
    import msgspec  # noqa: PLC0415  describe decodes nothing

    try:
        return msgspec.json.Decoder(float_hook=plain).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadDataError(f"{what} is not JSON: {error}; it begins {body[:60]!r}") from None


def plain(number: str) -> str:
    """A JSON number without exponent: 1.03e+06 is 1030000. What is none stays, for the contract to refuse.

    One beyond every figure stays, too: written out it would fill the memory.
    """
    _, exponential, exponent = number.lower().partition("e")
    try:
        return format(Decimal(number), "f") if exponential and len(exponent) <= LONGEST_EXPONENT else number
    except InvalidOperation:
        return number


def columns(rows: Sequence[dict[str, Any]], names: Sequence[str] = ()) -> Columns:
    """Rows as columns: `names` first, then any other in the order in which it first comes; None where a row has it not."""
    found = dict.fromkeys(names) | dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in found}
