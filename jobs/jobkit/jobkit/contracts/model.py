"""The data contract of a dataset: its fields, rules, file layout and terms, as immutable values.

A contract is one YAML file next to its extractor, in a subset of the Open Data Contract Standard v3 (https://bitol.io).
`jobkit.contracts.odcs` reads the file; `jobkit.contracts.validation` holds rows against what it says.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from datetime import date

Policy = Literal["warn", "drop", "quarantine", "fail"]
Evolution = Literal["evolve", "freeze"]
Rounding = Literal["none", "noise", "measured"]
Classification = Literal["public", "internal", "confidential"]
Redistribution = Literal["allowed", "internal-use-only"]
Columns = dict[str, list[Any]]  # a parsed response: the vendor's values by column, all columns of one length


class ContractError(ValueError):
    """A contract file cannot be used; the message names the key or value, and its place."""


@dataclass(frozen=True)
class Field:
    """One column: its name, its type and the limits that its values keep.

    Limits are compared as values of the type: Decimal for numbers, ISO text for dates and timestamps.

    type: a key of `jobkit.column_types.TYPES`, `timestamp`, or decimal(precision,scale).
    policy: what happens to a row whose value is missing or outside the limits.
    evolution: whether the vendor may stop sending the column (evolve) or not (freeze).
    rounding: what happens to digits beyond the scale. none: the value is bad. noise: they are dropped if they are the last bits of a
        double (9.990000000000002 is 9.99; 12.345 is never 12.35). measured: the value is rounded, half to even.
    format: the kind of identifier (jobkit.identifiers), or how a dropped file writes a date (dd.MM.yyyy).
    vendor_name: the vendor's own name of the column, if that is not a plain name (jobkit.names).

    For dropped files only:
    source: the column's header, if that differs from its name.
    trim, case, percent: how a cell becomes the value.
    constant: the value of every row, if the file has no such column.
    counted_within: the columns within which rows are numbered from 1 to make the value.
    """

    name: str
    type: str
    required: bool = False
    unit: str | None = None
    minimum: Decimal | str | None = None
    maximum: Decimal | str | None = None
    description: str = ""
    policy: Policy = "quarantine"
    evolution: Evolution = "evolve"
    rounding: Rounding = "none"
    unique: bool = False
    exclusive_minimum: Decimal | str | None = None
    exclusive_maximum: Decimal | str | None = None
    multiple_of: Decimal | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    values: tuple[Decimal | str, ...] | None = None
    vendor_name: str | None = None
    format: str | None = None
    source: str | None = None
    trim: bool = False
    case: Literal["upper", "lower"] | None = None
    percent: bool = False
    constant: str | None = None
    counted_within: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The column's name in the file or response that it comes from."""
        return self.source or self.name


class Rule(NamedTuple):
    """A comparison of two columns of one row, such as low <= close, and what happens to a row that breaks it.

    `operator` is <= or <. A row in which either value is missing keeps the rule.
    """

    left: str
    operator: str
    right: str
    policy: Policy

    @property
    def text(self) -> str:
        """The rule as the contract writes it."""
        return f"{self.left} {self.operator} {self.right}"


class Product(NamedTuple):
    """A rule that a column equals the product of two others, over a divisor, such as value = quantity * price / 100 within 0.5%.

    The tolerance is `share` of the value (0.005 is 0.5%) or `amount` in the value's unit, whichever is larger. `text` is the rule as the
    contract writes it.
    """

    value: str
    factors: tuple[str, str]
    divisor: Decimal
    share: Decimal
    amount: Decimal
    policy: Policy
    text: str


class Sum(NamedTuple):
    """A rule that a column is exactly the sum of others, such as total = domestic + foreign. A row in which a value is missing keeps it."""

    value: str
    terms: tuple[str, ...]
    policy: Policy

    @property
    def text(self) -> str:
        """The rule as the contract writes it."""
        return f"{self.value} = {' + '.join(self.terms)}"


@dataclass(frozen=True)
class Layout:
    """How a dropped file is written. A file that is written differently is refused; no property is guessed.

    negative: the forms of a negative number: -1, 1- or (1).
    header_row: the line of the header, counted from 1.
    sheet: the worksheet of an Excel file.
    ignored: headers of columns that are not stored.
    footer: how the first cell of a closing line begins. In the last such line the columns of `footer_totals` contain the sum of the rows,
        within `footer_tolerance`, and `footer_count` their number.
    revision: a pattern in the file's name, whose group 1 is the number of a correction.
    """

    encoding: str = "utf-8"
    delimiter: str = ","
    decimal: str = "."
    thousands: str = ""
    negative: tuple[str, ...] = ("-1",)
    header_row: int = 1
    sheet: str | None = None
    ignored: tuple[str, ...] = ()
    footer: str | None = None
    footer_required: bool = False
    footer_totals: tuple[str, ...] = ()
    footer_count: str | None = None
    footer_tolerance: Decimal = Decimal(0)
    revision: str | None = None


@dataclass(frozen=True)
class Contract:
    """The contract of one dataset: its columns, its key, and how many rows may be bad before a partition is refused.

    key: the columns that identify a row; no two rows share them.
    leaf: how the raw table is partitioned, such as month(date) (`jobkit.column_types.LEAF`).
    unique: other sets of columns that no two rows share.
    partition: the columns whose values name the lake partition of a row of a dropped file; if empty, the file's name does.
    repeated_key: what happens to a row whose key an earlier row has.
    new_fields, new_field_type: whether a column that the contract does not name is stored (evolve) or refused (freeze), and its type.
    max_bad_rows: the share of a partition's rows that may be bad, from 0 to 1.
    max_missing_rows: the share of a partition's rows that a later response may leave out, from 0 to 1.
    latency_days: the age in days from which the newest data is late.
    retention_years: how long the lake keeps every version of a partition; then it keeps those of month ends. None: it keeps all.
    as_of_from: the first day (UTC) of which every moment can be asked; versions of later moments never expire. None: no such promise.
    classification, redistribution: what may be published; a dataset without them is in no publication.
    """

    dataset: str
    description: str
    fields: tuple[Field, ...]
    key: tuple[str, ...]
    leaf: str
    licence: str
    new_fields: Evolution
    new_field_type: str
    max_bad_rows: float
    rules: tuple[Rule, ...] = ()
    version: str = "1.0.0"
    latency_days: int = 1
    retention_years: int | None = None
    as_of_from: date | None = None
    unique: tuple[tuple[str, ...], ...] = ()
    classification: Classification | None = None
    redistribution: Redistribution | None = None
    licence_url: str = ""
    products: tuple[Product, ...] = ()
    sums: tuple[Sum, ...] = ()
    partition: tuple[str, ...] = ()
    repeated_key: Policy = "quarantine"
    layout: Layout = Layout()
    max_missing_rows: float = 0.0

    @property
    def shows_values(self) -> bool:
        """Whether reasons, logs and receipts may contain values of its rows: not those of a confidential or unclassified dataset."""
        return self.classification in ("public", "internal")


def list_conflicts(dataset: Contract, layout: Contract) -> list[str]:
    """List where the contract of one bank's files differs from the dataset that the files fill, in what must be equal; empty if nowhere."""
    conflicts = [name for name in ("key", "leaf", "partition", "classification") if getattr(dataset, name) != getattr(layout, name)]
    types = {field.name: field.type for field in dataset.fields}
    conflicts += [f"type of {field.name}" for field in layout.fields if types.get(field.name) != field.type]
    filled = {field.name for field in layout.fields}
    return conflicts + [f"{field.name}, which is missing" for field in dataset.fields if field.required and field.name not in filled]
