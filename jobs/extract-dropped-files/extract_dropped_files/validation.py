"""Validate a dropped file against the contract of its folder, and explain to whoever dropped it what is wrong.

A file is validated as a whole: it is accepted, with few bad rows in quarantine, or refused. Its partitions come from its rows, or from
its name if the contract has no partition columns.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING

from jobkit import contracts
from jobkit.contracts import compile_pattern
from jobkit.errors import BadDataError, MisconfiguredError
from jobkit.names import ROW_NUMBER

from extract_dropped_files import bank_files, delivery, parser
from extract_dropped_files.statements import BankFileError

if TYPE_CHECKING:
    from jobkit.contracts import Columns, Contract
    from jobkit.lake import Lake

    from extract_dropped_files.delivery import Part

PACKAGE = "extract_dropped_files"
SUFFIX = ".odcs.yaml"
MAX_ROWS_EXPLAINED = 100_000  # reasons take more memory than rows
MAX_ROWS_REPORTED = 100


class RefusedFileError(BadDataError):
    """A file breaks its contract. `reasons` say what is wrong where, with values: they are for whoever dropped the file."""

    def __init__(self, message: str, reasons: list[str]) -> None:
        super().__init__(message)
        self.reasons = reasons


def list_folders() -> list[str]:
    """List the folders in which files may be dropped: the contracts of this package, but that of movements, which come in statements."""
    names = (file.name for file in resources.files(PACKAGE).iterdir())
    return sorted(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX) and name != bank_files.MOVEMENTS + SUFFIX)


def load_contract(folder: str) -> Contract:
    """Return the contract of a folder. Raises MisconfiguredError (78) if it contradicts the contract of the dataset that its files fill."""
    rules = contracts.load_packaged(PACKAGE, folder)
    if folder != rules.dataset:
        differing = contracts.list_conflicts(contracts.load_packaged(PACKAGE, rules.dataset), rules)
        if differing:
            raise MisconfiguredError(
                f"the contract {folder} differs from {rules.dataset}, which its files fill, in: {'; '.join(differing)}"
            )
    return rules


def split_key(key: str) -> tuple[str, str]:
    """Split a key into folder and file name. Raises BadDataError (65) if the folder has no contract or the name is invalid."""
    folder, _, name = key.partition("/")
    if not name or folder not in list_folders():
        raise BadDataError(f"{contracts.escape_text(key)} lies in no contract's folder; expected one of {', '.join(list_folders())}")
    split_revision(contracts.load_packaged(PACKAGE, folder), name)
    return folder, name


def split_revision(rules: Contract, name: str) -> tuple[str, int]:
    """Split a file's name, without its endings, into the delivery that it names and the number of its correction; 1 if it has none."""
    stem = parser.stem(name, is_partition=not rules.partition)
    match = compile_pattern(rules.layout.revision).search(stem) if rules.layout.revision else None
    return (stem[: match.start()] + stem[match.end() :], int(match[1])) if match else (stem, 1)


def validate_file(key: str, data: bytes, lake: Lake) -> tuple[Part, ...]:
    """Validate a file, and return the partitions that it fills with their rows; the lake tells which bank statements are known.

    Raises RefusedFileError (65) with the reasons if it breaks its contract, BadDataError if it has none.
    """
    folder, name = split_key(key)
    rules = load_contract(folder)
    if rules.dataset == bank_files.STATEMENTS:
        return _validate_bank_file(rules, data, name, lake)
    try:
        return _validate_parts(rules, data, name)
    except BadDataError as error:
        message = str(error)  # the error itself holds the rows in memory
    raise RefusedFileError(message, _explain(rules, data, name))


def _validate_bank_file(rules: Contract, data: bytes, name: str, lake: Lake) -> tuple[Part, ...]:
    try:
        found = bank_files.reconcile_with_lake(rules, bank_files.read(rules, data, name), lake)
        return tuple(bank_files.build_parts(rules, contracts.load_packaged(PACKAGE, bank_files.MOVEMENTS), found))
    except BankFileError as error:
        raise RefusedFileError(str(error), [error.reason]) from None


def _validate_parts(rules: Contract, data: bytes, name: str) -> tuple[Part, ...]:
    sheet = parser.parse(data, name, rules.layout)
    read = delivery.read(rules, sheet)
    result = contracts.validate(rules, read.columns, read.origin)
    return tuple(delivery.split_parts(rules, read, result, split_revision(rules, name)[0]))


def _explain(rules: Contract, data: bytes, name: str) -> list[str]:
    """Return what is wrong with a file, with values, then with which of its rows."""
    shown = replace(rules, classification="internal")
    try:
        _validate_parts(shown, data, name)
    except BadDataError as error:
        message = str(error)
    else:
        return []
    return [message, *_explain_rows(shown, data, name)]


def _explain_rows(rules: Contract, data: bytes, name: str) -> list[str]:
    """Return what is wrong with which of the first rows, with any number of bad rows; empty if the file as a whole cannot be read."""
    tolerant = replace(
        rules,
        max_bad_rows=1.0,
        repeated_key="quarantine",
        fields=tuple(replace(field, policy="quarantine") for field in rules.fields),
        rules=tuple(rule._replace(policy="quarantine") for rule in rules.rules),
        products=tuple(product._replace(policy="quarantine") for product in rules.products),
        sums=tuple(total._replace(policy="quarantine") for total in rules.sums),
    )
    try:
        read = delivery.read(tolerant, parser.parse(data, name, rules.layout))
        origin = read.origin._replace(cells=_first_rows(read.origin.cells))
        bad = contracts.validate(tolerant, _first_rows(read.columns), origin).quarantine
    except BadDataError:
        return []
    if bad is None:
        return []
    numbers, reasons = (bad.column(column).to_pylist()[:MAX_ROWS_REPORTED] for column in (ROW_NUMBER, "reasons"))
    more = [f"and {bad.num_rows - MAX_ROWS_REPORTED:,} more rows"] if bad.num_rows > MAX_ROWS_REPORTED else []
    return [f"{read.origin.place(number)}: {reason}" for number, reason in zip(numbers, reasons, strict=True)] + more


def _first_rows(columns: Columns) -> Columns:
    return {name: values[:MAX_ROWS_EXPLAINED] for name, values in columns.items()}
