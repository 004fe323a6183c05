"""Vendors' documents spoilt in a few places: what an extractor makes of each is rows that add up, or one sentence."""

from __future__ import annotations

import csv
import gzip
import importlib
import io
import json
import zipfile
from dataclasses import dataclass, field
from email.message import Message
from typing import TYPE_CHECKING, NamedTuple

from arro3.core import Array, ChunkedArray, DataType, Table
from arro3.io import read_parquet, write_parquet
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from jobkit import contract as contracts
from jobkit import requests
from jobkit.contract import load_packaged
from jobkit.errors import JobError
from jobkit.lake import CommitDraft, Lake

from verification.faults.sample_restatements import HEADER
from verification.sample_vendors import ecb, massive, sec, tiingo, treasury
from verification.sample_vendors.wire import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobkit.contract import Columns

ROWS = 60  # one bad row of them is fewer than a contract allows
TOKENS = [
    b"", b"null", b"NaN", b"-Infinity", b"1e999", b"1e-999", b"9" * 60, b"-0", b"0x10", b"1,5", b"true", b'"', b"'", b"\\u0000", b"\x00",
    b"\xff\xfe", "\u202e".encode(), "\U0001f4a9".encode(), b"[[[[", b"{}", b"[]", b'{"a":1}', b",", b";", b"\n", b"\r\n", b"2012-02-30",
    b"02/30/2012", b"0000-00-00", b"N/A", b"=1+1", b"-", b"1" + b"0" * 400, b'"2012"', b": ", b"<html>",
]  # fmt: skip
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["put", "replace", "cut", "twice"]), st.sampled_from(TOKENS)), min_size=1, max_size=3
)


class Document(NamedTuple):
    """What a vendor sends, what becomes columns of it, and the contract they are held against."""

    package: str
    dataset: str
    body: bytes
    shape: Callable[[bytes], dict[str, Columns]]
    packed: Callable[[bytes], bytes] = bytes


@dataclass
class Found:
    """What became of the documents of a kind."""

    kind: str
    documents: int = 0
    refused: int = 0
    read: int = 0
    good: int = 0
    bad: int = 0
    wrong: list[str] = field(default_factory=list)


def kinds() -> dict[str, Document]:
    """A short document of every dataset that an extractor fills, and of every kind of file that may be dropped."""

    def of(package: str, dataset: str, body: bytes, *partitions: str, packed: Callable[[bytes], bytes] = bytes) -> Document:
        shape = importlib.import_module(f"{package}.parser").parse
        return Document(package, dataset, body, lambda data: shape(data, requests.Request(dataset, partitions, "/")), packed)

    market = massive.answer(Request("/v2/aggs/grouped/locale/us/market/stocks/2012-12-03", {"adjusted": "false"}, _headers(), 0)).body
    facts = json.loads(sec.company_facts())
    for tags in facts["facts"].values():
        for name in list(tags)[3:]:
            del tags[name]
    filers = dict(list(json.loads(sec.company_tickers()).items())[:ROWS])
    history = b"\n".join(ecb.history().encode().splitlines()[: ROWS + 1])
    years = tuple(f"year={year}" for year in range(2009, 2014))
    found = [
        of("extract_tiingo_prices", "tiingo_prices", json.dumps([dict(day) for day in tiingo.history("AAPL")[:ROWS]]).encode(),
           "ticker=AAPL/year=2009", "ticker=AAPL/year=2010"),
        of("extract_massive_daily_prices", "massive_daily_prices", market, "date=2012-12-03"),
        of("extract_ecb_fx_rates", "ecb_fx_rates", history, *years, packed=_zipped),
        of("extract_treasury_yields", "treasury_par_yields", "\n".join(treasury.curve("2012").splitlines()[:ROWS]).encode(), "year=2012"),
        of("extract_sec_company_facts", "sec_company_facts", json.dumps(facts).encode(), "cik=0000320193"),
        of("extract_sec_filers", "sec_filers", json.dumps(filers).encode(), "snapshot=current"),
    ]  # fmt: skip
    return {document.dataset: document for document in found} | _dropped()


def _dropped() -> dict[str, Document]:
    """The same positions in each kind of file."""
    parser, delivery = (importlib.import_module(f"extract_dropped_files.{name}") for name in ("parser", "delivery"))
    rules = load_packaged("extract_dropped_files", "custodian_positions")
    positions = HEADER + "".join(f"2012-12-31,Bank,A{n},US0378331005,{n},1.5,{1.5 * n},USD\n" for n in range(ROWS))
    table = {name: list(cells) for name, *cells in zip(*csv.reader(io.StringIO(positions)), strict=True)}
    lines = "".join(json.dumps(dict(zip(table, row, strict=True))) + "\n" for row in zip(*table.values(), strict=True))
    parquet = io.BytesIO()
    write_parquet(Table.from_pydict({name: Array(cells, DataType.string()) for name, cells in table.items()}), parquet)

    def of(ending: str, body: bytes, packed: Callable[[bytes], bytes] = bytes) -> Document:
        def columns(data: bytes) -> dict[str, Columns]:
            return {"": delivery.read(rules, parser.parse(data, f"a.{ending}", rules.layout)).columns}

        return Document("extract_dropped_files", "custodian_positions", body, columns, packed)

    found = {
        "csv": of("csv", positions.encode()),
        "csv.gz": of("csv.gz", positions.encode(), packed=gzip.compress),
        "jsonl": of("jsonl", lines.encode()),
        "parquet": of("parquet", parquet.getvalue()),
    }
    return {f"custodian_positions.{ending}": document for ending, document in found.items()}


def _headers() -> Message:
    headers = Message()
    headers["Authorization"] = "Bearer any"
    return headers


def _zipped(data: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("eurofxref-hist.csv", data)
    return packed.getvalue()


def spoil(kind: str, documents: int, number: int) -> Found:
    """Spoil a document in as many ways; a way that does harm is made as small as it can be."""
    document, found = kinds()[kind], Found(kind)
    rules = load_packaged(document.package, document.dataset)
    good_rows = sum(len(next(iter(columns.values()))) for columns in document.shape(document.packed(document.body)).values())
    if not good_rows:
        raise RuntimeError(f"the sample document of {kind} has no rows")

    @seed(number)
    @settings(
        max_examples=documents, database=None, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink]
    )
    @given(EDITS, st.booleans())
    def property_(edits: list[tuple[float, str, bytes]], inside: bool) -> None:  # noqa: FBT001  hypothesis gives it
        body = document.packed(spoilt(document.body, edits)) if inside else spoilt(document.packed(document.body), edits)
        found.documents += 1
        try:
            shaped = document.shape(body)
            for columns in shaped.values():
                kept = contracts.validate(rules, columns)
                read = len(next(iter(columns.values()), []))
                bad = (kept.quarantine.num_rows if kept.quarantine else 0) + kept.dropped
                assert kept.table.num_rows + bad == read, f"{kept.table.num_rows} good and {bad} bad of {read} rows"  # noqa: S101  the property
                found.read, found.good, found.bad = found.read + read, found.good + kept.table.num_rows, found.bad + bad
        except JobError as error:
            found.refused += 1
            if not str(error).strip():
                raise RuntimeError("refused without a word") from None

    try:
        property_()
    except Exception as error:  # noqa: BLE001  whatever it is, it is what we look for
        found.wrong.append(f"{kind}: {type(error).__name__}: {error} {getattr(error, '__notes__', '')}")
    return found


def spoilt(body: bytes, edits: list[tuple[float, str, bytes]]) -> bytes:
    """The bytes with something put in, replaced, cut out or doubled, where fractions of its length say."""
    for where, kind, token in edits:
        at = int(where * len(body))
        end = at + max(len(token), 1)
        body = {
            "put": body[:at] + token + body[at:],
            "replace": body[:at] + token + body[end:],
            "cut": body[:at] + body[end:],
            "twice": body[:at] + body[at : at + 80] + body[at:],
        }[kind]
    return body


def rows_of(data: bytes) -> int:
    """How many rows a Parquet file has, all of them read."""
    return int(read_parquet(io.BytesIO(data)).read_all().num_rows)


def values_of(data: bytes) -> list[object]:
    """All values of a Parquet file, column by column."""
    table = read_parquet(io.BytesIO(data)).read_all()
    return [value for name in table.schema.names for value in table.column(name).to_pylist()]


def recommit(where: Lake, name: str, partition: str, number: int) -> None:
    """Commit a partition again, another volume in each row."""
    head = where.head(name, partition)
    if head is None:
        raise RuntimeError(f"{name}/{partition} is not there")
    table = read_parquet(io.BytesIO(where.read(head.data))).read_all()
    at = table.schema.names.index("volume")
    volumes = Array([number + row for row in range(table.num_rows)], type=DataType.int64())
    data = io.BytesIO()
    write_parquet(table.set_column(at, table.schema.field(at), ChunkedArray([volumes])), data, compression="zstd(3)")
    draft = CommitDraft(data.getvalue(), table.num_rows, None, 0, lambda: head.source, key=head.key, leaf=head.leaf, writer=head.writer)
    where.commit(name, partition, draft)
