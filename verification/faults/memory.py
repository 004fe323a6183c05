"""Run each extractor within its declared memory, with the largest and densest response that it accepts and with one byte more."""

from __future__ import annotations

import gzip
import io
import json
import re
import zipfile
from contextlib import contextmanager
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler
from itertools import count, product
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit.errors import ExitCode
from stdnum import isin
from stdnum.figi import calc_check_digit

from jobs.catalogue import REPOSITORY, catalogue
from orchestration.deployments import descriptions
from verification import http_server
from verification.faults import job_runs, memory_cgroup
from verification.faults.sample_restatements import HEADER
from verification.sample_vendors import gleif, sample, sec_filings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from verification.faults.sandbox import Sandbox

CONCURRENT_REQUESTS = 6  # one more than the requests in flight and waiting while one response is parsed
BEGIN, LIFE = date(1962, 1, 2), 23_000  # the first date that vendors have, and the number of days since


class Largest(NamedTuple):
    """The bodies for one extractor: an ordinary one that must be accepted, and one with as many values as possible."""

    ordinary: Callable[[int], bytes]
    dense: Callable[[int], bytes]
    options: tuple[str, ...]
    media: str = "application/json"


class Outcome(NamedTuple):
    """The result of all runs."""

    runs: int
    peaks: dict[str, int]
    method: str
    violations: tuple[str, ...]


def _take_fitting(rows: Iterator[bytes], room: int) -> list[bytes]:
    """Take the rows that fit, with one byte between them."""
    fitting = []
    for row in rows:
        room -= len(row) + 1
        if room < 0:
            break
        fitting.append(row)
    return fitting


def _pad_document(head: bytes, rows: Iterator[bytes], tail: bytes, size: int, between: bytes = b",") -> bytes:
    """Build a document of exactly this size: as many rows as fit, then white space."""
    body = head + between.join(_take_fitting(rows, size - len(head) - len(tail))) + tail
    return body + (b"\n" if between == b"\n" else b" ") * (size - len(body))


def _days(begin: date, number: int) -> Iterator[date]:
    return (begin + timedelta(days=n) for n in range(number))


def _tiingo(size: int) -> bytes:
    row = (
        '{"date":"%s","close":%.4f,"high":%.4f,"low":%.4f,"open":%.4f,"volume":%d,"adjClose":%.4f,"adjHigh":%.4f,"adjLow":%.4f,'
        '"adjOpen":%.4f,"adjVolume":%d,"divCash":0.0,"splitFactor":1.0}'
    )
    rows = (
        (row % (f"{day}T00:00:00.000Z", *(at + 10.5, at + 11, at + 10, at + 10.5, n) * 2)).encode()
        for n, day in enumerate(_days(BEGIN, LIFE))
        for at in [n * 0.0137]
    )
    return _pad_document(b"[", rows, b"]", size)


def _massive(size: int) -> bytes:
    row = '{"T":"T%d","v":%d,"vw":10.%04d,"o":10.1,"c":10.2,"h":10.9,"l":9.9,"t":1370289600000,"n":%d}'
    rows = _take_fitting(((row % (n, n * 7, n % 10_000, n % 977)).encode() for n in count()), size - 150)
    head = b'{"queryCount":%d,"resultsCount":%d,"adjusted":false,"results":[' % (len(rows), len(rows))
    return _pad_document(head, iter(rows), b'],"status":"ExitCode.DONE","request_id":"a","count":1}', size)


def _filers(size: int) -> bytes:
    row = '"%d":{"cik_str":%d,"ticker":"T%d","title":"Company number %d Inc"}'
    return _pad_document(b"{", ((row % (n, 1000 + n, n, n)).encode() for n in count()), b"}", size)


def _facts(size: int) -> bytes:
    row = '{"end":"%s","val":%d,"accn":"%010d-%02d-%06d","fy":%d,"fp":"Q2","form":"10-Q","filed":"%s","frame":"CY%dQ%dI"}'

    def concepts() -> Iterator[bytes]:
        for number in count():
            days = _days(date(2009, 1, 1) + timedelta(days=number % 5900), 100)
            facts = ",".join(
                row % (day, number * 7919 + n, number % 1000, day.year % 100, n, day.year, day, day.year, n % 4 + 1)
                for n, day in enumerate(days)
            )
            yield f'"Concept{number}":{{"label":"Concept","description":"text: a, b","units":{{"USD":[{facts}]}}}}'.encode()

    return _pad_document(b'{"cik":320193,"entityName":"Example","facts":{"us-gaap":{', concepts(), b"}}}", size)


FORM_4 = """<SEC-DOCUMENT>
<SEC-HEADER>
<ACCEPTANCE-DATETIME>20120103163000
ACCESSION NUMBER:\t\t0000000000-12-000000
CONFORMED SUBMISSION TYPE:\t4
CONFORMED PERIOD OF REPORT:\t20120103
FILED AS OF DATE:\t\t20120103
</SEC-HEADER>
<DOCUMENT>
<TYPE>4
<TEXT>
<XML>
<ownershipDocument><periodOfReport>2012-01-03</periodOfReport><issuer><issuerCik>1</issuerCik></issuer>
<reportingOwner><reportingOwnerId><rptOwnerCik>2</rptOwnerCik></reportingOwnerId></reportingOwner><nonDerivativeTable>"""
FORM_4_END = b"</nonDerivativeTable></ownershipDocument>\n</XML>\n</TEXT>\n</DOCUMENT>\n</SEC-DOCUMENT>\n"


def _form_4(size: int) -> bytes:
    row = (
        "<nonDerivativeTransaction><securityTitle><value>Common Stock</value></securityTitle><transactionDate><value>2012-01-03</value>"
        "</transactionDate><transactionCoding><transactionCode>S</transactionCode></transactionCoding><transactionAmounts><transactionShares>"
        "<value>%d</value></transactionShares><transactionPricePerShare><value>10.25</value></transactionPricePerShare></transactionAmounts>"
        "</nonDerivativeTransaction>"
    )
    rows = b"".join(_take_fitting(((row % n).encode() for n in count(1)), size - len(FORM_4) - len(FORM_4_END)))
    return (FORM_4.encode() + rows).ljust(size - len(FORM_4_END)) + FORM_4_END


def _fred(size: int) -> bytes:
    """Build a document that is the description, the release and the observations of a series in one."""
    row = b'{"realtime_start":"2012-12-20","realtime_end":"9999-12-31","date":"%s","value":"%d.125"}'
    head = b'{"realtime_start":"1776-07-04","realtime_end":"9999-12-31","units":"lin","output_type":1,"count":%d,' + FRED_SERIES
    rows = _take_fitting((row % (str(day).encode(), n) for n, day in enumerate(_days(date(1500, 1, 1), 1 << 20))), size - 450)
    return _pad_document(head % len(rows) + b'"observations":[', iter(rows), b"]}", size)


def _nyfed(size: int) -> bytes:
    row = b'{"effectiveDate":"%s","type":"EFFR","percentRate":5.08,"targetRateFrom":5.00,"volumeInBillions":%d,"revisionIndicator":""}'
    rows = (row % (str(day).encode(), n) for n, day in enumerate(_days(date(2012, 1, 1), 366)))
    return _pad_document(b'{"refRates":[', rows, b"]}", size)


def _fiscaldata(size: int) -> bytes:
    row = b'{"record_date":"2012-01-03","auction_date":"%s","cusip":"%09d","tot_pub_debt_out_amt":"1.00"}'
    rows = _take_fitting((row % (str(date(2012, 1, 1 + n % 28)).encode(), n) for n in count()), size - 300)
    head = b'{"meta":{"total-count":%d},"data":[' % len(rows)
    return _pad_document(head, iter(rows), b"]}", size)


def _dense_auctions(size: int) -> bytes:
    row = b'{"auction_date":"2012-","cusip":""},'
    rows = (size - 100) // len(row)
    return b'{"meta":{"total-count":%d},"data":[' % rows + (row * rows)[:-1] + b"]}"


def _sdmx(size: int) -> bytes:
    """Build observations of one series; each has another title, so that none shares its attributes with another."""
    row = 'E.W0,W0,%sT%02d:%02d:00,1.%03d,A,"Rate, number %d",PC,0'
    minutes = ((day, minute) for day in _days(date(2012, 1, 1), 366) for minute in range(24 * 60))
    rows = ((row % (day, minute // 60, minute % 60, n % 1000, n)).encode() for n, (day, minute) in enumerate(minutes))
    return _pad_document(b"KEY,ITEM,TIME_PERIOD,OBS_VALUE,OBS_STATUS,TITLE,UNIT_MEASURE,UNIT_MULT\n", rows, b"\n", size, b"\n")


def _openfigi(size: int) -> bytes:
    """Build one answer with matches, and no match for the other identifiers of the request."""
    row = '{"figi":"%s","name":"EXAMPLE INC","ticker":"T%d","exchCode":"US","compositeFIGI":null,"securityType":"Common Stock"}'
    figis = (f"BBG{''.join(digits)}" for digits in product(FIGI_LETTERS, repeat=8))
    rows = ((row % (figi + calc_check_digit(figi), n)).encode() for n, figi in enumerate(figis))
    return _pad_document(b'[{"data":[', rows, b"]}" + NOT_FOUND * (QUESTIONS - 1) + b"]", size)


def _gleif_isins(size: int) -> bytes:
    """Build an answer with as many LEI records as fit."""
    row = b'{"attributes":{"lei":"%s","entity":{"legalName":{"name":"%s"},"status":"ACTIVE"},"registration":{"status":"ISSUED"}}}'
    leis = (f"{n:018}{98 - n * 100 % 97:02}".encode() for n in count())
    rows = _take_fitting((row % (lei, b"Example Holding Company of Example County " + lei) for lei in leis), size - 300)
    return _pad_document(LEI_RECORDS % len(rows), iter(rows), b"]}", size)


def _dense_gleif_isins(size: int) -> bytes:
    row = b'{"attributes":{"lei":"%s","entity":{"legalName":{"name":""},"status":""},"registration":{"status":""}}},' % (b"0" * 75)
    rows = (size - 300) // len(row)
    return LEI_RECORDS % rows + (row * rows)[:-1] + b"]}"


def _filing_list(size: int) -> bytes:
    """Build a list with as many filings as fit, each with the columns that SEC sends."""
    rows = (size - 1000) // 175
    columns = {
        "accessionNumber": [f"0000320193-12-{number:06}" for number in range(rows)],
        "filingDate": [f"2012-{number % 12 + 1:02}-{number % 28 + 1:02}" for number in range(rows)],
        "reportDate": ["2012-12-20"] * rows,
        "acceptanceDateTime": [f"2012-02-14T{number % 16 + 6:02}:34:19.{number % 1000:03}Z" for number in range(rows)],
        "form": ["424B2"] * rows,
        "filmNumber": [f"{number:09}" for number in range(rows)],
        "size": list(range(rows)),
        "isXBRL": [0] * rows,
        "primaryDocument": [f"d{number}d424b2.htm" for number in range(rows)],
        "primaryDocDescription": ["PROSPECTUS SUPPLEMENT"] * rows,
        **{name: [""] * rows for name in ("act", "fileNumber", "items", "core_type")},
    }
    return _pad_filer(columns, size)


def _dense_filing_list(size: int) -> bytes:
    """Build as many filings and values as the parser takes, none of which SEC's lists have."""
    rows = size // (MIN_BYTES_PER_FILING + 1)
    names = [f"column{number}" for number in range(MIN_BYTES_PER_FILING // MIN_BYTES_PER_VALUE - 1)]
    return _pad_filer({"accessionNumber": [f"{number:07}" for number in range(rows)], **{name: ["ab"] * rows for name in names}}, size)


def _pad_filer(columns: dict[str, Any], size: int) -> bytes:
    document = {"cik": 320193, "filings": {"recent": columns}}
    return json.dumps(document, separators=(",", ":")).encode().ljust(size)


def _holdings(size: int) -> bytes:
    line = dict(sample.table("sec_13f_holdings")[0])
    filing = sec_filings.write_filing([line] * ((size - 2000) // len(sec_filings.LINE.format(**line))), FILING)
    return _pad_before(filing, b"</ns1:informationTable>", size)


def _dense_holdings(size: int) -> bytes:
    """Build as many lines and tags as the parser takes, none of them with more than it needs to count."""
    empty, row, end = sec_filings.write_filing([], FILING), b"<infoTable><value>0</value></infoTable>", b"</ns1:informationTable>"
    counted = empty.replace(b"<tableEntryTotal>0<", b"<tableEntryTotal>%d<" % MAX_LINES)
    filler = b"<a/>" * (MAX_TAGS - row.count(b"<") * MAX_LINES - 10)
    return _pad_before(counted.replace(end, row * MAX_LINES + filler + end), end, size)


def _pad_before(document: bytes, tag: bytes, size: int) -> bytes:
    return document.replace(tag, b" " * (size - len(document)) + tag)


def _golden_copy(size: int) -> bytes:
    """Build a zip with two parts of records, after as many bytes as its reader skips."""
    rows = gleif.select("rr", "2025-05-15T00:00:00Z", "")
    packed = gleif.pack(gleif.document("rr", (rows * (2 * PART_RECORDS // len(rows) + 1))[: 2 * PART_RECORDS], "2025-05-15T00:00:00Z"))
    return bytes(size - len(packed)) + packed


def _dense_golden_copy(size: int) -> bytes:
    """Build a zip with a part of records that have nothing but their tags."""
    head, tail = gleif.document("rr", [], "2025-05-15T00:00:00Z", count=PART_RECORDS).split(b"  </rr:RelationshipRecords>")
    packed = gleif.pack(head + b"<rr:RelationshipRecord></rr:RelationshipRecord>" * PART_RECORDS + b"  </rr:RelationshipRecords>" + tail)
    return bytes(size - len(packed)) + packed


def _list_messages(record: str) -> Callable[[int], bytes]:
    """Build a tap's messages: a schema and as many records as fit. The ends of lines do not count."""
    schema: dict[str, dict[str, dict[str, str]]] = {"properties": {name: {} for name in ("cik_str", "ticker", "title")}}
    head = json.dumps({"type": "SCHEMA", "stream": "filers", "schema": schema, "key_properties": ["cik_str", "ticker"]}).encode()
    row = '{"type":"RECORD","stream":"filers","record":%s}'

    def build(size: int) -> bytes:
        lines, room = [head], size - len(head)
        for number in count(1):
            line = (row % record.replace("#", str(number))).encode()
            if len(line) > room:
                break
            lines.append(line)
            room -= len(line)
        lines[-1] = lines[-1][:-1] + b" " * room + b"}"
        return b"\n".join(lines) + b"\n"

    return build


def _treasury(size: int) -> bytes:
    rows = (day.strftime("%m/%d/2012,0.01,1.99,3.02").encode() for day in _days(date(2011, 1, 1), 365))
    return _pad_document(b"Date,1 Mo,10 Yr,30 Yr\n", rows, b"\n", size, b"\n")


def _ecb(size: int) -> bytes:
    rows = (f"{day},1.2345,{'0.98765,' * 30}".encode() for day in _days(date(1999, 1, 4), LIFE))
    names = b",".join(b"A%02d" % number for number in range(30))
    body = _pad_document(b"Date,USD," + names + b",\n", rows, b"\n", size, b"\n")
    return _zip(body)


def _zip(data: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("eurofxref-hist.csv", data)
    return packed.getvalue()


def _repeat_row(head: bytes, row: bytes, tail: bytes) -> Callable[[int], bytes]:
    """Build a document with as many copies of one row as fit."""
    return lambda size: head + row * ((size - len(head) - len(tail)) // len(row)) + tail


def _positions(size: int) -> bytes:
    rows = (b"2012-12-31,Bank,A%d,US0378331005,%d,1,%d,USD" % (n, n, n) for n in count(1))
    return _pad_document(HEADER.encode(), rows, b"\n", size, b"\n")


INTERVAL = b'"realtime_start":"2012-12-20","realtime_end":"9999-12-31"'
FRED_SERIES = b'"seriess":[{"id":"GDP0",%s,"title":"A","frequency":"Daily","frequency_short":"D","units":"A"}],' % INTERVAL
FRED_SERIES += b'"releases":[{"id":53,%s,"name":"A"}],' % INTERVAL
FIGI_LETTERS = "BCDFGHJKLMNPQRSTVWXYZ"
ISIN_NUMBERS = [f"US{n:09}" for n in range(CONCURRENT_REQUESTS)]  # without check digit
QUESTIONS = 100  # of a request
LEI_RECORDS = b'{"meta":{"goldenCopy":{"publishDate":"2025-05-15T00:00:00Z"},"pagination":{"total":%d}},"data":['
NOT_FOUND = b',{"warning":"No identifier found."}'
MAX_TAGS, MAX_LINES = 4_000_000, 120_000  # of a filing
FILING = "0000320193-21-000001"
PART_RECORDS = 10_000
MIN_BYTES_PER_VALUE, MIN_BYTES_PER_FILING = 5, 64  # of a list of filings
FILERS = REPOSITORY / "jobs" / "extract-sec-filers" / "extract_sec_filers"  # the contract of what the tap sends
SINGER = "extract-singer-streams"
DROPPED = "extract-dropped-files"
FACT = b'{"end":"2014-03-29","accn":"0001193125-14-157311","fy":2014},'
SEC = ("--contact", "Example Ltd admin@example.com")
EXTRACTORS: dict[str, Largest] = {
    "extract-tiingo-prices": Largest(
        _tiingo,
        _repeat_row(b"[", b'{"date":"2012-01-01","a":0},', b'{"date":""}]'),
        (
            *(word for n in range(CONCURRENT_REQUESTS) for word in ("--tickers", f"T{n}")),
            *("--start", "2004-01-01", "--end", "2012-12-31", "--token", "env://CANARY"),
        ),
    ),
    "extract-massive-daily-prices": Largest(
        _massive,
        _repeat_row(b'{"status":"ExitCode.DONE","results":[', b'{"T":"AAAAAAAAAAAAAAAAAAAAAAA"},', b"{}]}"),
        ("--start", "2013-06-03", "--end", "2013-06-10", "--token", "env://CANARY", "--requests-per-minute", "5000"),
    ),
    "extract-sec-filers": Largest(_filers, _repeat_row(b"[", b'{"a":[],"b":{},"ccccccccccc":""},', b"{}]"), SEC),
    "extract-sec-company-facts": Largest(
        _facts,
        _repeat_row(b'{"cik":320193,"entityName":"","facts":{"a":{"b":{"units":{"c":[', FACT, b"{}]}}}}}"),
        (*SEC, *(word for n in range(CONCURRENT_REQUESTS) for word in ("--ciks", str(320193 + n)))),
    ),
    "extract-sec-filings": Largest(
        _filing_list,
        _dense_filing_list,
        (*SEC, *(word for n in range(CONCURRENT_REQUESTS) for word in ("--ciks", str(320193 + n)))),
    ),
    "extract-sec-insider-transactions": Largest(
        _form_4,
        _repeat_row(FORM_4.encode(), b"<nonDerivativeHolding/>", FORM_4_END),
        (
            *(*SEC, "--start", "2012-01-01", "--end", "2012-12-31"),
            *(word for n in range(CONCURRENT_REQUESTS) for word in ("--issuers", f"{n + 1}")),
        ),
    ),
    "extract-fred-series": Largest(
        _fred,
        _repeat_row(b'{"count":1,"observations":[', b'{"date":"1000-01-01","value":""},', b"{}]}"),
        (*(word for n in range(CONCURRENT_REQUESTS) for word in ("--series", f"GDP{n}")), "--token", "env://CANARY"),
    ),
    "extract-fiscaldata-debt": Largest(
        _fiscaldata,
        _dense_auctions,
        ("--start", "2007-01-01", "--end", "2012-12-31", "--datasets", "auctions"),
    ),
    "extract-nyfed-rates": Largest(
        _nyfed,
        _repeat_row(b'{"refRates":[', b'{"effectiveDate":"2012","type":"EFFR"},', b'{"effectiveDate":"2012-","type":"EFFR"}]}'),
        ("--start", "2007-01-01", "--end", "2012-12-31"),
    ),
    "extract-sdmx-series": Largest(
        _sdmx,
        _repeat_row(b"ITEM,TIME_PERIOD,OBS_VALUE\n", b"W0,2012-01-03,1\n", b"\n"),
        (
            *(word for n in range(CONCURRENT_REQUESTS) for word in ("--keys", f"E.W{n}")),
            *("--start", "2012-01-01", "--end", "2012-12-31", "--lookback-days", "0"),
        ),
        "text/csv",
    ),
    "extract-treasury-yields": Largest(
        _treasury,
        _repeat_row(b"Date,1 Mo\n", b"01/03/2012,0.01\n", b"\n"),
        ("--start", "2007-01-01", "--end", "2012-12-31"),
        "text/csv",
    ),
    "extract-ecb-fx-rates": Largest(
        _ecb,
        lambda size: _zip(_repeat_row(b"Date,USD\n", b"2012-01-03,1.29\n", b"\n")(size)),
        ("--start", "1999-01-01", "--end", "2012-12-31"),
        "application/zip",
    ),
    "extract-openfigi-identifiers": Largest(
        _openfigi,
        _repeat_row(b'[{"data":[', b'{"a":0},', b"{}]}" + NOT_FOUND * (QUESTIONS - 1) + b"]"),
        (
            *(word for n in range(CONCURRENT_REQUESTS * QUESTIONS) for word in ("--identifiers", f"TICKER:T{n}:US")),
            *("--token", "env://CANARY"),
        ),
    ),
    "extract-gleif-isins": Largest(
        _gleif_isins,
        _dense_gleif_isins,
        tuple(word for number in ISIN_NUMBERS for word in ("--identifiers", f"ID_ISIN:{number}{isin.calc_check_digit(number)}")),
    ),
    "extract-sec-13f-holdings": Largest(
        _holdings,
        _dense_holdings,
        (
            *(*SEC, "--start", "2021-01-01", "--end", "2021-12-31"),
            *(word for n in range(CONCURRENT_REQUESTS) for word in ("--managers", str(320193 + n))),
        ),
        "text/plain",
    ),
    "extract-gleif-entities": Largest(_golden_copy, _dense_golden_copy, ("--datasets", "gleif_relationships"), "application/zip"),
    SINGER: Largest(
        _list_messages('{"cik_str":#,"ticker":"T#","title":"Company number # Inc"}'),
        _list_messages('{"cik_str":#,"ticker":""}'),
        ("--connection", "memory", "--stream", "filers=sec_filers", "--contracts", str(FILERS)),
    ),
    DROPPED: Largest(_positions, _repeat_row(HEADER.encode(), b"2012-12-31,Bank,A,US0378331005,,,\n", b"\n"), (), "text/csv"),
}  # fmt: skip


def measure_extractors(sandbox: Sandbox, names: Sequence[str]) -> Outcome:
    """Run each extractor with its largest and densest responses, and with one that is a byte too long before or after decompression."""
    described = descriptions.describe_jobs(descriptions.installed_commands([spec for spec in catalogue() if spec.name in names]))
    violations, method = [], ""
    peaks: dict[str, int] = {}
    for name in names:
        resources = described[name]["resources"]
        with memory_cgroup.limit_memory(resources["memory"]) as confinement:
            method = confinement.method
            for kind, body, coding, right in _bodies(EXTRACTORS[name], resources["max_body_bytes"]):
                result = _run(sandbox, name, body, coding, confinement.prefix or job_runs.STARTED)
                peak = result.receipt["peak_rss_bytes"] >> 20 if result.receipt else 0
                peaks[name] = max(peaks.get(name, 0), peak)
                if result.code not in right or result.receipt is None or peak > resources["memory"]:
                    detail = result.receipt["error"] if result.receipt else result.stderr[-300:]
                    violations.append(f"{name}, {kind}: it ended with {result.code} at {peak} MiB of {resources['memory']}: {detail}")
    return Outcome(4 * len(names), peaks, method, tuple(violations))


def _bodies(largest: Largest, size: int) -> Iterator[tuple[str, bytes, str | None, tuple[int, ...]]]:
    """Yield each body with its content encoding and the expected exit codes."""
    whole = largest.ordinary(size)
    more = largest.ordinary(size + 1)
    yield "the largest", whole, None, (ExitCode.DONE,)
    yield "the densest", largest.dense(size), None, (ExitCode.DONE, ExitCode.BAD_DATA)
    yield "a byte more", more, None, (ExitCode.BAD_DATA,)
    yield "a byte more once unpacked", gzip.compress(more, 1), "gzip", (ExitCode.BAD_DATA,)


def _run(sandbox: Sandbox, job: str, body: bytes, coding: str | None, prefix: tuple[str, ...]) -> job_runs.JobResult:
    place: Path = sandbox.new_path("lake")
    if job == DROPPED:
        folder = place / "drop" / "custodian_positions"
        folder.mkdir(parents=True)
        (folder / ("positions.csv" + (".gz" if coding else ""))).write_bytes(body)
        return job_runs.wait_for_job(
            job_runs.start_job(job, ["--lake", str(place / "lake"), "--drop", str(folder.parent)], prefix=prefix), timeout_s=1800
        )
    if job == SINGER:
        place.mkdir(parents=True)
        (place / "messages").write_bytes(body)
        tap = f"sh -c '{'gunzip -c' if coding else 'cat'} < {place / 'messages'}'"
        options = ["--lake", str(place / "lake"), "--tap", tap, *EXTRACTORS[job].options]
        return job_runs.wait_for_job(job_runs.start_job(job, options, prefix=prefix), timeout_s=1800)
    with _serve_body(body, EXTRACTORS[job].media, coding) as url:
        options = ["--lake", str(place), *EXTRACTORS[job].options, "--base-url", url, "--retry-timeout", "0"]
        return job_runs.wait_for_job(job_runs.start_job(job, options, prefix=prefix), timeout_s=1800)


@contextmanager
def _serve_body(body: bytes, media: str, coding: str | None) -> Iterator[str]:
    """Serve one body for every request, with the requested CIK in SEC documents."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def do_GET(self) -> None:
            sent = body if coding else _of(body, self.path)
            self.send_response(200)
            for field, value in {"Content-Type": media, "Content-Length": str(len(sent)), "Content-Encoding": coding or "identity"}.items():
                self.send_header(field, value)
            self.end_headers()
            try:
                self.wfile.write(sent)
            except OSError:
                self.close_connection = True  # it was refused by its length

    with http_server.serve(Handler) as url:
        yield url


FILING_LIST = b'{"filings":{"recent":{"form":["13F-HR"],"filingDate":["2021-02-12"],"accessionNumber":["%s-21-000001"]},"files":[]}}'
# What a request names, the text of the body that names another, and what it becomes, of the same length.
NAMED: tuple[tuple[str, bytes, bytes], ...] = (
    (r"CIK0*(\d+)", b'"cik":320193', b'"cik":%s'),
    (r"rates\.csv/(\d{4})/", b"/2012,", b"/%s,"),
    (r"/unsecured/effr/search\.json\?startDate=(\d{4})", b'"2012-', b'"%s-'),
    (r"auction_date%3Agte%3A(\d{4})", b'"auction_date":"2012-', b'"auction_date":"%s-'),
    (r"/data/E/(W\d)", b"W0", b"%s"),
    (r"/(\d{10}-21-000001)\.txt", FILING.encode(), b"%s"),
    (r"/edgar/data/\d+/([0-9-]+)\.txt", b"0000000000-12-000000", b"%s"),
    (r"series_id=(GDP\d)", b'"id":"GDP0"', b'"id":"%s"'),
)


def _of(body: bytes, path: str) -> bytes:
    """Return the body for the requested filer, series, year or day, with the same number of bytes."""
    if "/vintagedates?" in path:
        return b'{"realtime_start":"1776-07-04","realtime_end":"9999-12-31","count":1,"vintage_dates":["2012-12-20"]}'.ljust(len(body))
    if (filer := re.search(r"/submissions/CIK(\d+)", path)) and not body.startswith(b'{"cik":320193,"filings"'):
        if FILING.encode() in body:
            return FILING_LIST % filer[1].encode()
        filings = {"form": ["4"], "filingDate": ["2012-01-03"], "accessionNumber": [f"{filer[1]}-12-000001"]}
        return json.dumps({"filings": {"recent": filings, "files": []}}).encode().ljust(len(body))
    for pattern, other, named in NAMED:
        if found := re.search(pattern, path):
            return body.replace(other, named % found[1].encode())
    if day := re.search(r"/stocks/(\d{4}-\d\d-\d\d)", path):
        return body.replace(b"1370289600000", b"%d" % _close_ms(day[1]))
    return body


def _close_ms(day: str) -> int:
    """Convert a date to 20:00 UTC in milliseconds, when a summer session closes in New York."""
    return ((date.fromisoformat(day) - date(1970, 1, 1)).days * 24 + 20) * 3_600_000
