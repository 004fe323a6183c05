"""The layout of dropped files in a contract file: encoding, separators, header, footer, revision."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from jobkit.contracts.model import ContractError, Layout
from jobkit.contracts.odcs_keys import check_texts, choose
from jobkit.contracts.patterns import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobkit.contracts.model import Field

ENCODINGS = (
    *("utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1257"),
    *("iso-8859-1", "iso-8859-2", "iso-8859-15", "shift_jis", "gb18030", "big5", "euc_kr"),
)
DELIMITERS = (",", ";", "\t", "|")
SEPARATORS = ("", ".", ",", "'", " ")
NEGATIVE = ("-1", "1-", "(1)")


def read_layout(custom: Mapping[str, Any], fields: Sequence[Field]) -> Layout:
    """Read the layout from the custom properties of a schema. Raises ContractError if no file could have it."""
    default = Layout()
    negative = tuple(custom.get("negativeNumbers", default.negative))
    if wrong := [form for form in negative if form not in NEGATIVE]:
        raise ContractError(f"schema: negativeNumbers has {wrong[0]!r}; choose of {', '.join(NEGATIVE)}")
    layout = Layout(
        encoding=choose(custom, "encoding", ENCODINGS, default.encoding),
        delimiter=choose(custom, "delimiter", DELIMITERS, default.delimiter),
        decimal=choose(custom, "decimalSeparator", (".", ","), default.decimal),
        thousands=choose(custom, "thousandsSeparator", SEPARATORS, default.thousands),
        negative=negative,
        header_row=custom.get("headerRow", default.header_row),
        sheet=custom.get("sheet"),
        ignored=check_texts("schema: ignoredColumns", custom.get("ignoredColumns", ())),
        footer=custom.get("footer"),
        footer_required=custom.get("footerRequired", False),
        footer_totals=check_texts("schema: footerTotals", custom.get("footerTotals", ())),
        footer_count=custom.get("footerCount"),
        footer_tolerance=Decimal(custom.get("footerTolerance", 0)),
        revision=custom.get("revision"),
    )
    _check_lines(layout, fields)
    _check_footer(layout, fields)
    _check_revision(layout)
    return layout


def _check_lines(layout: Layout, fields: Sequence[Field]) -> None:
    """Raise ContractError if numbers would be ambiguous, the header has no line, or an ignored column is a field."""
    if layout.decimal == layout.thousands:
        raise ContractError(f"schema: decimalSeparator and thousandsSeparator are both {layout.decimal!r}, so that no number could be read")
    if layout.header_row < 1:
        raise ContractError(f"schema: headerRow is {layout.header_row}; lines count from 1")
    if both := sorted(set(layout.ignored) & {field.label for field in fields}):
        raise ContractError(f"schema: ignoredColumns has {both[0]!r}, which is a column")


def _check_footer(layout: Layout, fields: Sequence[Field]) -> None:
    """Raise ContractError if totals have no footer, or name a column that does not exist."""
    names = {field.name for field in fields}
    if layout.footer is None and (layout.footer_required or layout.footer_totals or layout.footer_count):
        raise ContractError("schema: footerRequired, footerTotals and footerCount need footer, how the first cell of such a line begins")
    if layout.footer is not None and not layout.footer.strip():
        raise ContractError("schema: footer is empty; write how the first cell of such a line begins, such as Total")
    if unknown := [name for name in (*layout.footer_totals, layout.footer_count) if name is not None and name not in names]:
        raise ContractError(f"schema: the footer names {unknown[0]!r}, which is no column")


def _check_revision(layout: Layout) -> None:
    """Raise ContractError unless the pattern has exactly one group, the number of the correction."""
    if layout.revision is None:
        return
    try:
        groups = compile_pattern(layout.revision).groups
    except re.error as error:
        raise ContractError(f"schema: the pattern of revision cannot be read: {error}") from None
    if groups != 1:
        raise ContractError("schema: the pattern of revision needs one group that is the number, such as _v([0-9]+)$")
