"""Find rows that repeat the key, or other unique columns, of an earlier row. Values are compared, not texts: 100.00 repeats 100."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobkit.contracts.batch import Breach
from jobkit.contracts.values import look_up, parse_values

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from jobkit.contracts.batch import Batch
    from jobkit.contracts.model import Policy


def find_duplicates(batch: Batch, bad: Collection[int]) -> Iterator[Breach]:
    """Yield each row with the key or the unique columns of an earlier row. `bad` are indices of rows that neither repeat nor are repeated.

    Two nulls are equal in a key. In other unique columns they are not, as in SQL.
    """
    contract, kinds = batch.contract, {field.name: field.type for field in batch.fields}
    policies: dict[str, Policy] = {field.name: field.policy for field in batch.fields}
    compared = {name for columns in (contract.key, *contract.unique) for name in columns if name in kinds}
    values = {name: _comparable_column(batch, name, kinds[name]) for name in compared}
    for row, first in _find_repeats(batch, [name for name in contract.key if name in kinds], values, bad):
        yield Breach(row, f"repeats the key of {batch.place(first + 1)}", contract.repeated_key)
    for unique in contract.unique:
        names = [name for name in unique if name in kinds]
        policy = policies.get(unique[0], "quarantine") if len(unique) == 1 else "quarantine"
        for row, first in _find_repeats(batch, names, values, bad):
            if all(batch.texts[name][row] is not None for name in names):
                yield Breach(row, f"repeats {', '.join(unique)} of {batch.place(first + 1)}", policy)


def _find_repeats(batch: Batch, names: Sequence[str], values: dict[str, list[Any]], bad: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yield the index of each good row with the same values in these columns as an earlier one, and the index of the first such row."""
    varying = [values[name] for name in names if len(batch.distinct[name]) > 1]
    if not names or (varying and len(set(zip(*varying, strict=True))) == len(varying[0])):
        return
    first_rows: dict[tuple[Any, ...], int] = {}
    for row, key in enumerate(zip(*(values[name] for name in names), strict=True)):
        if row not in bad and (first := first_rows.setdefault(key, row)) != row:
            yield row, first


def _comparable_column(batch: Batch, name: str, kind: str) -> list[Any]:
    """Return the column as values, or as its texts if no two of them have the same value."""
    texts = batch.texts[name]
    if kind in ("date", "string", "boolean"):
        return texts
    values = parse_values(kind, batch.distinct[name], batch.untyped[name])
    return texts if len(set(values.values())) == len(values) else look_up(texts, values)
