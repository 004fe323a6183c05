"""data.sec.gov and www.sec.gov: Apple's reported facts in every version filed up to 2013, the lists of its filings, and the list of filers.

A User-Agent without a contact gets 403 as HTML, an unknown CIK 404 as XML from the store behind the API.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zipfile
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from verification.sample_vendors import sample, sec_filings, sec_insiders, sec_lists
from verification.sample_vendors.wire import LAST_DAY, Answer, Request, html_answer, not_found

if TYPE_CHECKING:
    from collections.abc import Callable

CONTACT = re.compile(r"\S+@\S+\.\S+")
UNDECLARED = "Your Request Originates from an Undeclared Automated Tool"
DECLARE = "Please declare your traffic by updating your user agent to include company specific information."
NO_SUCH_KEY = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message>"
    "<Key>{key}</Key><RequestId>JD15FR9DF9N2TVGZ</RequestId><HostId>c2FtcGxlIGhvc3Q=</HostId></Error>"
)
ARCHIVE = "/Archives/edgar/daily-index/xbrl/companyfacts.zip"
APPLE = "/api/xbrl/companyfacts/CIK0000320193.json"
FILERS = [
    (789019, "MSFT", "MICROSOFT CORP"),
    (320193, "AAPL", "Apple Inc."),
    (1652044, "GOOGL", "Alphabet Inc."),
    (51143, "IBM", "INTERNATIONAL BUSINESS MACHINES CORP"),
    (1652044, "GOOG", "Alphabet Inc."),
]


def data(request: Request) -> Answer:
    """Serve data.sec.gov: the company facts of Apple, and the lists of its filings."""
    if not _is_declared(request):
        return _undeclared()
    folder, _, name = request.path.rpartition("/")
    if folder == "/submissions" and (document := sec_lists.write_documents(request.today).get(name)):
        return _json(request, lambda: document)
    if request.path != APPLE:
        return Answer(404, NO_SUCH_KEY.format(key=request.path.lstrip("/")).encode(), "application/xml")
    return _json(request, partial(company_facts, request.today))


def www(request: Request) -> Answer:
    """Serve www.sec.gov: the filers and their tickers, by market value, and the archives of company facts and of lists of filings."""
    if not _is_declared(request):
        return _undeclared()
    if request.path == ARCHIVE:
        return _part(request, company_archive(request.today))
    if request.path == sec_lists.ARCHIVE:
        return _part(request, sec_lists.write_archive(request.today))
    if request.path == "/files/company_tickers.json":
        return _json(request, company_tickers)
    return sec_filings.answer(request) or sec_insiders.answer(request) or not_found()


@cache
def company_facts(today: str = LAST_DAY) -> bytes:
    """Return the document of companyfacts with what was filed by today: taxonomy, tag, unit, then the facts in the order of the table."""
    filings = {row["accn"]: row for row in sample.table("sec_filings") if row["filed"] <= today}
    facts: dict[str, Any] = {}
    for row in (row for row in sample.table("sec_facts") if row["accn"] in filings):
        tags = facts.setdefault(row["taxonomy"], {})
        tag = tags.setdefault(row["tag"], {"label": None, "description": None, "units": {}})
        tag["units"].setdefault(row["unit"], []).append(_fact(row, filings[row["accn"]]))
    return _compact({"cik": 320193, "entityName": "Apple Inc.", "facts": facts})


@cache
def company_tickers() -> bytes:
    """Return the object with the keys "0", "1" and so on; one filer may have several tickers."""
    filers = ({"cik_str": cik, "ticker": ticker, "title": title} for cik, ticker, title in FILERS)
    return _compact({str(rank): filer for rank, filer in enumerate(filers)})


@cache
def company_archive(today: str = LAST_DAY) -> bytes:
    """Return the zip file with the company facts of all filers, of which the sample has one."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("CIK0000320193.json"), company_facts(today), zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _part(request: Request, body: bytes) -> Answer:
    """Return the part of a file that the client requests, or all of it."""
    asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
    if not asked:
        return Answer(200, body, "application/zip", {"Accept-Ranges": "bytes"})
    first, last = int(asked[1]), min(int(asked[2]), len(body) - 1)
    return Answer(206, body[first : last + 1], "application/zip", {"Content-Range": f"bytes {first}-{last}/{len(body)}"})


def _fact(row: dict[str, str], filing: dict[str, str]) -> dict[str, object]:
    """Return one version of one value. An instant has no start, and most versions have no frame."""
    start = {"start": row["start"]} if row["start"] else {}
    frame = {"frame": row["frame"]} if row["frame"] else {}
    return {**start, "end": row["end"], "val": json.loads(row["val"]), **filing, "fy": int(filing["fy"]), **frame}


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _is_declared(request: Request) -> bool:
    return CONTACT.search(request.headers.get("User-Agent", "")) is not None


def _undeclared() -> Answer:
    return html_answer(403, UNDECLARED, DECLARE)


def _json(request: Request, body: Callable[[], bytes]) -> Answer:
    """Return the body in chunks, gzipped if the client accepts it. The SEC sends no ETag with these."""
    headers = {"Cache-Control": "max-age=0, no-cache", "Vary": "Accept-Encoding", "Transfer-Encoding": "chunked"}
    if "gzip" not in request.headers.get("Accept-Encoding", ""):
        return Answer(200, body(), "application/json", headers)
    return Answer(200, gzip.compress(body(), 6, mtime=0), "application/json", {**headers, "Content-Encoding": "gzip"})
