"""Validate the rows of a partition: type the valid ones, quarantine or drop the others, refuse the partition if too many are bad.

Vendors send text; a field's type says which text is a value, exactly. Hand-written because the validators on offer either miss rows when
one value of a column does not cast, or depend on a data frame library of 150 MB and more (docs/decisions/0002-contract-validation.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from jobkit.contracts.arrow import build_quarantine, build_table
from jobkit.contracts.batch import build_batch
from jobkit.contracts.messages import join_limited
from jobkit.contracts.row_checks import find_broken_rules, find_field_breaches, find_long_keys
from jobkit.contracts.storable_text import escape_text
from jobkit.contracts.typed_rows import TypedRows, accept
from jobkit.contracts.uniqueness import find_duplicates
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from arro3.core import Table

    from jobkit.contracts.batch import Batch, Breach, Origin
    from jobkit.contracts.model import Columns, Contract, Policy

MAX_BAD_ROWS_REPORTED = 100_000  # enough to refuse a partition; reasons take more memory than rows
WITHHELD = "values withheld: "  # begins the reasons of a row whose values are not shown


class ValidationResult(NamedTuple):
    """A partition after validation. `table` plus `quarantine` plus `dropped` is `read`, always.

    table: the valid rows, typed, in the vendor's order, after `_row_number`, their number among all rows read, from 1. May be empty.
    quarantine: `_row_number`, `raw_row` (JSON) and `reasons` of the quarantined rows; None without any.
    read, dropped: numbers of rows.
    rejected_keys: `_row_number` and the typed key of each quarantined or dropped row, null where it has no type; None without any.
    """

    table: Table
    quarantine: Table | None
    read: int
    dropped: int
    warnings: tuple[str, ...]
    rejected_keys: Table | None = None


@dataclass
class _BadRows:
    """The reasons and policies of bad rows, by row index, and warnings about rows that stay."""

    batch: Batch
    limit: int
    warnings: list[str]
    reasons: dict[int, list[str]] = dataclass_field(default_factory=dict)
    policies: dict[int, set[Policy]] = dataclass_field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        """Whether so many rows are bad that the partition is refused, so that no more need to be recorded."""
        return len(self.reasons) > self.limit

    def add(self, breaches: Iterable[Breach]) -> None:
        """Record breaches, until the limit is passed."""
        for row, reason, policy in breaches:
            if policy == "warn":
                self.warnings.append(f"{self.batch.place(row + 1)}: {reason}")
                continue
            self.reasons.setdefault(row, []).append(reason)
            self.policies.setdefault(row, set()).add(policy)
            if self.is_full:
                return


def validate(contract: Contract, columns: Columns | TypedRows, origin: Origin | None = None) -> ValidationResult:
    """Validate parsed columns: the vendor's values, all of one length, in the vendor's order, as text, JSON values or None, or TypedRows.

    Of valid rows with one key, compared as values, the first stays. Raises BadDataError (exit code 65) if a column is missing or refused,
    if a row breaks a rule under policy `fail`, or if more than the share `max_bad_rows` of the rows is bad.
    """
    if isinstance(columns, TypedRows):
        if (table := accept(contract, columns.table)) is not None:
            return ValidationResult(table, None, table.num_rows, 0, ())
        columns = columns.reread()
    batch = build_batch(contract, columns, origin)
    bad = _find_bad_rows(batch)
    _check_tolerance(batch, bad)
    return _build_result(batch, bad)


def _find_bad_rows(batch: Batch) -> _BadRows:
    limit = max(MAX_BAD_ROWS_REPORTED, int(batch.contract.max_bad_rows * batch.rows))
    bad = _BadRows(batch, limit, [*batch.warnings])
    bad.add(chain(find_field_breaches(batch), find_long_keys(batch), find_broken_rules(batch)))
    if not bad.is_full:
        bad.add(find_duplicates(batch, set(bad.reasons)))
    return bad


def _check_tolerance(batch: Batch, bad: _BadRows) -> None:
    """Raise BadDataError for a row under policy `fail`, or if too many rows are bad."""
    dataset, allowed = batch.contract.dataset, batch.contract.max_bad_rows
    fatal = next((row for row, policies in sorted(bad.policies.items()) if "fail" in policies), None)
    if fatal is not None:
        reasons = _describe(bad.reasons[fatal])
        raise BadDataError(f"{dataset}: {batch.place(fatal + 1)}: {reasons}; the contract accepts no such row")
    if len(bad.reasons) > allowed * batch.rows:
        first, count = min(bad.reasons), len(bad.reasons)
        number = f"at least {count}" if count > MAX_BAD_ROWS_REPORTED else str(count)
        raise BadDataError(
            f"{dataset}: {number} of {batch.rows} rows break the contract, more than the {allowed:.0%} it allows; "
            f"the first is {batch.place(first + 1)}: {_describe(bad.reasons[first])}"
        )


def _build_result(batch: Batch, bad: _BadRows) -> ValidationResult:
    dropped = {row for row, policies in bad.policies.items() if policies == {"drop"}}
    rejected = sorted(bad.reasons)
    kept: Sequence[int] = [row for row in range(batch.rows) if row not in bad.reasons] if rejected else range(batch.rows)
    prefix = "" if batch.contract.shows_values else WITHHELD  # stored, as earlier versions stored the values of every dataset
    quarantined = {row: prefix + _describe(bad.reasons[row]) for row in rejected if row not in dropped}
    return ValidationResult(
        table=build_table(batch.fields, batch.texts, kept),
        quarantine=build_quarantine(batch.cells, quarantined),
        read=batch.rows,
        dropped=len(dropped),
        warnings=tuple(bad.warnings),
        rejected_keys=_build_rejected_keys(batch, rejected) if rejected else None,
    )


def _build_rejected_keys(batch: Batch, rows: Sequence[int]) -> Table:
    """Return the key columns of rejected rows; a text of no type is null."""
    keys = [field for field in batch.fields if field.name in batch.contract.key]
    typed = {field.name: [None if text in batch.untyped[field.name] else text for text in batch.texts[field.name]] for field in keys}
    return build_table(keys, typed, rows)


def _describe(reasons: Sequence[str]) -> str:
    """Join the first reasons of a row, in text that can be stored."""
    return escape_text(join_limited(reasons, "; "))
