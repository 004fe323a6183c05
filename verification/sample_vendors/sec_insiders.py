"""A Form 4 at www.sec.gov: that of a director of Vertex Pharmaceuticals of 2020-10-19, and the list of the issuer's filings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from verification.sample_vendors import sample, sec_filings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from verification.sample_vendors.wire import Answer, Request

ISSUER, OWNER, ACCESSION = 875320, 1197036, "0001209191-20-055264"
ACCEPTED = "20201019163000"  # the day is that of the filing; the time of day is not known
PUBLISHED_AT = "Mon, 19 Oct 2020 20:30:00 GMT"
SUBMISSION = """<SEC-DOCUMENT>{accession}.txt : {filed}
<SEC-HEADER>{accession}.hdr.sgml : {filed}
<ACCEPTANCE-DATETIME>{accepted}
ACCESSION NUMBER:\t\t{accession}
CONFORMED SUBMISSION TYPE:\t{form}
PUBLIC DOCUMENT COUNT:\t\t1
CONFORMED PERIOD OF REPORT:\t20201015
FILED AS OF DATE:\t\t{filed}
</SEC-HEADER>
<DOCUMENT>
<TYPE>{form}
<SEQUENCE>1
<FILENAME>doc4.xml
<TEXT>
<XML>
<?xml version="1.0"?>
<ownershipDocument>
    <schemaVersion>X0306</schemaVersion>
    <documentType>{form}</documentType>
    <periodOfReport>2020-10-15</periodOfReport>{original}
    <notSubjectToSection16>0</notSubjectToSection16>
    <issuer>
        <issuerCik>0000875320</issuerCik>
        <issuerName>VERTEX PHARMACEUTICALS INC / MA</issuerName>
        <issuerTradingSymbol>VRTX</issuerTradingSymbol>
    </issuer>
    {owners}
    {tables}
    <footnotes>
        <footnote id="F1">Each deferred stock unit represents one share of common stock.</footnote>
    </footnotes>
    <remarks></remarks>
</ownershipDocument>
</XML>
</TEXT>
</DOCUMENT>
</SEC-DOCUMENT>
"""
ORIGINAL = "\n    <dateOfOriginalSubmission>{}</dateOfOriginalSubmission>"
REPORTING_OWNER = """<reportingOwner>
        <reportingOwnerId><rptOwnerCik>{cik:010}</rptOwnerCik><rptOwnerName>{name}</rptOwnerName></reportingOwnerId>
        <reportingOwnerAddress><rptOwnerCity>BOSTON</rptOwnerCity></reportingOwnerAddress>
        <reportingOwnerRelationship>
            <isDirector>1</isDirector><isOfficer>0</isOfficer><isTenPercentOwner>0</isTenPercentOwner><isOther>0</isOther>
        </reportingOwnerRelationship>
    </reportingOwner>"""
DERIVATIVE = """<derivativeTransaction>
            <securityTitle><value>{securityTitle}</value></securityTitle>
            <conversionOrExercisePrice><footnoteId id="F1"/></conversionOrExercisePrice>
            <transactionDate><value>{transactionDate}</value></transactionDate>
            <deemedExecutionDate></deemedExecutionDate>
            <transactionCoding>
                <transactionFormType>4</transactionFormType>
                <transactionCode>{transactionCode}</transactionCode>
                <equitySwapInvolved>0</equitySwapInvolved>
            </transactionCoding>
            <transactionTimeliness><value></value></transactionTimeliness>
            <transactionAmounts>
                <transactionShares><value>{transactionShares}</value></transactionShares>
                <transactionPricePerShare><value>{transactionPricePerShare}</value></transactionPricePerShare>
                <transactionAcquiredDisposedCode><value>{transactionAcquiredDisposedCode}</value></transactionAcquiredDisposedCode>
            </transactionAmounts>
            <exerciseDate><footnoteId id="F1"/></exerciseDate>
            <expirationDate><footnoteId id="F1"/></expirationDate>
            <underlyingSecurity>
                <underlyingSecurityTitle><value>{underlyingSecurityTitle}</value></underlyingSecurityTitle>
                <underlyingSecurityShares><value>{underlyingSecurityShares}</value></underlyingSecurityShares>
            </underlyingSecurity>
            <postTransactionAmounts>
                <sharesOwnedFollowingTransaction><value>{sharesOwnedFollowingTransaction}</value></sharesOwnedFollowingTransaction>
            </postTransactionAmounts>
            <ownershipNature>
                <directOrIndirectOwnership><value>{directOrIndirectOwnership}</value></directOrIndirectOwnership>
            </ownershipNature>
        </derivativeTransaction>"""


def answer(request: Request) -> Answer | None:
    """Serve the list of the issuer's filings and the filing; None for another path."""
    day = f"{ACCEPTED[:4]}-{ACCEPTED[4:6]}-{ACCEPTED[6:8]}"
    return sec_filings.serve(
        request, ISSUER, ACCESSION, day, "4", PUBLISHED_AT, lambda: write_filing(sample.table("sec_insider_transactions"))
    )


def write_filing(
    lines: Iterable[Mapping[str, str]],
    accession: str = ACCESSION,
    accepted: str = ACCEPTED,
    original: str = "",
    owners: Sequence[tuple[int, str]] = ((OWNER, "SACHS BRUCE I"),),
) -> bytes:
    """Return a complete submission of Form 4 with these transactions; with `original`, an amendment of what was filed on that day."""
    table = "".join(DERIVATIVE.format(**line) for line in lines)
    text = SUBMISSION.format(
        accession=accession,
        filed=accepted[:8],
        accepted=accepted,
        form="4/A" if original else "4",
        original=ORIGINAL.format(original) if original else "",
        owners="\n    ".join(REPORTING_OWNER.format(cik=cik, name=name) for cik, name in owners),
        tables=f"<derivativeTable>{table}</derivativeTable>" if table else "",
    )
    return text.encode()
