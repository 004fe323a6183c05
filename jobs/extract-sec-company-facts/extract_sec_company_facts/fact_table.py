"""Decode facts straight into an Arrow table, without Python objects: the archive of all filers has 100 million of them.

Arrow's JSON reader is less strict than `parser`: it ignores unknown fields, keeps the last of two equal keys, rounds decimals and takes
numbers in quotes (arro3 0.9.1). So each of these is looked for, and a document that has one is left to `parser`, as is any other that is
not as usual. Both make the same rows.
"""

from __future__ import annotations

import re
from itertools import chain, pairwise, repeat
from typing import TYPE_CHECKING

import msgspec
from arro3.compute import cast, dictionary_encode, take
from arro3.core import Array, ChunkedArray, DataType, Field, Schema, Table, dictionary_dictionary, list_flatten, list_offsets, struct_field
from arro3.io import read_json
from jobkit.contracts import TypedRows
from msgspec import UNSET, UnsetType

from extract_sec_company_facts import parser

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jobkit.contracts import Columns
    from jobkit.requests import Request

TEXTS = ("start", "end", "accn", "fp", "form", "filed", "frame")
FIELDS = ("val", "fy", *TEXTS)
TYPES = {"val": DataType.decimal128(38, 10), "fy": DataType.float64(), **dict.fromkeys(TEXTS, DataType.utf8())}
SCHEMA = Schema([Field("f", DataType.list(Field("item", DataType.struct([Field(name, TYPES[name]) for name in FIELDS]))))])
LISTS_AT_ONCE = 64  # lists of facts that are decoded together: more leave the processor's cache
# More digits behind the point than are kept, a year with a fraction, or an exponent, by the byte that each begins with. Three patterns: one
# that begins with a choice takes ten times as long.
ALTERED = {
    b".": re.compile(rb'\.(?:\d{11}|(?<="fy":\d{4}\.))'),
    b"e": re.compile(rb"e[-+\d]"),
    b"E": re.compile(rb"E[-+\d]"),
}
REPEATED = {name: re.compile(rb'"%b":null[^}]*"%b":' % (name.encode(), name.encode())) for name in FIELDS}  # in one fact
FIRST_YEAR, LAST_YEAR = 1000, 9999  # with four digits
MAX_BYTES = 32 << 20  # the largest filers send about 20 MiB; a document is in memory four times here


class Units(msgspec.Struct):
    """The undecoded facts of a tag, by unit."""

    units: dict[str, msgspec.Raw]
    label: msgspec.Raw | UnsetType = UNSET
    description: msgspec.Raw | UnsetType = UNSET


class Company(msgspec.Struct):
    """The document: undecoded facts by taxonomy, tag and unit."""

    cik: int | str
    entityName: str  # noqa: N815  the vendor's name
    facts: dict[str, dict[str, Units]]


DECODER = msgspec.json.Decoder(Company)


def parse(body: bytes, request: Request) -> dict[str, Columns | TypedRows]:
    """Return the rows of `parser.parse`, as a table where that is without loss. Raises BadDataError (exit code 65) as it does."""
    (partition,) = request.partitions
    table = build(body, partition.removeprefix("cik=").lstrip("0"))
    if table is None:
        return {**parser.parse(body, request)}
    return {partition: TypedRows(table, lambda: parser.parse(body, request)[partition])}


def build(body: bytes, cik: str) -> Table | None:
    """Return all facts of the document of a filer as a table, in the document's order; None if `parser` has to read it."""
    if len(body) > MAX_BYTES:
        return None
    try:
        company: Company = DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    lists = [
        ((taxonomy, tag, unit), facts)
        for taxonomy, tags in company.facts.items()
        for tag, concept in tags.items()
        for unit, facts in concept.units.items()
    ]
    if not lists or str(company.cik).lstrip("0") != cik:
        return None
    names = [name for name, _ in lists]
    facts = _read_facts([facts for _, facts in lists], body.count(b":") - _count_other_colons(company, names))
    if facts is None:
        return None
    columns, sizes = facts
    once, lists_of_rows = _repeat([sum(sizes)]), _repeat(sizes)
    columns["cik"] = take(Array([int(cik)], type=DataType.int64()), once)
    columns["entityName"] = take(Array([company.entityName], type=DataType.utf8()), once)
    for name, texts in zip(("taxonomy", "tag", "unit"), zip(*names, strict=True), strict=True):
        columns[name] = take(Array(texts, type=DataType.utf8()), lists_of_rows)
    return Table.from_pydict({name: ChunkedArray([column]) for name, column in columns.items()})


def _is_exact(text: bytes) -> bool:
    """Whether no text of the facts has an escape, and no number has another form or more digits than the reader keeps."""
    return b"\\" not in text and not any(first in text and pattern.search(text) for first, pattern in ALTERED.items())


def _count_other_colons(company: Company, names: Sequence[tuple[str, ...]]) -> float:
    """Return the number of colons in the document besides those of the facts, as `lossless_json` does to find repeated keys.

    It is no number (NaN) if a colon of a key or of the filer's name may have been written as an escape.
    """
    if ":" in company.entityName or any(":" in text for name in names for text in name):
        return float("nan")
    others = {
        taxonomy: {
            tag: Units(dict.fromkeys(concept.units, msgspec.Raw(b"[]")), concept.label, concept.description)
            for tag, concept in tags.items()
        }
        for taxonomy, tags in company.facts.items()
    }
    return msgspec.json.encode(Company(company.cik, company.entityName, others)).count(b":")


def _read_facts(lists: Sequence[msgspec.Raw], colons: float) -> tuple[dict[str, Array], list[int]] | None:
    """Return the columns of FIELDS and the number of facts in each list; None if the reader would change or lose a value.

    `colons` is the number of fields if no key is repeated and no text has a colon, otherwise more.
    """
    arrays: list[Array] = []
    quotes = 0
    for text in _to_lines(lists):
        if not _is_exact(text):
            return None
        quotes += text.count(b'"')
        try:
            arrays += [batch.column(0) for batch in read_json(text, SCHEMA, batch_size=LISTS_AT_ONCE).read_all().to_batches()]
        except Exception:  # noqa: BLE001  arro3 raises no narrower one; the parser finds what is wrong
            return None
    facts = [list_flatten(array) for array in arrays]
    sizes = [last - first for array in arrays for first, last in pairwise(list_offsets(array).to_pylist())]
    columns = {name: _join([struct_field(array, number) for array in facts]) for number, name in enumerate(FIELDS)}
    values = {name: len(column) - column.null_count for name, column in columns.items()}
    expected = 2 * (colons + sum(values[name] for name in TEXTS) + len(sizes))  # of keys and texts; more if a number has some
    missing, incomplete = colons - sum(values.values()), [name for name in FIELDS if values[name] < sum(sizes)]
    is_complete = quotes == expected and (not missing or missing == _count_nulls(lists, incomplete, sum(sizes) + len(sizes)))
    years = dictionary_dictionary(dictionary_encode(columns["fy"])).to_pylist()
    if (
        not is_complete
        or any(array.null_count for array in (*arrays, *facts))
        or not all(year.is_integer() and FIRST_YEAR <= year <= LAST_YEAR for year in years)
    ):
        return None
    columns["fy"] = cast(columns["fy"], DataType.int32())
    return columns, sizes


def _to_lines(lists: Sequence[msgspec.Raw]) -> Iterator[bytes]:
    """Yield the lists of facts as JSON lines, LISTS_AT_ONCE at a time: all of them would be the document once more."""
    for first in range(0, len(lists), LISTS_AT_ONCE):
        yield b"".join(chain.from_iterable((b'{"f":', facts, b"}\n") for facts in lists[first : first + LISTS_AT_ONCE]))


def _count_nulls(lists: Sequence[msgspec.Raw], names: Sequence[str], objects: int) -> float:
    """Return the number of fields that are null. It is no number (NaN) if there are others than `names`, or if one comes again in its fact.

    No text has a quote; `objects` is the number of closing braces if no text has one.
    """
    nulls = usual = braces = 0
    for text in _to_lines(lists):
        found = {name: text.count(b'"%b":null' % name.encode()) for name in names}
        if any(count and REPEATED[name].search(text) for name, count in found.items()):
            return float("nan")
        nulls, usual, braces = nulls + text.count(b'":null'), usual + sum(found.values()), braces + text.count(b"}")
    return nulls if not nulls or (usual == nulls and braces == objects) else float("nan")


def _join(arrays: Sequence[Array]) -> Array:
    return ChunkedArray(arrays).combine_chunks()


def _repeat(sizes: Sequence[int]) -> Array:
    """Return the number of each size as often as the size says: of 2 and 3 it is 0, 0, 1, 1, 1."""
    return Array(list(chain.from_iterable(repeat(number, size) for number, size in enumerate(sizes))), type=DataType.int32())
