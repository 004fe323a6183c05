"""Lists of filings at data.sec.gov: eight filings of Apple, the older ones in a list of their own, and the archive with both lists."""

from __future__ import annotations

import io
import json
import zipfile
from functools import cache

from verification.sample_vendors import sample
from verification.sample_vendors.wire import LAST_DAY

ARCHIVE = "/Archives/edgar/daily-index/bulkdata/submissions.zip"
FIRST, OLDER = "CIK0000320193.json", "CIK0000320193-submissions-001.json"
LAST_OLDER = "2015-12-31"
NUMBERS = ("size", "isXBRL", "isInlineXBRL")


@cache
def write_documents(today: str = LAST_DAY) -> dict[str, bytes]:
    """Return the documents of the filer by name, with what was filed by today."""
    rows = [row for row in sample.table("sec_filing_list") if row["filingDate"] <= today]
    recent, older = ([row for row in rows if (row["filingDate"] <= LAST_OLDER) is is_older] for is_older in (False, True))
    days = {"filingFrom": older[-1]["filingDate"], "filingTo": older[0]["filingDate"]} if older else {}
    files = [{"name": OLDER, "filingCount": len(older), **days}] if older else []
    filer = {"cik": "0000320193", "name": "Apple Inc.", "filings": {"recent": _to_columns(recent), "files": files}}
    documents = {FIRST: filer, **({OLDER: _to_columns(older)} if older else {})}
    return {name: json.dumps(document).encode() for name, document in documents.items()}


def join_documents() -> bytes:
    """Return all lists of the filer as the job stores them."""
    return b"[%s]" % b",".join(write_documents().values())


@cache
def write_archive(today: str = LAST_DAY) -> bytes:
    """Return the zip file with the lists of all filers, of which the sample has one."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, document in write_documents(today).items():
            archive.writestr(zipfile.ZipInfo(name), document, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _to_columns(rows: list[dict[str, str]]) -> dict[str, list[str | int]]:
    names = sample.table("sec_filing_list")[0]
    return {name: [int(row[name]) if name in NUMBERS else row[name] for row in rows] for name in names}
