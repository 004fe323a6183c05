"""Data contracts: what a dataset's rows must be, and what becomes of those that are not.

A contract is a YAML file beside its extractor, a subset of the Open Data Contract Standard v3 (bitol.io). Vendors send text; a field's
type says which text is a value, exactly: 12.345 is not a decimal(5,2), 1e3 is not a date. Hand-written because the validators at hand
either miss rows when one value of a column does not cast, or bring a data frame library of 150 MB and more
(docs/decisions/0002-contract-validation.md).
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from itertools import chain
from math import isfinite
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from jobkit import column_types, names
from jobkit.column_types import DECIMAL
from jobkit.errors import BadDataError
from jobkit.names import ROW_NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from arro3.core import Array, DataType, Table

Policy = Literal["warn", "drop", "quarantine", "fail"]
Evolution = Literal["evolve", "freeze"]
Rounding = Literal["none", "noise", "measured"]
Classification = Literal["public", "internal", "confidential"]
Redistribution = Literal["allowed", "internal-use-only"]
Columns = dict[str, list[Any]]
Distinct = dict[str, set[str | None]]  # what a column holds, each text once: far fewer than its rows
Untyped = dict[str, dict[str, str]]  # by column: which of its texts are no values of its type, and why

UNREADABLE = "\0"  # before a text of a dropped file that is not written as the contract says: a value of no type
VENDOR_NAME = "vendor_name"  # in a Parquet column's metadata: what the vendor calls it, as JSON, where that is no plain name
MAX_COLUMNS = 400  # a Postgres row of so many long texts just fits into a page
MAX_KEY_BYTES = 1000  # of the texts in a key; an index of Postgres holds 2,704 bytes a row, some marts index two
SURELY_DOUBLE = 300  # digits without an exponent that are within a double's range
MAX_SHOWN_CHARACTERS, MAX_SHOWN_ITEMS = 40, 10  # of a value, and of a list, in a message
MAX_BAD_ROWS_REPORTED = 100_000  # to know that a partition is to be refused
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIMESTAMP = re.compile(  # microseconds, and offsets as far as Postgres has them
    r"\d{4}-\d{2}-\d{2}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6}0*)?(?:Z|[+-](?:0\d|1[0-5]):[0-5]\d)", re.ASCII
)
_INTEGER = re.compile(r"-?\d{1,19}", re.ASCII)
_FLOAT = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_ESCAPED = re.compile("[\0\ud800-\udfff]|\\\\(?=u)")
_EXACT = Context(prec=1000)  # the context at hand rounds to 28 digits
_WHOLE = re.compile(r"(-?\d{1,19})\.0+", re.ASCII)
_FRACTION = re.compile(r"-?0*(\d{1,38})\.(\d+)", re.ASCII)
_DOUBLE_DIGITS = 15  # significant digits that every double keeps; a number with as many was not cut by whoever sends it
_NOISE = Decimal("1e-14")  # relative; some last bits of a double
_RANGES = {"int": 2**31, "long": 2**63}
WITHHELD = "values withheld: "  # how the reasons of a row begin whose values are not shown


@dataclass(frozen=True)
class Field:
    """One column: its name, type, and the rules its values keep. `vendor_name` is set where the vendor has no plain one (jobkit.names).

    `rounding` says what becomes of digits beyond the type's scale. none: they make the value bad. noise: they are dropped where they are
    the last bits of a double (9.990000000000002 is 9.99; 12.345 is never 12.35). measured: the value is rounded, half to even.

    `format` is the kind of identifier that a text is, or how a dropped file writes its dates. What follows it is of dropped files:
    `source` is the column's header where that is another, `constant` its value where the file has no such column, `counted_within` the
    columns within which rows are numbered from 1 to give it.
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
        """The column as whoever sends it calls it."""
        return self.source or self.name


class Rule(NamedTuple):
    """What two columns of one row keep, such as low <= close, and what becomes of a row that does not."""

    left: str
    operator: str
    right: str
    policy: Policy

    @property
    def text(self) -> str:
        """The rule as the contract writes it."""
        return f"{self.left} {self.operator} {self.right}"


class Product(NamedTuple):
    """A column that is the product of two others, over a divisor, within a share of itself or an amount, whichever is larger."""

    value: str
    factors: tuple[str, str]
    divisor: Decimal
    share: Decimal
    amount: Decimal
    policy: Policy
    text: str


@dataclass(frozen=True)
class Layout:
    """How a dropped file is written. Nothing is guessed: a file that is written otherwise is refused.

    `negative` are the forms of a negative number, as -1, 1- or (1). `header_row` counts lines from 1. `footer` is how the first cell of
    the lines begins that close the file; in the last of them the columns of `footer_totals` hold the sum of the rows, within
    `footer_tolerance`, and `footer_count` their number. `revision` is a pattern in the file's name whose group 1 numbers a correction.
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
    """One dataset: grain, columns, and how much may be wrong before the whole partition is refused. `latency_days`: how old is too old.

    `unique` are the columns, besides the key, that no two rows share. `partition` are the columns whose values say which lake partition a
    row of a dropped file is in; without them the file's name does. Classification and redistribution decide what is published; a dataset
    without them is in no publication. `max_missing_rows` is the share of a partition's rows that a later answer may leave out.
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
    unique: tuple[tuple[str, ...], ...] = ()
    classification: Classification | None = None
    redistribution: Redistribution | None = None
    licence_url: str = ""
    products: tuple[Product, ...] = ()
    partition: tuple[str, ...] = ()
    repeated_key: Policy = "quarantine"
    layout: Layout = Layout()
    max_missing_rows: float = 0.0

    @property
    def shows_values(self) -> bool:
        """Whether reasons, logs and receipts may hold values of its rows."""
        return self.classification in ("public", "internal")


def _row(number: int) -> str:
    return f"row {number}"


class Reading(NamedTuple):
    """Columns that were read from another notation: the cells as sent, texts that could not be read and why, and what a row is called.

    A text that could not be read begins with UNREADABLE, so that it is a value of no type.
    """

    sent: Columns
    faults: Untyped
    place: Callable[[int], str] = _row


class ValidationResult(NamedTuple):
    """A partition after its contract: typed rows, quarantined rows with reasons, and how many were read and dropped.

    `rejected_keys` has the row number and the typed key of each quarantined or dropped row; what could not be typed is null.
    """

    table: Table
    quarantine: Table | None
    read: int
    dropped: int
    warnings: tuple[str, ...]
    rejected_keys: Table | None = None


def load(path: Path) -> Contract:
    """The contract in a YAML file. Raises BadDataError naming what is wrong in it: a key or value that this version does not implement."""
    from jobkit import odcs  # noqa: PLC0415  `describe` reads no contract

    try:
        return odcs.read(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadDataError(f"{path} is not a contract this version can read: {error}") from None


def load_packaged(package: str, dataset: str) -> Contract:
    """Read the contract of a dataset from <dataset>.odcs.yaml in an extractor's package. Raises BadDataError as `load` does."""
    from importlib import resources  # noqa: PLC0415  describe reads no contract
    from pathlib import Path  # noqa: PLC0415

    with resources.as_file(resources.files(package) / f"{dataset}.odcs.yaml") as path:
        return load(Path(path))


def differences(dataset: Contract, layout: Contract) -> list[str]:
    """How a contract of one bank's files differs from that of the dataset which they fill, where it may not."""
    found = [name for name in ("key", "leaf", "partition", "classification") if getattr(dataset, name) != getattr(layout, name)]
    types = {field.name: field.type for field in dataset.fields}
    found += [f"type of {field.name}" for field in layout.fields if types.get(field.name) != field.type]
    there = {field.name for field in layout.fields}
    return found + [f"{field.name}, which is missing" for field in dataset.fields if field.required and field.name not in there]


def validate(contract: Contract, columns: Columns, reading: Reading | None = None) -> ValidationResult:
    """The rows that keep the contract, typed, in the vendor's order; the others beside them with their reasons.

    `columns` hold the vendor's values as text (or None), all of one length. Good plus quarantined plus dropped equals read. Of valid rows
    with one key, compared as values, the first stays. Raises BadDataError when the columns themselves, a row under policy `fail`, or too
    many rows break the contract.
    """
    fields, columns = _resolve_fields(contract, columns)
    read = len(next(iter(columns.values()), []))
    columns_sent, distinct = _convert_to_text({field.name: columns.get(field.name, [None] * read) for field in fields})
    faults = reading.faults if reading else {}
    place = reading.place if reading else _row
    texts, distinct, rounded = _round_values(contract, fields, columns_sent, distinct, place)
    untyped = {field.name: _find_untyped(field, distinct[field.name], faults.get(field.name, {})) for field in fields}
    reasons: dict[int, list[str]] = {}
    policies: dict[int, set[Policy]] = {}
    renamed = [field for field in fields if field.vendor_name is not None] if contract.shows_values else []
    warnings = [*(f"column {names.shown(str(field.vendor_name))} is stored as {field.name}" for field in renamed), *rounded]
    enough = max(MAX_BAD_ROWS_REPORTED, int(contract.max_bad_rows * read))

    def note(breaches: Iterator[tuple[int, str, Policy]]) -> None:
        for row, reason, policy in breaches:
            if policy == "warn":
                warnings.append(f"{place(row + 1)}: {reason}")
                continue
            reasons.setdefault(row, []).append(reason)
            policies.setdefault(row, set()).add(policy)
            if len(reasons) > enough:
                return  # the partition is refused, and reasons take more memory than rows

    note(
        chain(
            _find_violations(contract, fields, texts, distinct, untyped),
            _find_long_keys(contract, fields, texts, distinct),
            _find_broken_rules(contract, fields, texts, distinct, untyped),
        )
    )
    if len(reasons) <= enough:
        note(_find_duplicates(contract, fields, texts, distinct, untyped, set(reasons), place))
    _check_tolerance(contract, read, reasons, policies, place)
    dropped = {row for row, found in policies.items() if found == {"drop"}}
    bad = sorted(set(reasons) - dropped)
    out = set(reasons)
    kept = [row for row in range(read) if row not in out] if out else range(read)
    sent = reading.sent if reading else columns_sent
    quarantine = _build_quarantine(sent, bad, {row: _format_reasons(contract, reasons[row]) for row in bad})
    rejected_keys = _build_rejected_keys(contract, fields, texts, untyped, sorted(out)) if out else None
    return ValidationResult(_build_table(fields, texts, kept), quarantine, read, len(dropped), tuple(warnings), rejected_keys)


def _resolve_fields(contract: Contract, columns: Columns) -> tuple[tuple[Field, ...], Columns]:
    """The contract's fields that matter here, those sent and new ones where the contract lets it evolve; and the columns by their names.

    A new field whose name is not plain gets another one (jobkit.names): refused, it would let a vendor stop the pipeline.
    """
    known = {field.name for field in contract.fields}
    missing = [field.name for field in contract.fields if field.name not in columns and (field.required or field.evolution == "freeze")]
    if missing:
        raise BadDataError(
            f"{contract.dataset}: the vendor no longer sends {_join_limited(missing)}; look at the answer and mend contract or parser"
        )
    new = [name for name in columns if name not in known]
    if new and contract.new_fields == "freeze":
        raise BadDataError(
            f"{contract.dataset}: the vendor sends {_describe_new_fields(contract, new)}; add them to the contract or let it evolve"
        )
    fields = [field for field in contract.fields if field.name in columns]
    if len(fields) + len(new) > MAX_COLUMNS:
        raise BadDataError(f"{contract.dataset}: the vendor sends {len(columns):,} columns, more than the {MAX_COLUMNS} a table holds")
    for name in new:
        safe = names.safe(name)
        fields.append(Field(safe, contract.new_field_type, vendor_name=None if safe == name else name))
    named = {field.name: columns[field.name if field.vendor_name is None else field.vendor_name] for field in fields}
    if len(named) < len(fields):
        raise BadDataError(f"{contract.dataset}: two of the vendor's new columns would get the same name; look at the answer")
    return tuple(fields), named


def _describe_new_fields(contract: Contract, new: list[str]) -> str:
    """New columns by name. Without a header the first row is taken for one, so names are values where those are not shown."""
    if contract.shows_values:
        return f"new fields {_join_limited([_quote(name) for name in new])}"
    return f"{len(new)} fields besides {', '.join(field.name for field in contract.fields)}"


def _convert_to_text(columns: Columns) -> tuple[dict[str, list[str | None]], Distinct]:
    """The columns as text, and what each holds. Few passes: most of the time goes into fetching strings from memory."""
    found: Distinct = {}
    for name, values in columns.items():
        with suppress(TypeError):  # nested JSON, which no set takes
            found[name] = set(values)
        if name not in found or not set(map(type, found[name])) <= {str, NoneType}:  # no other value equals a text
            columns[name] = [value if value is None or type(value) is str else _to_text(value) for value in values]
            found[name] = set(columns[name])
    return columns, found


def _to_text(value: object) -> str:
    """A JSON value as the vendor wrote it: a number without an exponent, nested objects and arrays as JSON."""
    if type(value) is int:
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list | tuple):
        import json  # noqa: PLC0415

        return json.dumps(value, ensure_ascii=False, default=_to_text)
    return (
        format(Decimal(repr(value) if isinstance(value, float) else str(value)), "f") if isinstance(value, float | Decimal) else str(value)
    )


def _round_values(
    contract: Contract, fields: Sequence[Field], texts: dict[str, list[str | None]], distinct: Distinct, place: Callable[[int], str]
) -> tuple[dict[str, list[str | None]], Distinct, list[str]]:
    """The columns with each value as its type can hold it, what they then hold, and a warning for each column in which one was rounded."""
    texts, distinct, warnings = dict(texts), dict(distinct), []
    for field in fields:
        fitted = {text: fit for text in distinct[field.name] if text is not None and (fit := _fit_to_type(field, text)) is not None}
        if not fitted:
            continue
        inexact = {text for text, fit in fitted.items() if Decimal(text) != Decimal(fit)}
        if inexact:
            rows = [row for row, text in enumerate(texts[field.name]) if text in inexact]
            first = str(texts[field.name][rows[0]])
            shown = f", from {_truncate(first)} to {fitted[first]}" if contract.shows_values else ""
            warnings.append(f"{field.name}: {len(rows)} values were rounded; the first, in {place(rows[0] + 1)}{shown}")
        texts[field.name] = [text if text is None else fitted.get(text, text) for text in texts[field.name]]
        distinct[field.name] = set(texts[field.name])
    return texts, distinct, warnings


def _fit_to_type(field: Field, text: str) -> str | None:
    """The number in the form that the field's type takes, where the text is of another form and `rounding` allows it; None otherwise."""
    decimal = DECIMAL.fullmatch(field.type)
    if not decimal and field.type not in _RANGES:
        return None
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


def _find_untyped(field: Field, distinct: Collection[str | None], unread: dict[str, str]) -> dict[str, str]:
    """Why a text is no value of the field's type, by text; none for the others.

    A pattern says which form a text must have, but whether it is a value says the cast that stores it: both of the same texts.
    """
    if field.type == "string" and _is_storable("".join(filter(None, distinct))):  # all at once: most of it is
        return unread
    check = _type_check(field)
    found = unread | {text: fault for text in distinct if text is not None and text not in unread and (fault := check(text))}
    if field.type == "string":
        return found
    texts = [text for text in distinct if text is not None and text not in found]
    _, expected = _format_for(field.type)
    return found | dict.fromkeys(_find_uncastable(texts, field.type), f"not {expected}")


def _find_uncastable(texts: list[str], kind: str) -> list[str]:
    """Those of the texts that the cast to the type makes null."""
    from arro3.compute import cast, is_null  # noqa: PLC0415  heavy; only extracting needs it
    from arro3.core import Array, DataType  # noqa: PLC0415

    stored = cast(Array(texts, type=DataType.utf8()), arrow_type(kind))
    return [text for text, lost in zip(texts, is_null(stored).to_pylist(), strict=True) if lost] if stored.null_count else []


def _find_violations(
    contract: Contract, fields: Sequence[Field], texts: dict[str, list[str | None]], distinct: Distinct, untyped: Untyped
) -> Iterator[tuple[int, str, Policy]]:
    """Every breach of a field: row index, reason, and the policy of the field. Rows are looked at where a value among all is wrong."""
    for field in fields:
        without_type, outside = untyped[field.name], _option_check(field)
        known = [text for text in distinct[field.name] if text is not None and text not in without_type] if outside else []
        unaccepted = {text: fault for text in known if outside and (fault := outside(text))}
        if not (without_type or unaccepted or (field.required and None in distinct[field.name])):
            continue
        typing: Policy = "quarantine" if field.policy == "warn" else field.policy  # a value without a type cannot be kept
        name = field.label if contract.shows_values or field in contract.fields else "a field that is not in the contract"
        for row, text in enumerate(texts[field.name]):
            if text is None:
                if field.required:
                    yield row, f"{name} is missing", typing
            elif fault := without_type.get(text):
                yield row, f"{name} is {f'{_quote(text.removeprefix(UNREADABLE))}, ' if contract.shows_values else ''}{fault}", typing
            elif fault := unaccepted.get(text):
                yield row, f"{name} is {f'{_truncate(text)}, ' if contract.shows_values else ''}{fault}", field.policy


def _find_long_keys(
    contract: Contract, fields: Sequence[Field], texts: dict[str, list[str | None]], distinct: Distinct
) -> Iterator[tuple[int, str, Policy]]:
    """Rows whose key no index holds."""
    names = [field.name for field in fields if field.name in contract.key and field.type == "string"]
    if sum(max(map(len, filter(None, distinct[name])), default=0) for name in names) * 4 <= MAX_KEY_BYTES:  # bytes a character
        return
    for row, key in enumerate(zip(*(texts[name] for name in names), strict=True)):
        size = sum(len(text.encode(errors="replace")) for text in key if text)
        if size > MAX_KEY_BYTES:
            yield (
                row,
                f"its key ({', '.join(names)}) has {size:,} bytes, more than the {MAX_KEY_BYTES:,} that an index holds",
                "quarantine",
            )


def _find_broken_rules(
    contract: Contract, fields: Sequence[Field], texts: dict[str, list[str | None]], distinct: Distinct, untyped: Untyped
) -> Iterator[tuple[int, str, Policy]]:
    """Rows whose columns contradict each other. A value that is missing or of no type breaks its own column's promise, not this one."""
    types = {field.name: field.type for field in fields}
    rules = [rule for rule in contract.rules if rule.left in types and rule.right in types]
    products = [product for product in contract.products if {product.value, *product.factors} <= types.keys()]
    named = {name for rule in rules for name in (rule.left, rule.right)}
    named |= {name for product in products for name in (product.value, *product.factors)}
    values = {name: _look_up_values(texts[name], _parse_values(types[name], distinct[name], untyped[name])) for name in named}
    for rule in rules:
        for row, (least, most) in enumerate(zip(values[rule.left], values[rule.right], strict=True)):
            if least is not None and most is not None and (least > most or (rule.operator == "<" and least == most)):
                left, right = (_truncate(texts[name][row] or "") for name in (rule.left, rule.right))
                shown = f"{rule.left} is {left}, which breaks {rule.text} with {right}"
                yield row, shown if contract.shows_values else f"breaks {rule.text}", rule.policy
    for product in products:
        for row, (value, one, other) in enumerate(zip(*(values[name] for name in (product.value, *product.factors)), strict=True)):
            if None not in (value, one, other) and not _is_product(product, Decimal(value), Decimal(one), Decimal(other)):
                shown = f"{product.value} is {_truncate(texts[product.value][row] or '')}, which breaks {product.text}"
                yield row, shown if contract.shows_values else f"breaks {product.text}", product.policy


def _is_product(product: Product, value: Decimal, one: Decimal, other: Decimal) -> bool:
    """Whether the value is as near to the product as it must be."""
    expected = _EXACT.divide(_EXACT.multiply(one, other), product.divisor)
    allowed = max(product.amount, _EXACT.multiply(product.share, abs(value)))
    return _EXACT.subtract(value, expected).copy_abs() <= allowed


def _parse_values(kind: str, distinct: Collection[str | None], untyped: Collection[str]) -> dict[str, Any]:
    """The value that each text stands for, equal and ordered as the warehouse has it; without those of no type."""
    value_of = _parser_for(kind)
    return {text: value_of(text) for text in distinct if text is not None and text not in untyped}


def _parser_for(kind: str) -> Callable[[str], Any]:
    if kind == "timestamp":
        return _to_utc
    if kind == "double":
        return float
    return str if kind in ("date", "string", "boolean") else Decimal


def _look_up_values(texts: list[str | None], values: dict[str, Any]) -> list[Any]:
    """The column's values; None for one that is missing or of no type."""
    value_of: Callable[[Any], Any] = values.get  # of None it is None
    return list(map(value_of, texts))


def _find_duplicates(
    contract: Contract,
    fields: Sequence[Field],
    texts: dict[str, list[str | None]],
    distinct: Distinct,
    untyped: Untyped,
    bad: Collection[int],
    place: Callable[[int], str],
) -> Iterator[tuple[int, str, Policy]]:
    """Rows with the key of an earlier one, or its values in other unique columns, among those that break nothing else."""
    kinds = {field.name: field.type for field in fields}
    policies: dict[str, Policy] = {field.name: field.policy for field in fields}
    named = {name for columns in (contract.key, *contract.unique) for name in columns if name in kinds}
    keys = {name: _key_values(texts[name], kinds[name], distinct[name], untyped[name]) for name in named}
    repeated = _find_repeats([name for name in contract.key if name in kinds], keys, distinct, bad)
    yield from ((row, f"repeats the key of {place(before)}", contract.repeated_key) for row, before in repeated)
    for unique in contract.unique:
        there = [name for name in unique if name in kinds]
        policy = policies.get(unique[0], "quarantine") if len(unique) == 1 else "quarantine"
        for row, before in _find_repeats(there, keys, distinct, bad):
            if all(texts[name][row] is not None for name in there):  # as in SQL, null is equal to nothing
                yield row, f"repeats {', '.join(unique)} of {place(before)}", policy


def _find_repeats(names: Sequence[str], keys: dict[str, list[Any]], distinct: Distinct, bad: Collection[int]) -> Iterator[tuple[int, int]]:
    """Each good row with the same values in these columns as one before it, and the number of that row from 1. 100.00 is 100."""
    telling = [keys[name] for name in names if len(distinct[name]) > 1]
    if not names or (telling and len(set(zip(*telling, strict=True))) == len(telling[0])):
        return
    first: dict[tuple[Any, ...], int] = {}
    for row, values in enumerate(zip(*(keys[name] for name in names), strict=True)):
        if row not in bad and (before := first.setdefault(values, row)) != row:
            yield row, before + 1


def _key_values(texts: list[str | None], kind: str, distinct: Collection[str | None], untyped: Collection[str]) -> list[Any]:
    """The column as what tells keys apart: its texts where no two of them are one value."""
    if kind in ("date", "string", "boolean"):
        return texts
    values = _parse_values(kind, distinct, untyped)
    return texts if len(set(values.values())) == len(values) else _look_up_values(texts, values)


def _type_check(field: Field) -> Callable[[str], str | None]:
    """What makes a text no value of the field's type, or None, without the value. Made once per column: it runs for every value."""
    form, expected = _format_for(field.type)
    limit = _RANGES.get(field.type)

    def check(text: str) -> str | None:
        if not form(text) or (limit is not None and not -limit <= int(text) < limit):
            return f"not {expected}"
        return None

    return check


def _range_check(field: Field) -> Callable[[str], str | None] | None:
    """What puts a value outside the field's range, or None; no function where the field has no range."""
    if field.minimum is None and field.maximum is None:
        return None
    value_of = _comparable(field)
    low, high = _limit(field, field.minimum), _limit(field, field.maximum)

    def check(text: str) -> str | None:
        value = value_of(text)
        if low is not None and value < low:
            return f"below {field.minimum}"
        if high is not None and value > high:
            return f"above {field.maximum}"
        return None

    return check


def _exclusive_range_check(field: Field) -> Callable[[str], str | None] | None:
    """What puts a value on or beyond a limit that it may not reach."""
    low, high = field.exclusive_minimum, field.exclusive_maximum
    if low is None and high is None:
        return None
    value_of = _comparable(field)
    least, most = _limit(field, low), _limit(field, high)

    def check(text: str) -> str | None:
        value = value_of(text)
        if least is not None and value <= least:
            return f"not above {low}"
        if most is not None and value >= most:
            return f"not below {high}"
        return None

    return check


def _multiple_check(field: Field) -> Callable[[str], str | None] | None:
    step = field.multiple_of
    if step is None:
        return None
    return lambda text: None if _is_multiple(Decimal(text), step) else f"no multiple of {step}"


def _is_multiple(value: Decimal, step: Decimal) -> bool:
    """Whether value is a whole number of steps, exactly; one with more digits than any number has here is none."""
    try:
        return _EXACT.remainder(value, step) == 0
    except InvalidOperation:
        return False


def _length_check(field: Field) -> Callable[[str], str | None] | None:
    least, most = field.min_length, field.max_length
    if least is None and most is None:
        return None

    def check(text: str) -> str | None:
        if least is not None and len(text) < least:
            return f"shorter than {least} characters"
        if most is not None and len(text) > most:
            return f"longer than {most} characters"
        return None

    return check


def _pattern_check(field: Field) -> Callable[[str], str | None] | None:
    if field.pattern is None:
        return None
    found = regex(field.pattern).search
    return lambda text: None if found(text) else f"not of the form {field.pattern}"


def _identifier_check(field: Field) -> Callable[[str], str | None] | None:
    if field.format is None or field.type != "string":
        return None
    from jobkit import identifiers  # noqa: PLC0415  few contracts name one

    return identifiers.CHECKS[field.format]


def _enum_check(field: Field) -> Callable[[str], str | None] | None:
    if field.values is None:
        return None
    value_of, values = _comparable(field), frozenset(_limit(field, value) for value in field.values)
    listed = ", ".join(map(str, field.values[:MAX_SHOWN_ITEMS])) + (", ..." if len(field.values) > MAX_SHOWN_ITEMS else "")
    return lambda text: None if value_of(text) in values else f"none of {listed}"


def _comparable(field: Field) -> Callable[[str], Any]:
    """How a text of the field's type becomes what its limits are compared with."""
    if field.type == "timestamp":
        return _to_utc
    return str if field.type in ("date", "string") else Decimal


def _limit(field: Field, limit: Decimal | str | None) -> Any:  # noqa: ANN401  of the type that the field's values are compared in
    """A limit of the contract as the field's values are compared with it."""
    return _to_utc(str(limit)) if field.type == "timestamp" and limit is not None else limit


OPTION_CHECKS = (_range_check, _exclusive_range_check, _multiple_check, _length_check, _pattern_check, _identifier_check, _enum_check)


def _option_check(field: Field) -> Callable[[str], str | None] | None:
    """What the field's options have against a value of its type, or None; no function for a field without options."""
    checks = [check for option in OPTION_CHECKS if (check := option(field))]
    if len(checks) < 2:  # noqa: PLR2004
        return checks[0] if checks else None
    return lambda text: next((fault for check in checks if (fault := check(text))), None)


def regex(pattern: str) -> re.Pattern[str]:
    """A pattern of ECMA 262, as the standard has it, in Python: `$` is the end of the text alone, a match may be anywhere."""
    tokens = r"\\.|\[(?:\\.|[^\]\\])*\]|\(\?<(?![=!])|\$"
    python = {"$": r"\Z", "(?<": "(?P<"}
    source: str = re.sub(tokens, lambda found: python.get(str(found[0]), str(found[0])), pattern, flags=re.DOTALL)
    return re.compile(source, re.ASCII)


def _format_for(kind: str) -> tuple[Callable[[str], Any], str]:
    """Which texts are values of a type, and how to say so."""
    if match := DECIMAL.fullmatch(kind):
        precision, scale = int(match[1]), int(match[2])
        pattern = rf"-?0*\d{{1,{precision - scale}}}" if precision > scale else "-?0+"
        pattern += rf"(\.\d{{1,{scale}}}0*)?" if scale else ""
        told = f"a number with at most {precision - scale} digits before and {scale} behind the point"
        return re.compile(pattern, re.ASCII).fullmatch, told
    forms: dict[str, tuple[Callable[[str], Any], str]] = {
        "string": (_is_storable, "text without NUL and of whole characters"),
        "date": (_is_date, "a date YYYY-MM-DD"),
        "int": (_INTEGER.fullmatch, "a whole number of 32 bits"),
        "long": (_INTEGER.fullmatch, "a whole number of 64 bits"),
        "double": (_is_double, "a finite number of double precision"),
        "timestamp": (_is_timestamp, "a time in ISO 8601 with zone, to the microsecond"),
        "boolean": (re.compile("true|false").fullmatch, "true or false"),
    }
    return forms[kind]


def _is_storable(text: str) -> bool:
    """Whether Arrow and Postgres hold the text: no NUL, no half of a surrogate pair."""
    return "\0" not in text if text.isascii() else not _UNSTORABLE.search(text)


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_timestamp(text: str) -> bool:
    """Whether the text is a moment of the years 1 to 9999 in UTC. No leap seconds: Arrow and Postgres have none."""
    if not _TIMESTAMP.fullmatch(text):
        return False
    try:
        _to_utc(text)
    except (ValueError, OverflowError):
        return False
    return True


def _to_utc(text: str) -> datetime:
    """The moment in UTC; a date or time without zone, as a contract's limits may be, is one of UTC."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def _is_double(text: str) -> bool:
    """Whether a double holds the number: 1e400 is beyond it, 1e-400 would be zero."""
    match = _FLOAT.fullmatch(text)
    if match is None or (match[2] is None and len(text) <= SURELY_DOUBLE):
        return match is not None
    value = float(text)
    return isfinite(value) and (value != 0 or not re.search("[1-9]", text.lower().partition("e")[0]))


def _quote(text: str) -> str:
    """The text for a message: quoted, what cannot be printed escaped, and no longer than a message bears."""
    return repr(text) if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]!r}... ({len(text):,} characters)"


def _truncate(text: str) -> str:
    """A value of its type for a message."""
    if not text.isprintable():
        return _quote(text)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}... ({len(text):,} characters)"


def _join_limited(items: Sequence[str], separator: str = ", ") -> str:
    """The items for a message, the first few of many."""
    more = f"{separator}and {len(items) - MAX_SHOWN_ITEMS:,} more" if len(items) > MAX_SHOWN_ITEMS else ""
    return separator.join(items[:MAX_SHOWN_ITEMS]) + more


def escape_text(text: str) -> str:
    r"""The text with what no Postgres text can hold written as \uXXXX: NUL and the halves of surrogate pairs.

    A backslash before a u is \u005c, so that `unescape_text` gives the text back.
    """
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def unescape_text(text: str) -> str:
    """The text that `escape_text` was given."""
    return re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), text)


def _check_tolerance(
    contract: Contract, read: int, reasons: dict[int, list[str]], policies: dict[int, set[Policy]], place: Callable[[int], str]
) -> None:
    """Raise where a row must not pass, or where too many do not."""
    fatal = next((row for row, found in sorted(policies.items()) if "fail" in found), None)
    if fatal is not None:
        raise BadDataError(f"{contract.dataset}: {place(fatal + 1)}: {_describe_reasons(reasons[fatal])}; the contract accepts no such row")
    if len(reasons) > contract.max_bad_rows * read:
        row, found = min(reasons), f"{'at least ' * (len(reasons) > MAX_BAD_ROWS_REPORTED)}{len(reasons)}"
        raise BadDataError(
            f"{contract.dataset}: {found} of {read} rows break the contract, more than the {contract.max_bad_rows:.0%} it allows; "
            f"the first is {place(row + 1)}: {_describe_reasons(reasons[row])}"
        )


def _format_reasons(contract: Contract, reasons: Sequence[str]) -> str:
    """A row's reasons as they are stored. Whether values are withheld is part of them: earlier versions stored values of every dataset."""
    return ("" if contract.shows_values else WITHHELD) + _describe_reasons(reasons)


def _describe_reasons(reasons: Sequence[str]) -> str:
    """The first of what is wrong with a row, in text that can be stored."""
    return escape_text(_join_limited(reasons, "; "))


def _build_table(fields: Sequence[Field], texts: dict[str, list[str | None]], rows: Sequence[int]) -> Table:
    from arro3.compute import cast  # noqa: PLC0415  heavy; only extracting needs it
    from arro3.core import Array, ChunkedArray, DataType, Table  # noqa: PLC0415

    arrays: dict[str, Array] = {ROW_NUMBER: Array([row + 1 for row in rows], type=DataType.int32())}
    for field in fields:
        values = texts[field.name]
        picked = values if isinstance(rows, range) else [values[row] for row in rows]
        text = Array(picked, type=DataType.utf8())
        array = text if field.type == "string" else cast(text, arrow_type(field.type))
        if array.null_count != text.null_count:  # the same cast said before what it can read
            raise RuntimeError(f"{field.name}: a value that was checked as {field.type} was not stored")
        arrays[field.name] = array
    table = Table.from_pydict({name: ChunkedArray([array]) for name, array in arrays.items()})
    renamed = {field.name: field.vendor_name for field in fields if field.vendor_name is not None}
    return _add_vendor_names(table, renamed) if renamed else table


def _add_vendor_names(table: Table, renamed: dict[str, str]) -> Table:
    """The table, with what the vendor calls a column in that column's metadata, in ASCII, whatever it is."""
    import json  # noqa: PLC0415

    from arro3.core import Schema  # noqa: PLC0415

    fields = [table.schema.field(index) for index in range(len(table.schema))]
    told = {field.name: {VENDOR_NAME: json.dumps(renamed[field.name])} for field in fields if field.name in renamed}
    return table.with_schema(Schema([field.with_metadata(told[field.name]) if field.name in told else field for field in fields]))


def _build_rejected_keys(
    contract: Contract, fields: Sequence[Field], texts: dict[str, list[str | None]], untyped: Untyped, rows: Sequence[int]
) -> Table:
    """The key columns of some rows, whose other columns may hold anything."""
    keys = [field for field in fields if field.name in contract.key]
    known = {field.name: [None if text in untyped[field.name] else text for text in texts[field.name]] for field in keys}
    return _build_table(keys, known, rows)


def _build_quarantine(sent: Columns, rows: list[int], reasons: dict[int, str]) -> Table | None:
    """Row number, the raw row as JSON, and the reasons; None when there is nothing wrong."""
    if not rows:
        return None
    from arro3.core import Array, ChunkedArray, DataType, Table  # noqa: PLC0415

    raw = [_row_to_json({name: values[row] for name, values in sent.items()}) for row in rows]
    arrays = {
        ROW_NUMBER: Array([row + 1 for row in rows], type=DataType.int32()),
        "raw_row": Array(raw, type=DataType.utf8()),
        "reasons": Array([reasons[row] for row in rows], type=DataType.utf8()),
    }
    return Table.from_pydict({name: ChunkedArray([array]) for name, array in arrays.items()})


def _row_to_json(row: dict[str, str | None]) -> str:
    """The row as JSON that Postgres reads: names and values are `escape_text`."""
    import json  # noqa: PLC0415

    return json.dumps(
        {escape_text(name): value if value is None else escape_text(value) for name, value in row.items()}, ensure_ascii=False
    )


def arrow_type(kind: str) -> DataType:
    """The Arrow type of a contract type. Raises KeyError on an unknown one."""
    from arro3.core import DataType  # noqa: PLC0415

    if match := DECIMAL.fullmatch(kind):
        return DataType.decimal128(int(match[1]), int(match[2]))
    if kind == column_types.TIMESTAMP:
        return DataType.timestamp("us", tz="UTC")
    arrow: DataType = getattr(DataType, column_types.TYPES[kind].constructor)()
    return arrow


def parquet(table: Table) -> bytes:
    """The table as zstd Parquet; the same table always gives the same bytes."""
    import io  # noqa: PLC0415

    from arro3.io import write_parquet  # noqa: PLC0415

    file = io.BytesIO()
    write_parquet(table, file, compression="zstd(3)")
    return file.getvalue()
