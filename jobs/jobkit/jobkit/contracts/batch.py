"""The rows of one partition on their way through validation: their fields, texts and values of no type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from jobkit import names
from jobkit.contracts.messages import join_limited, quote
from jobkit.contracts.model import Field
from jobkit.contracts.rounding import round_values
from jobkit.contracts.type_checks import find_untyped
from jobkit.contracts.values import to_texts
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobkit.contracts.model import Columns, Contract, Policy
    from jobkit.contracts.type_checks import Untyped
    from jobkit.contracts.values import Distinct, Texts

MAX_COLUMNS = 400  # a Postgres row with this many long texts just fits on a page
UNREADABLE = "\0"  # the first character of a text that could not be converted from another notation


class Breach(NamedTuple):
    """What is wrong with a row: its index, from 0, the reason, and what happens to such a row."""

    row: int
    reason: str
    policy: Policy


def _name_row(number: int) -> str:
    return f"row {number}"


class Origin(NamedTuple):
    """Where columns come from that were converted from another notation, such as those of a dropped file.

    `cells` are the columns as sent, which go into the quarantine. `unreadable` are, by column, the texts that could not be converted, and
    why; each begins with UNREADABLE, so that it is a value of no type. `place` names a row, counted from 1, as the file numbers it.
    """

    cells: Columns
    unreadable: Untyped
    place: Callable[[int], str] = _name_row


@dataclass(frozen=True)
class Batch:
    """A partition's rows as text, in the vendor's order, before and while they are validated.

    cells: the columns as sent, for the quarantine.
    texts: the columns of `fields`, rounded where the contract says so, all of length `rows`.
    distinct: the distinct texts of each column.
    untyped: of each column the texts that are no values of its type, and why.
    place: names a row, counted from 1, in messages.
    """

    contract: Contract
    fields: tuple[Field, ...]
    rows: int
    cells: Columns
    texts: Texts
    distinct: Distinct
    untyped: Untyped
    place: Callable[[int], str]
    warnings: tuple[str, ...]


def build_batch(contract: Contract, columns: Columns, origin: Origin | None) -> Batch:
    """Prepare parsed columns for validation. Raises BadDataError (exit code 65) if columns are missing, new and refused, or too many."""
    fields, columns = _resolve_fields(contract, columns)
    rows = len(next(iter(columns.values()), []))
    sent, distinct = to_texts({field.name: columns.get(field.name, [None] * rows) for field in fields})
    origin = origin or Origin(sent, {})
    texts, distinct, rounded = round_values(contract, fields, sent, distinct, origin.place)
    untyped = {field.name: find_untyped(field, distinct[field.name], origin.unreadable.get(field.name, {})) for field in fields}
    renamed = [field for field in fields if field.vendor_name is not None] if contract.shows_values else []
    warnings = [*(f"column {names.shown(str(field.vendor_name))} is stored as {field.name}" for field in renamed), *rounded]
    return Batch(contract, fields, rows, origin.cells, texts, distinct, untyped, origin.place, tuple(warnings))


def _resolve_fields(contract: Contract, columns: Columns) -> tuple[tuple[Field, ...], Columns]:
    """Return the fields that were sent, new ones last, and the columns by their names.

    A new column without a plain name gets one (jobkit.names): to refuse it would let a vendor stop the pipeline.
    """
    _check_columns(contract, columns)
    fields = [field for field in contract.fields if field.name in columns]
    for name in _list_new(contract, columns):
        safe = names.safe(name)
        fields.append(Field(safe, contract.new_field_type, vendor_name=None if safe == name else name))
    if len(fields) > MAX_COLUMNS:
        raise BadDataError(f"{contract.dataset}: the vendor sends {len(columns):,} columns, more than the {MAX_COLUMNS} a table holds")
    named = {field.name: columns[field.name if field.vendor_name is None else field.vendor_name] for field in fields}
    if len(named) < len(fields):
        raise BadDataError(f"{contract.dataset}: two new columns of the vendor would get the same name; check the response")
    return tuple(fields), named


def _check_columns(contract: Contract, columns: Columns) -> None:
    """Raise BadDataError if a column is missing that may not be, or new where the contract is frozen."""
    missing = [field.name for field in contract.fields if field.name not in columns and (field.required or field.evolution == "freeze")]
    if missing:
        raise BadDataError(
            f"{contract.dataset}: the vendor no longer sends {join_limited(missing)}; check the response, then fix contract or parser"
        )
    new = _list_new(contract, columns)
    if new and contract.new_fields == "freeze":
        raise BadDataError(
            f"{contract.dataset}: the vendor sends {_describe_new(contract, new)}; add them to the contract, or set newFields to evolve"
        )


def _list_new(contract: Contract, columns: Columns) -> list[str]:
    known = {field.name for field in contract.fields}
    return [name for name in columns if name not in known]


def _describe_new(contract: Contract, new: list[str]) -> str:
    """Describe new columns: by name, or by number if values are withheld, since without a header the names are the values of a row."""
    if contract.shows_values:
        return f"new fields {join_limited([quote(name) for name in new])}"
    return f"{len(new)} fields besides {', '.join(field.name for field in contract.fields)}"
