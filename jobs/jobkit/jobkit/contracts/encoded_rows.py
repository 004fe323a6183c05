"""Valid rows as the Parquet file of a commit, made in another process than the commit."""

from __future__ import annotations

import io
from typing import NamedTuple

from jobkit.contracts.arrow import to_parquet
from jobkit.contracts.validation import ValidationResult


class EncodedRows(NamedTuple):
    """The rows of a partition of which none was quarantined or dropped, as Parquet. `warnings` are those of the validation."""

    parquet: bytes
    rows: int
    warnings: tuple[str, ...]

    def decode(self) -> ValidationResult:
        """Return the result of the validation."""
        from arro3.io import read_parquet  # noqa: PLC0415  heavy; only a changed partition needs it

        return ValidationResult(read_parquet(io.BytesIO(self.parquet)).read_all(), None, self.rows, 0, self.warnings)


def encode(result: ValidationResult) -> EncodedRows | None:
    """Encode the rows of a validation; None if some were quarantined or dropped."""
    if result.quarantine or result.dropped:
        return None
    return EncodedRows(to_parquet(result.table), result.table.num_rows, result.warnings)
