"""Parse SDMX-CSV 1.0 and 2.0, and the forms of ECB, BIS and Eurostat: one row per observation of one series, in the order of the answer.

A row of CSV has its whole key and all attributes, which the XML and JSON forms hang on series, groups or positions. So the parser needs
no structure, and no library for it: sdmx1 would add pandas and lxml to the image. Only the columns of the dimensions, TIME_PERIOD and
OBS_VALUE are the same everywhere. An observation without a value is a row, whose status says why it is missing.
"""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING

from jobkit import csvtext
from jobkit.errors import BadDataError
from jobkit.xml_documents import to_digits

from extract_sdmx_series.source import ESCAPED_AT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.contracts import Columns
    from jobkit.requests import Request

# The columns before the dimensions: of the ECB, Eurostat, SDMX-CSV 1.0 (OECD) and 2.0. BIS's own form has none.
PREAMBLES = (("KEY",), ("DATAFLOW", "LAST UPDATE"), ("DATAFLOW",), ("STRUCTURE", "STRUCTURE_ID", "ACTION"))
ID = re.compile(r"[A-Za-z0-9_@$-]+")  # a column in labels mode is `ID: label`, one with sub-fields `ID[;]`
# Columns of our own, and what agencies call them; Eurostat's are the last. The unit is an attribute or a dimension.
STATED = {"obs_status": ("OBS_STATUS", "OBS_FLAG"), "unit_measure": ("UNIT_MEASURE", "UNIT", "unit"), "unit_mult": ("UNIT_MULT",)}
MISSING = ("", "NaN", ":")  # in CSV, in XML, and Eurostat's sign
PERIOD = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T/].*)?)?|-?([ASHTQMWD])(\d{1,3}))?")
MONTHS = {"A": 12, "S": 6, "H": 6, "T": 4, "Q": 3, "M": 1}  # of a reporting period


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Return the columns of the requested series and year; empty for a year without observations.

    Raises BadDataError (exit code 65) if the body is another document, or has another series, deletions or periods of distant years.
    """
    (partition,) = request.partitions
    agency, series, year = (part.partition("=")[2] for part in partition.split("/"))
    series = series.replace(ESCAPED_AT, "@")
    flow, *key = series.split(".")
    what = f"the answer of {agency} for {series}"
    header, rows = csvtext.read(body, what)
    preamble = next((names for names in PREAMBLES if tuple(header[: len(names)]) == names), ())
    first, last = len(preamble), len(preamble) + len(key)
    dimensions = header[first:last]
    _check_header(header, preamble, dimensions, what)
    at = {name: number for number, name in enumerate(header)}
    for row in rows:
        if row[first:last] != key or not _is_of(row, preamble, agency, flow, series):
            raise BadDataError(f"{what} has a row {row[:last]} of {header[:last]}; expected only {series}, without deletions")
    neighbours = {str(int(year) + 1), str(int(year) - 1)}
    period = at["TIME_PERIOD"]
    if strays := {row[period] for row in rows if row[period][:4].isdecimal() and row[period][:4] not in neighbours | {year}}:
        raise BadDataError(f"{what} in {year} has the periods {', '.join(sorted(strays)[:3])}")
    rows = [row for row in rows if row[period][:4] not in neighbours]
    if not rows:
        return {}
    stated = {column: next((name for name in names if name in at), None) for column, names in STATED.items()}
    others = set(header[last:]) - {"TIME_PERIOD", "OBS_VALUE", *stated.values()}
    return {
        partition: {
            "agency": [agency] * len(rows),
            "series_key": [series] * len(rows),
            "time_period": [row[period] for row in rows],
            "period_start": [_first_day(row[period]) for row in rows],
            "obs_value": [None if (text := row[at["OBS_VALUE"]].strip()) in MISSING else to_digits(text) for row in rows],
            **{column: [row[at[name]].strip() or None if name else None for row in rows] for column, name in stated.items()},
            "dimensions": [json.dumps(dict(zip(dimensions, key, strict=True)))] * len(rows),
            "attributes": _join_attributes(rows, {name: number for name, number in at.items() if name in others}),
        }
    }


def _check_header(header: Sequence[str], preamble: tuple[str, ...], dimensions: Sequence[str], what: str) -> None:
    """Raise BadDataError unless the dimensions stand where they should; a preamble is followed by them and TIME_PERIOD."""
    number, measured = len(dimensions), {"TIME_PERIOD", "OBS_VALUE"}
    is_known = bool(preamble) or header[0] not in {names[0] for names in PREAMBLES}  # labels mode has other columns
    is_standard = not preamble or header[len(preamble) + number : len(preamble) + number + 1] == ["TIME_PERIOD"]
    are_ids = all(ID.fullmatch(name) for name in dimensions) and not measured & set(dimensions)
    if not (is_known and is_standard and are_ids and measured <= set(header)):
        raise BadDataError(
            f"{what} has the columns {', '.join(header)[:160]}; expected the ids of {number} dimensions as in --keys, "
            "TIME_PERIOD and OBS_VALUE"
        )


def _is_of(row: Sequence[str], preamble: tuple[str, ...], agency: str, flow: str, series: str) -> bool:
    """Whether a row is of the series, by the columns before its dimensions. A row with the action D says what the agency deleted.

    Eurostat takes its dataflows in small letters, and answers in capitals.
    """
    of_flow = f"{agency}:{flow}(".upper()
    if preamble[:1] == ("KEY",):
        return row[0] == series
    if preamble[:1] == ("DATAFLOW",):
        return row[0].upper().startswith(of_flow)
    return not preamble or (row[0].upper() == "DATAFLOW" and row[1].upper().startswith(of_flow) and row[2] in {"I", "A", "R", "M"})


def _first_day(text: str) -> str | None:
    """Return the first day of a period such as 2025, 2025-01, 2025-Q1, 2025-W01 or 2025-01-02; None for another text."""
    match = PERIOD.fullmatch(text)
    if match is None:
        return None
    year, month, day, kind, number = match.groups()
    try:
        if kind == "W":
            return str(date.fromisocalendar(int(year), int(number), 1))
        if kind == "D":
            return str(date(int(year), 1, 1) + timedelta(days=int(number) - 1))
        return str(date(int(year), MONTHS[kind] * (int(number) - 1) + 1 if kind else int(month or 1), int(day or 1)))
    except ValueError:
        return None


def _join_attributes(rows: Sequence[Sequence[str]], at: dict[str, int]) -> list[str]:
    """Return the attributes of each row as one JSON object, without empty ones; equal rows share one text, as most do."""
    join = cache(lambda values: json.dumps({name: value for name, value in zip(at, values, strict=True) if value}, ensure_ascii=False))
    return [join(tuple(row[number] for number in at.values())) for row in rows]
