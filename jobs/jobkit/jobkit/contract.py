"""Data contracts: what a dataset's rows must be, and what becomes of those that are not.

A contract is a YAML file beside its extractor, a subset of the Open Data Contract Standard v3 (bitol.io). Vendors send text; a field's
type says which text is a value, exactly: 12.345 is not a decimal(5,2), 1e3 is not a date. Hand-written because the validators at hand
either miss rows when one value of a column does not cast, or bring a data frame library of 150 MB and more (docs/decisions).
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from itertools import chain
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from jobkit import names
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from arro3.core import Array, DataType, Table

Policy = Literal["warn", "drop", "quarantine", "fail"]
Evolution = Literal["evolve", "freeze"]
Rounding = Literal["none", "noise", "measured"]
Classification = Literal["public", "internal", "confidential"]
Redistribution = Literal["allowed", "internal-use-only"]
Columns = dict[str, list[Any]]
Distinct = dict[str, set[str | None]]  # what a column holds, each text once: far fewer than its rows

ROW_NUMBER = "_row_number"
SHOWN_VALUES = 10  # of those that a column may have
VENDOR_NAME = "vendor_name"  # in a Parquet column's metadata: what the vendor calls it, as JSON, where that is no plain name
MOST_COLUMNS = 1_000  # a Postgres table has at most 1,600
NAMES_SHOWN = 5
_DECIMAL = re.compile(r"decimal\((\d+), ?(\d+)\)")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]\d{2}:\d{2})")
_INTEGER = re.compile(r"-?\d{1,19}")
_FLOAT = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
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


class Rule(NamedTuple):
    """What two columns of one row keep, such as low <= close, and what becomes of a row that does not."""

    left: str
    sign: str
    right: str
    policy: Policy

    @property
    def text(self) -> str:
        """The rule as the contract writes it."""
        return f"{self.left} {self.sign} {self.right}"


@dataclass(frozen=True)
class Contract:
    """One dataset: grain, columns, and how much may be wrong before the whole partition is refused. `latency_days`: how old is too old.

    `unique` are the columns, besides the key, that no two rows share. Classification and redistribution decide what is published;
    a dataset without them is in no publication.
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

    @property
    def shows_values(self) -> bool:
        """Whether reasons, logs and receipts may hold values of its rows."""
        return self.classification in ("public", "internal")


class Good(NamedTuple):
    """A partition after its contract: typed rows, quarantined rows with reasons, and how many were read and dropped."""

    table: Table
    quarantine: Table | None
    read: int
    dropped: int
    warnings: tuple[str, ...]


def load(path: Path) -> Contract:
    """The contract in a YAML file. Raises BadDataError naming what is wrong in it: a key or value that this version does not implement."""
    from jobkit import odcs  # noqa: PLC0415  `describe` reads no contract

    try:
        return odcs.read(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadDataError(f"{path} is not a contract this version can read: {error}") from None


def enforce(contract: Contract, columns: Columns) -> Good:
    """The rows that keep the contract, typed, in the vendor's order; the others beside them with their reasons.

    `columns` hold the vendor's values as text (or None), all of one length. Good plus quarantined plus dropped equals read.
    Raises BadDataError when the columns themselves, a row under policy `fail`, or too many rows break the contract.
    """
    fields, columns = _resolved(contract, columns)
    read = len(next(iter(columns.values()), []))
    sent, distinct = _texts({field.name: columns.get(field.name, [None] * read) for field in fields})
    texts, distinct, rounded = _rounded(contract, fields, sent, distinct)
    reasons: dict[int, list[str]] = {}
    policies: dict[int, set[Policy]] = {}
    renamed = [field for field in fields if field.vendor_name is not None] if contract.shows_values else []
    warnings = [*(f"column {names.shown(str(field.vendor_name))} is stored as {field.name}" for field in renamed), *rounded]
    for row, reason, policy in chain(_violations(contract, fields, texts, distinct), _broken_rules(contract, fields, texts, distinct)):
        if policy == "warn":
            warnings.append(f"row {row + 1}: {reason}")
            continue
        reasons.setdefault(row, []).append(reason)
        policies.setdefault(row, set()).add(policy)
    _refuse(contract, read, reasons, policies)
    dropped = {row for row, found in policies.items() if found == {"drop"}}
    bad = sorted(set(reasons) - dropped)
    out = set(reasons)
    kept = [row for row in range(read) if row not in out] if out else range(read)
    quarantine = _quarantine(fields, sent, bad, {row: _joined(contract, reasons[row]) for row in bad})
    return Good(_typed(fields, texts, kept), quarantine, read, len(dropped), tuple(warnings))


def _resolved(contract: Contract, columns: Columns) -> tuple[tuple[Field, ...], Columns]:
    """The contract's fields that matter here, those sent and new ones where the contract lets it evolve; and the columns by their names.

    A new field whose name is not plain gets another one (jobkit.names): refused, it would let a vendor stop the pipeline.
    """
    if len(columns) > MOST_COLUMNS:
        raise BadDataError(f"{contract.dataset}: the vendor sends {len(columns):,} columns; a dataset may have {MOST_COLUMNS:,}")
    known = {field.name for field in contract.fields}
    missing = [field.name for field in contract.fields if field.name not in columns and (field.required or field.evolution == "freeze")]
    if missing:
        raise BadDataError(
            f"{contract.dataset}: the vendor no longer sends {', '.join(missing)}; look at the answer and mend contract or parser"
        )
    new = [name for name in columns if name not in known]
    if new and contract.new_fields == "freeze":
        raise BadDataError(f"{contract.dataset}: the vendor sends {_new_fields(contract, new)}; add them to the contract or let it evolve")
    fields = [field for field in contract.fields if field.name in columns]
    for name in new:
        safe = names.safe(name)
        fields.append(Field(safe, contract.new_field_type, vendor_name=None if safe == name else name))
    named = {field.name: columns[field.name if field.vendor_name is None else field.vendor_name] for field in fields}
    if len(named) < len(fields):
        raise BadDataError(f"{contract.dataset}: two of the vendor's new columns would get the same name; look at the answer")
    return tuple(fields), named


def _new_fields(contract: Contract, new: list[str]) -> str:
    """New columns by name. Without a header the first row is taken for one, so names are values where those are not shown."""
    if contract.shows_values:
        more = f" and {len(new) - NAMES_SHOWN:,} more" if len(new) > NAMES_SHOWN else ""
        return f"new fields {', '.join(map(names.shown, new[:NAMES_SHOWN]))}{more}"
    return f"{len(new)} fields besides {', '.join(field.name for field in contract.fields)}"


def _texts(columns: Columns) -> tuple[dict[str, list[str | None]], Distinct]:
    """The columns as text, and what each holds. Few passes: most of the time goes into fetching strings from memory."""
    found: Distinct = {}
    for name, values in columns.items():
        with suppress(TypeError):  # nested JSON, which no set takes
            found[name] = set(values)
        if name not in found or not set(map(type, found[name])) <= {str, NoneType}:  # no other value equals a text
            columns[name] = [value if value is None or type(value) is str else _text(value) for value in values]
            found[name] = set(columns[name])
    return columns, found


def _text(value: object) -> str:
    """A JSON scalar as the vendor wrote it, without an exponent."""
    if type(value) is int:
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return (
        format(Decimal(repr(value) if isinstance(value, float) else str(value)), "f") if isinstance(value, float | Decimal) else str(value)
    )


def _rounded(
    contract: Contract, fields: Sequence[Field], texts: dict[str, list[str | None]], distinct: Distinct
) -> tuple[dict[str, list[str | None]], Distinct, list[str]]:
    """The columns with each value as its type can hold it, what they then hold, and a warning for each column in which one was rounded."""
    texts, distinct, warnings = dict(texts), dict(distinct), []
    for field in fields:
        fitted = {text: fit for text in distinct[field.name] if text is not None and (fit := _fitted(field, text)) is not None}
        if not fitted:
            continue
        inexact = {text for text, fit in fitted.items() if Decimal(text) != Decimal(fit)}
        if inexact:
            rows = [row for row, text in enumerate(texts[field.name]) if text in inexact]
            first = str(texts[field.name][rows[0]])
            shown = f", from {first[:40]} to {fitted[first]}" if contract.shows_values else ""
            warnings.append(f"{field.name}: {len(rows)} values were rounded; the first, in row {rows[0] + 1}{shown}")
        texts[field.name] = [text if text is None else fitted.get(text, text) for text in texts[field.name]]
        distinct[field.name] = set(texts[field.name])
    return texts, distinct, warnings


def _fitted(field: Field, text: str) -> str | None:
    """The number in the form that the field's type takes, where the text is of another form and `rounding` allows it; None otherwise."""
    decimal = _DECIMAL.fullmatch(field.type)
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


def _violations(
    contract: Contract, fields: Sequence[Field], texts: dict[str, list[str | None]], distinct: Distinct
) -> Iterator[tuple[int, str, Policy]]:
    """Every breach: row index, reason, and the policy of the field it is in. Rows are looked at where a value among all is wrong."""
    for field in fields:
        untyped, outside = _not_of_type(field), _not_accepted(field)
        if all(not field.required if text is None else not (untyped(text) or (outside and outside(text))) for text in distinct[field.name]):
            continue
        typing: Policy = "quarantine" if field.policy == "warn" else field.policy  # a value without a type cannot be kept
        name = field.name if contract.shows_values or field in contract.fields else "a field that is not in the contract"
        for row, text in enumerate(texts[field.name]):
            if text is None:
                if field.required:
                    yield row, f"{name} is missing", typing
            elif fault := untyped(text):
                yield row, f"{name} is {f'{text[:40]!r}, ' if contract.shows_values else ''}{fault}", typing
            elif outside and (fault := outside(text)):
                yield row, f"{name} is {f'{text[:40]}, ' if contract.shows_values else ''}{fault}", field.policy
    yield from _duplicates(contract, texts, distinct)


def _broken_rules(
    contract: Contract, fields: Sequence[Field], texts: dict[str, list[str | None]], distinct: Distinct
) -> Iterator[tuple[int, str, Policy]]:
    """Rows whose columns contradict each other. A value that is missing or of no type breaks its own column's promise, not this one."""
    typed = {field.name: _form(field.type)[0] for field in fields}
    value_of = {field.name: str if field.type in ("date", "timestamp", "string") else Decimal for field in fields}
    for rule in contract.rules:
        if rule.left not in typed or rule.right not in typed:
            continue
        low, high = (_compared(texts[name], distinct[name], typed[name], value_of[name]) for name in (rule.left, rule.right))
        for row, (least, most) in enumerate(zip(low, high, strict=True)):
            if least is not None and most is not None and (least > most or (rule.sign == "<" and least == most)):
                left, right = texts[rule.left][row], texts[rule.right][row]
                shown = f"{rule.left} is {left}, which breaks {rule.text} with {right}"
                yield row, shown if contract.shows_values else f"breaks {rule.text}", rule.policy


def _compared(texts: list[str | None], distinct: set[str | None], typed: Callable[[str], Any], value_of: Callable[[str], Any]) -> list[Any]:
    """The column's values in the type they are compared in; None for one that is missing or of no type."""
    known = {text: value_of(text) if text is not None and typed(text) else None for text in distinct}
    return [known[text] for text in texts]


def _duplicates(contract: Contract, texts: dict[str, list[str | None]], distinct: Distinct) -> Iterator[tuple[int, str, Policy]]:
    yield from ((row, f"repeats the key of row {before}", "quarantine") for row, before in _repeated(contract.key, texts, distinct))
    policies = {field.name: field.policy for field in contract.fields}
    for unique in contract.unique:
        policy = policies[unique[0]] if len(unique) == 1 else "quarantine"
        for row, before in _repeated(unique, texts, distinct):
            if all(texts[name][row] is not None for name in unique if name in texts):  # as in SQL, null is equal to nothing
                yield row, f"repeats {', '.join(unique)} of row {before}", policy


def _repeated(names: Sequence[str], texts: dict[str, list[str | None]], distinct: Distinct) -> Iterator[tuple[int, int]]:
    """Each row with the same values in these columns as one before it, and the number of that row from 1."""
    columns = [texts[name] for name in names if name in texts]
    telling = [texts[name] for name in names if len(distinct.get(name, ())) > 1]
    if telling and len(set(zip(*telling, strict=True))) == len(telling[0]):
        return
    first: dict[tuple[str | None, ...], int] = {}
    for row, values in enumerate(zip(*columns, strict=True)):
        if (before := first.setdefault(values, row)) != row:
            yield row, before + 1


def _not_of_type(field: Field) -> Callable[[str], str | None]:
    """What makes a text no value of the field's type, or None, without the value. Made once per column: it runs for every value."""
    form, expected = _form(field.type)
    limit = _RANGES.get(field.type)

    def check(text: str) -> str | None:
        if not form(text) or (limit is not None and not -limit <= int(text) < limit):
            return f"not {expected}"
        return None

    return check


def _out_of_range(field: Field) -> Callable[[str], str | None] | None:
    """What puts a value outside the field's range, or None; no function where the field has no range."""
    low, high = field.minimum, field.maximum
    if low is None and high is None:
        return None
    value_of: Callable[[str], Any] = str if field.type in ("date", "timestamp") else Decimal

    def check(text: str) -> str | None:
        value = value_of(text)
        if low is not None and value < low:
            return f"below {low}"
        if high is not None and value > high:
            return f"above {high}"
        return None

    return check


def _outside_exclusive_range(field: Field) -> Callable[[str], str | None] | None:
    """What puts a value on or beyond a limit that it may not reach."""
    low, high = field.exclusive_minimum, field.exclusive_maximum
    if low is None and high is None:
        return None
    value_of = _comparable(field)

    def check(text: str) -> str | None:
        value = value_of(text)
        if low is not None and value <= low:
            return f"not above {low}"
        if high is not None and value >= high:
            return f"not below {high}"
        return None

    return check


def _not_multiple(field: Field) -> Callable[[str], str | None] | None:
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


def _of_wrong_length(field: Field) -> Callable[[str], str | None] | None:
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


def _unlike_pattern(field: Field) -> Callable[[str], str | None] | None:
    if field.pattern is None:
        return None
    found = regex(field.pattern).search
    return lambda text: None if found(text) else f"not of the form {field.pattern}"


def _not_listed(field: Field) -> Callable[[str], str | None] | None:
    if field.values is None:
        return None
    value_of, values = _comparable(field), frozenset(field.values)
    listed = ", ".join(map(str, field.values[:SHOWN_VALUES])) + (", ..." if len(field.values) > SHOWN_VALUES else "")
    return lambda text: None if value_of(text) in values else f"none of {listed}"


def _comparable(field: Field) -> Callable[[str], Any]:
    """How a text of the field's type becomes what its limits are compared with."""
    return str if field.type in ("date", "timestamp", "string") else Decimal


OPTIONS = (_out_of_range, _outside_exclusive_range, _not_multiple, _of_wrong_length, _unlike_pattern, _not_listed)


def _not_accepted(field: Field) -> Callable[[str], str | None] | None:
    """What the field's options have against a value of its type, or None; no function for a field without options."""
    checks = [check for option in OPTIONS if (check := option(field))]
    if len(checks) < 2:  # noqa: PLR2004
        return checks[0] if checks else None
    return lambda text: next((fault for check in checks if (fault := check(text))), None)


def regex(pattern: str) -> re.Pattern[str]:
    """A pattern of ECMA 262, as the standard has it, in Python: `$` is the end of the text alone, a match may be anywhere."""
    tokens = r"\\.|\[(?:\\.|[^\]\\])*\]|\(\?<(?![=!])|\$"
    python = {"$": r"\Z", "(?<": "(?P<"}
    source: str = re.sub(tokens, lambda found: python.get(str(found[0]), str(found[0])), pattern, flags=re.DOTALL)
    return re.compile(source, re.ASCII)


def _form(kind: str) -> tuple[Callable[[str], Any], str]:
    """Which texts are values of a type, and how to say so."""
    if match := _DECIMAL.fullmatch(kind):
        precision, scale = int(match[1]), int(match[2])
        pattern = rf"-?0*\d{{1,{precision - scale}}}" + (rf"(\.\d{{1,{scale}}}0*)?" if scale else "")
        return re.compile(pattern).fullmatch, f"a number with at most {precision - scale} digits before and {scale} behind the point"
    if kind == "date":
        return _is_date, "a date YYYY-MM-DD"
    if kind == "string":
        return (lambda text: "\0" not in text), "text without NUL"
    forms = {
        "int": (_INTEGER.fullmatch, "a whole number of 32 bits"),
        "long": (_INTEGER.fullmatch, "a whole number of 64 bits"),
        "double": (_FLOAT.fullmatch, "a finite number"),
        "timestamp": (_TIMESTAMP.fullmatch, "a time in ISO 8601 with zone"),
        "boolean": (re.compile("true|false").fullmatch, "true or false"),
    }
    return forms[kind]


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _refuse(contract: Contract, read: int, reasons: dict[int, list[str]], policies: dict[int, set[Policy]]) -> None:
    """Raise where a row must not pass, or where too many do not."""
    fatal = next((row for row, found in sorted(policies.items()) if "fail" in found), None)
    if fatal is not None:
        raise BadDataError(f"{contract.dataset}: row {fatal + 1}: {'; '.join(reasons[fatal])}; the contract accepts no such row")
    if len(reasons) > contract.max_bad_rows * read:
        row = min(reasons)
        raise BadDataError(
            f"{contract.dataset}: {len(reasons)} of {read} rows break the contract, more than the {contract.max_bad_rows:.0%} it allows; "
            f"the first is row {row + 1}: {'; '.join(reasons[row])}"
        )


def _joined(contract: Contract, reasons: list[str]) -> str:
    """A row's reasons as they are stored. Whether values are withheld is part of them: earlier versions stored values of every dataset."""
    return ("" if contract.shows_values else WITHHELD) + "; ".join(reasons)


def _typed(fields: Sequence[Field], texts: dict[str, list[str | None]], rows: Sequence[int]) -> Table:
    from arro3.compute import cast  # noqa: PLC0415  heavy; only extracting needs it
    from arro3.core import Array, ChunkedArray, DataType, Table  # noqa: PLC0415

    arrays: dict[str, Array] = {ROW_NUMBER: Array([row + 1 for row in rows], type=DataType.int32())}
    for field in fields:
        values = texts[field.name]
        picked = values if isinstance(rows, range) else [values[row] for row in rows]
        text = Array(picked, type=DataType.utf8())
        array = text if field.type == "string" else cast(text, arrow_type(field.type))
        if array.null_count != text.null_count:  # the cast makes nulls of what it cannot read: never lose one silently
            raise BadDataError(f"{field.name}: values that look like {field.type} cannot be stored as one; narrow the contract")
        arrays[field.name] = array
    table = Table.from_pydict({name: ChunkedArray([array]) for name, array in arrays.items()})
    renamed = {field.name: field.vendor_name for field in fields if field.vendor_name is not None}
    return _with_vendor_names(table, renamed) if renamed else table


def _with_vendor_names(table: Table, renamed: dict[str, str]) -> Table:
    """The table, with what the vendor calls a column in that column's metadata, in ASCII, whatever it is."""
    import json  # noqa: PLC0415

    from arro3.core import Schema  # noqa: PLC0415

    fields = [table.schema.field(index) for index in range(len(table.schema))]
    told = {field.name: {VENDOR_NAME: json.dumps(renamed[field.name])} for field in fields if field.name in renamed}
    return table.with_schema(Schema([field.with_metadata(told[field.name]) if field.name in told else field for field in fields]))


def _quarantine(fields: Sequence[Field], texts: dict[str, list[str | None]], rows: list[int], reasons: dict[int, str]) -> Table | None:
    """Row number, the raw row as JSON, and the reasons; None when there is nothing wrong."""
    if not rows:
        return None
    import json  # noqa: PLC0415

    from arro3.core import Array, ChunkedArray, DataType, Table  # noqa: PLC0415

    raw = [json.dumps({field.name: texts[field.name][row] for field in fields}, ensure_ascii=False) for row in rows]
    arrays = {
        ROW_NUMBER: Array([row + 1 for row in rows], type=DataType.int32()),
        "raw_row": Array(raw, type=DataType.utf8()),
        "reasons": Array([reasons[row] for row in rows], type=DataType.utf8()),
    }
    return Table.from_pydict({name: ChunkedArray([array]) for name, array in arrays.items()})


def arrow_type(kind: str) -> DataType:
    """The Arrow type of a contract type. Raises KeyError on an unknown one."""
    from arro3.core import DataType  # noqa: PLC0415

    if match := _DECIMAL.fullmatch(kind):
        return DataType.decimal128(int(match[1]), int(match[2]))
    if kind == "timestamp":
        return DataType.timestamp("us", tz="UTC")
    types: dict[str, Callable[[], DataType]] = {
        "string": DataType.utf8,
        "date": DataType.date32,
        "int": DataType.int32,
        "long": DataType.int64,
        "double": DataType.float64,
        "boolean": DataType.bool,
    }
    return types[kind]()


def parquet(table: Table) -> bytes:
    """The table as zstd Parquet; the same table always gives the same bytes."""
    import io  # noqa: PLC0415

    from arro3.io import write_parquet  # noqa: PLC0415

    file = io.BytesIO()
    write_parquet(table, file, compression="zstd(3)")
    return file.getvalue()
