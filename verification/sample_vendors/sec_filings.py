"""Filings at www.sec.gov: the Form 13F of ACTIAM N.V. for 2020, and the list of its filings, which EDGAR itself has at data.sec.gov."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from verification.sample_vendors import sample
from verification.sample_vendors.wire import Answer, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

CIK, ACCESSION, FILED, PERIOD = 1619124, "0001619124-21-000002", "2021-02-12", "2020-12-31"
PUBLISHED_AT = "Fri, 12 Feb 2021 15:06:42 GMT"
SUBMISSION = """<SEC-DOCUMENT>{accession}.txt : {day}
<SEC-HEADER>{accession}.hdr.sgml : {day}
<ACCEPTANCE-DATETIME>{accepted}
ACCESSION NUMBER:\t\t{accession}
CONFORMED SUBMISSION TYPE:\t{form}
PUBLIC DOCUMENT COUNT:\t\t2
CONFORMED PERIOD OF REPORT:\t{period}
FILED AS OF DATE:\t\t{day}
</SEC-HEADER>
<DOCUMENT>
<TYPE>{form}
<SEQUENCE>1
<FILENAME>primary_doc.xml
<TEXT>
<XML>
<?xml version="1.0" encoding="UTF-8"?>
<edgarSubmission xmlns="http://www.sec.gov/edgar/thirteenffiler"><formData>
<coverPage>{amendment}<reportType>13F HOLDINGS REPORT</reportType></coverPage>
<summaryPage><tableEntryTotal>{entries}</tableEntryTotal><tableValueTotal>{total}</tableValueTotal></summaryPage>
</formData></edgarSubmission>
</XML>
</TEXT>
</DOCUMENT>
<DOCUMENT>
<TYPE>INFORMATION TABLE
<SEQUENCE>2
<FILENAME>holdings.xml
<TEXT>
<XML>
<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<ns1:informationTable xmlns:ns1="http://www.sec.gov/edgar/document/thirteenf/informationtable">{lines}</ns1:informationTable>
</XML>
</TEXT>
</DOCUMENT>
</SEC-DOCUMENT>
"""
LINE = (
    "<ns1:infoTable><ns1:nameOfIssuer>{nameOfIssuer}</ns1:nameOfIssuer><ns1:titleOfClass>{titleOfClass}</ns1:titleOfClass>"
    "<ns1:cusip>{cusip}</ns1:cusip><ns1:value>{value}</ns1:value><ns1:shrsOrPrnAmt><ns1:sshPrnamt>{sshPrnamt}</ns1:sshPrnamt>"
    "<ns1:sshPrnamtType>{sshPrnamtType}</ns1:sshPrnamtType></ns1:shrsOrPrnAmt>"
    "<ns1:investmentDiscretion>{investmentDiscretion}</ns1:investmentDiscretion><ns1:votingAuthority><ns1:Sole>{Sole}</ns1:Sole>"
    "<ns1:Shared>{Shared}</ns1:Shared><ns1:None>{None}</ns1:None></ns1:votingAuthority></ns1:infoTable>"
)
AMENDMENT = (
    "<isAmendment>true</isAmendment><amendmentNo>1</amendmentNo><amendmentInfo><amendmentType>{kind}</amendmentType></amendmentInfo>"
)


def answer(request: Request) -> Answer | None:
    """Serve the list of the manager's filings and the filing; None for another path."""
    return serve(request, CIK, ACCESSION, FILED, "13F-HR", PUBLISHED_AT, lambda: write_filing(sample.table("sec_13f_holdings")))


def serve(request: Request, cik: int, accession: str, filed: str, form: str, published_at: str, body: Callable[[], bytes]) -> Answer | None:
    """Serve the list of a filer's filings, which has one, and this filing; 304 if the client has it, None for another path."""
    is_listed = request.today >= filed
    if request.path == f"/submissions/CIK{cik:010}.json":
        columns = {"accessionNumber": [accession], "filingDate": [filed], "form": [form]}
        recent = columns if is_listed else {name: [] for name in columns}
        return Answer(200, json.dumps({"cik": f"{cik:010}", "filings": {"recent": recent, "files": []}}).encode(), "application/json")
    if request.path != f"/Archives/edgar/data/{cik}/{accession}.txt" or not is_listed:
        return None
    validators = {"Last-Modified": published_at}
    if request.headers.get("If-Modified-Since") == published_at:
        return Answer(304, b"", "text/plain", validators)
    return Answer(200, body(), "text/plain", validators)


def write_filing(
    holdings: Iterable[Mapping[str, str]], accession: str = ACCESSION, accepted: str = "20210212100642", amendment: str = ""
) -> bytes:
    """Return a complete submission with these holdings; `amendment` is RESTATEMENT or NEW HOLDINGS."""
    lines = [LINE.format(**row) for row in holdings]
    text = SUBMISSION.format(
        accession=accession,
        day=accepted[:8],
        accepted=accepted,
        form="13F-HR/A" if amendment else "13F-HR",
        period=PERIOD.replace("-", ""),
        amendment=AMENDMENT.format(kind=amendment) if amendment else "",
        entries=len(lines),
        total=sum(int(row["value"]) for row in holdings),
        lines="".join(lines),
    )
    return text.encode()
