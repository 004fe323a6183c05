"""Data contracts: what the rows of a dataset must be, and what happens to those that are not.

| Module | Contents |
|---|---|
| `model` | `Contract` and its parts, immutable |
| `odcs` | reads a contract file; with `odcs_keys`, `odcs_columns`, `odcs_quality`, `odcs_layout` and `strict_yaml` |
| `validation` | `validate`: valid rows, quarantine, tolerance |
| `batch` | a partition's rows under validation |
| `typed_rows` | the quick way for rows that a parser has typed |
| `row_checks`, `constraints`, `uniqueness` | breaches of fields, of rules between columns, of keys |
| `values`, `type_checks`, `rounding` | from text to value |
| `arrow`, `encoded_rows` | typed tables and Parquet |
| `patterns`, `storable_text`, `messages` | regular expressions, escapes, values in messages |

`describe` of a job reads no contract, so it must not import this package.
"""

from __future__ import annotations

from jobkit.contracts.arrow import VENDOR_NAME, arrow_type, to_parquet
from jobkit.contracts.batch import MAX_COLUMNS, UNREADABLE, Origin
from jobkit.contracts.encoded_rows import EncodedRows, encode
from jobkit.contracts.model import Columns, Contract, ContractError, Field, Layout, Policy, Product, Rule, Sum, list_conflicts
from jobkit.contracts.odcs import load, load_packaged, parse_document, read_contract
from jobkit.contracts.patterns import compile_pattern
from jobkit.contracts.row_checks import MAX_KEY_BYTES
from jobkit.contracts.storable_text import escape_text, unescape_text
from jobkit.contracts.type_checks import Untyped, build_reader
from jobkit.contracts.typed_rows import TypedRows
from jobkit.contracts.validation import ValidationResult, validate

__all__ = [
    "MAX_COLUMNS",
    "MAX_KEY_BYTES",
    "UNREADABLE",
    "VENDOR_NAME",
    "Columns",
    "Contract",
    "ContractError",
    "EncodedRows",
    "Field",
    "Layout",
    "Origin",
    "Policy",
    "Product",
    "Rule",
    "Sum",
    "TypedRows",
    "Untyped",
    "ValidationResult",
    "arrow_type",
    "build_reader",
    "compile_pattern",
    "encode",
    "escape_text",
    "list_conflicts",
    "load",
    "load_packaged",
    "parse_document",
    "read_contract",
    "to_parquet",
    "unescape_text",
    "validate",
]
