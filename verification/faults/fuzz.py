"""Corrupt vendors' documents in a few places. The parser must return rows that add up, or raise one clear error."""

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
from jobkit import contracts, requests
from jobkit.contracts import load_packaged
from jobkit.errors import JobError
from jobkit.lake import CommitDraft, Lake

from verification.faults.sample_restatements import HEADER
from verification.sample_vendors import (
    ecb,
    fiscaldata,
    fred,
    gleif,
    gleif_isins,
    massive,
    nyfed,
    openfigi,
    sample,
    sdmx,
    sec,
    sec_filings,
    sec_insiders,
    sec_lists,
    tiingo,
    treasury,
)
from verification.sample_vendors.wire import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobkit.contracts import Columns

ISIN = {"idType": "ID_ISIN", "idValue": "US4592001014"}
ROWS = 60  # so that one bad row is within every contract's limit
TOKENS = [
    b"", b"null", b"NaN", b"-Infinity", b"1e999", b"1e-999", b"9" * 60, b"-0", b"0x10", b"1,5", b"true", b'"', b"'", b"\\u0000", b"\x00",
    b"\xff\xfe", "\u202e".encode(), "\U0001f4a9".encode(), b"[[[[", b"{}", b"[]", b'{"a":1}', b",", b";", b"\n", b"\r\n", b"2012-02-30",
    b"02/30/2012", b"0000-00-00", b"N/A", b"=1+1", b"-", b"1" + b"0" * 400, b'"2012"', b": ", b"<html>",
]  # fmt: skip
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["put", "replace", "cut", "twice"]), st.sampled_from(TOKENS)), min_size=1, max_size=3
)


class Document(NamedTuple):
    """A vendor's document, its parser, and the dataset whose contract validates it."""

    package: str
    dataset: str
    body: bytes
    parse: Callable[[bytes], dict[str, Columns]]
    pack: Callable[[bytes], bytes] = bytes


@dataclass
class Outcome:
    """The result for one kind of document."""

    kind: str
    documents: int = 0
    refused: int = 0
    read: int = 0
    good: int = 0
    bad: int = 0
    violations: list[str] = field(default_factory=list)


def list_documents() -> dict[str, Document]:
    """List a short document of every dataset and of every format of dropped files."""

    def build(package: str, dataset: str, body: bytes, *partitions: str, pack: Callable[[bytes], bytes] = bytes) -> Document:
        parse = importlib.import_module(f"{package}.parser").parse
        return Document(package, dataset, body, lambda data: parse(data, requests.Request(dataset, partitions, "/")), pack)

    market = massive.answer(Request("/v2/aggs/grouped/locale/us/market/stocks/2012-12-03", {"adjusted": "false"}, _headers(), 0)).body
    facts = json.loads(sec.company_facts())
    for tags in facts["facts"].values():
        for name in list(tags)[3:]:
            del tags[name]
    filers = dict(list(json.loads(sec.company_tickers()).items())[:ROWS])
    history = b"\n".join(ecb.history().encode().splitlines()[: ROWS + 1])
    years = tuple(f"year={year}" for year in range(2009, 2014))
    grants = sec_insiders.write_filing(sample.table("sec_insider_transactions") * ROWS)
    found = [
        build("extract_tiingo_prices", "tiingo_prices", json.dumps([dict(day) for day in tiingo.history("AAPL")[:ROWS]]).encode(),
           "ticker=AAPL/year=2009", "ticker=AAPL/year=2010"),
        build("extract_massive_daily_prices", "massive_daily_prices", market, "date=2012-12-03"),
        build("extract_ecb_fx_rates", "ecb_fx_rates", history, *years, pack=_zipped),
        build("extract_treasury_yields", "treasury_par_yields", "\n".join(treasury.curve("2012").splitlines()[:ROWS]).encode(),
              "year=2012"),
        build("extract_sec_company_facts", "sec_company_facts", json.dumps(facts).encode(), "cik=0000320193"),
        build("extract_fred_series", "fred_observations", _list_observations(), "series=GDP"),
        build("extract_nyfed_rates", "nyfed_rates", nyfed.search("effr", "2023-01-01", "2023-02-10").encode(), "rate=effr/year=2023"),
        build("extract_nyfed_rates", "nyfed_sofr_averages", nyfed.search("sofrai", "2026-01-01", "2026-12-31").encode(),
              "rate=sofrai/year=2026"),
        build("extract_fiscaldata_debt", "fiscaldata_debt", _first_page("fiscaldata_debt"), "year=2025"),
        build("extract_fiscaldata_debt", "fiscaldata_auctions", _first_page("fiscaldata_auctions"), "year=2026"),
        build("extract_sdmx_series", "sdmx_observations", sdmx.observations("WT", "2025-01-02", "2025-01-10").encode(),
              "agency=ECB/series=EST.B.EU000A2X2A25.WT/year=2025"),
        build("extract_gleif_entities", "gleif_relationships",
              gleif.document("rr", gleif.select("rr", "2025-05-15T00:00:00Z", "") * 15, "2025-05-15T00:00:00Z"),
              "content=20250515T000000Z/file=full/part=0001"),
        build("extract_gleif_entities", "gleif_entities",
              gleif.document("lei2", gleif.select("lei2", "2025-05-15T00:00:00Z", "") * 5, "2025-05-15T00:00:00Z"),
              "content=20250515T000000Z/file=full/part=0001"),
        build("extract_gleif_isins", "gleif_isins",
              gleif_isins.document(gleif.select("lei2", "2025-05-15T00:00:00Z", ""), "2025-05-15T00:00:00Z"),
              "isin=DE0006969603"),
        build("extract_sec_13f_holdings", "sec_13f_holdings", sec_filings.write_filing((sample.table("sec_13f_holdings") * ROWS)[:ROWS]),
              f"cik={sec_filings.CIK:010}/accession={sec_filings.ACCESSION}"),
        build("extract_openfigi_identifiers", "openfigi_mappings", json.dumps([[ISIN], [openfigi.find(ISIN)]]).encode(),
              "type=ID_ISIN/id=US4592001014/exchange=all"),
        build("extract_sec_insider_transactions", "sec_insider_entries", grants, f"accession={sec_insiders.ACCESSION}"),
        build("extract_sec_filings", "sec_filings", sec_lists.join_documents(), "cik=0000320193"),
        build("extract_sec_filers", "sec_filers", json.dumps(filers).encode(), "snapshot=current"),
    ]  # fmt: skip
    return {document.dataset: document for document in found} | _list_dropped_files()


def _list_dropped_files() -> dict[str, Document]:
    """List the same positions in each file format."""
    parser, delivery = (importlib.import_module(f"extract_dropped_files.{name}") for name in ("parser", "delivery"))
    rules = load_packaged("extract_dropped_files", "custodian_positions")
    positions = HEADER + "".join(f"2012-12-31,Bank,A{n},US0378331005,{n},1.5,{1.5 * n},USD\n" for n in range(ROWS))
    table = {name: list(cells) for name, *cells in zip(*csv.reader(io.StringIO(positions)), strict=True)}
    lines = "".join(json.dumps(dict(zip(table, row, strict=True))) + "\n" for row in zip(*table.values(), strict=True))
    parquet = io.BytesIO()
    write_parquet(Table.from_pydict({name: Array(cells, DataType.string()) for name, cells in table.items()}), parquet)

    def build(extension: str, body: bytes, pack: Callable[[bytes], bytes] = bytes) -> Document:
        def columns(data: bytes) -> dict[str, Columns]:
            return {"": delivery.read(rules, parser.parse(data, f"a.{extension}", rules.layout)).columns}

        return Document("extract_dropped_files", "custodian_positions", body, columns, pack)

    found = {
        "csv": build("csv", positions.encode()),
        "csv.gz": build("csv.gz", positions.encode(), pack=gzip.compress),
        "jsonl": build("jsonl", lines.encode()),
        "parquet": build("parquet", parquet.getvalue()),
    }
    return {f"custodian_positions.{extension}": document for extension, document in found.items()}


def _list_observations() -> bytes:
    """Observations of the first ROWS vintages of GDP, as FRED sends them."""
    rows = list(fred.observations())[:ROWS]
    head = {"realtime_start": "1776-07-04", "realtime_end": "9999-12-31", "units": "lin", "output_type": 1, "count": len(rows)}
    return json.dumps({**head, "observations": rows}).encode()


def _first_page(dataset: str) -> bytes:
    """The first ROWS rows of a table of FiscalData."""
    days = [("auction_date", "gte", "2026-01-01")] if dataset == "fiscaldata_auctions" else []
    return json.dumps(fiscaldata.page(fiscaldata.select(dataset, days), 1, ROWS)).encode()


def _headers() -> Message:
    headers = Message()
    headers["Authorization"] = "Bearer any"
    return headers


def _zipped(data: bytes) -> bytes:
    pack = io.BytesIO()
    with zipfile.ZipFile(pack, "w") as archive:
        archive.writestr("eurofxref-hist.csv", data)
    return pack.getvalue()


def parse_corrupted(kind: str, documents: int, number: int) -> Outcome:
    """Parse a document with random corruptions. A failing example is reduced to its smallest form."""
    document, found = list_documents()[kind], Outcome(kind)
    rules = load_packaged(document.package, document.dataset)
    good_rows = sum(len(next(iter(columns.values()))) for columns in document.parse(document.pack(document.body)).values())
    if not good_rows:
        raise RuntimeError(f"the sample document of {kind} has no rows")

    @seed(number)
    @settings(
        max_examples=documents, database=None, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink]
    )
    @given(EDITS, st.booleans())
    def check_parse(edits: list[tuple[float, str, bytes]], inside: bool) -> None:  # noqa: FBT001  hypothesis gives it
        body = document.pack(apply_edits(document.body, edits)) if inside else apply_edits(document.pack(document.body), edits)
        found.documents += 1
        try:
            shaped = document.parse(body)
            for columns in shaped.values():
                validated = contracts.validate(rules, columns)
                read = len(next(iter(columns.values()), []))
                bad = (validated.quarantine.num_rows if validated.quarantine else 0) + validated.dropped
                assert validated.table.num_rows + bad == read, f"{validated.table.num_rows} good and {bad} bad of {read} rows"  # noqa: S101  the property
                found.read, found.good, found.bad = found.read + read, found.good + validated.table.num_rows, found.bad + bad
        except JobError as error:
            found.refused += 1
            if not str(error).strip():
                raise RuntimeError("refused without a word") from None

    try:
        check_parse()
    except Exception as error:  # noqa: BLE001  any error is a violation
        found.violations.append(f"{kind}: {type(error).__name__}: {error} {getattr(error, '__notes__', '')}")
    return found


def apply_edits(body: bytes, edits: list[tuple[float, str, bytes]]) -> bytes:
    """Insert, replace, cut or repeat bytes at positions given as fractions of the length."""
    for lake, kind, token in edits:
        index = int(lake * len(body))
        end = index + max(len(token), 1)
        body = {
            "put": body[:index] + token + body[index:],
            "replace": body[:index] + token + body[end:],
            "cut": body[:index] + body[end:],
            "twice": body[:index] + body[index : index + 80] + body[index:],
        }[kind]
    return body


def count_rows(data: bytes) -> int:
    """Count the rows of a Parquet file by reading them."""
    return int(read_parquet(io.BytesIO(data)).read_all().num_rows)


def read_values(data: bytes) -> list[object]:
    """Read all values of a Parquet file, column by column."""
    table = read_parquet(io.BytesIO(data)).read_all()
    return [value for name in table.schema.names for value in table.column(name).to_pylist()]


def recommit_partition(lake: Lake, name: str, partition: str, number: int) -> None:
    """Commit a partition again with another volume in each row."""
    head = lake.head(name, partition)
    if head is None:
        raise RuntimeError(f"{name}/{partition} is not there")
    table = read_parquet(io.BytesIO(lake.read(head.data))).read_all()
    index = table.schema.names.index("volume")
    volumes = Array([number + row for row in range(table.num_rows)], type=DataType.int64())
    data = io.BytesIO()
    write_parquet(table.set_column(index, table.schema.field(index), ChunkedArray([volumes])), data, compression="zstd(3)")
    draft = CommitDraft(data.getvalue(), table.num_rows, None, 0, lambda: head.source, key=head.key, leaf=head.leaf, writer=head.writer)
    lake.commit(name, partition, draft)
