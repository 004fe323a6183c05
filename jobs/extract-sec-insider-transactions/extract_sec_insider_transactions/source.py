"""Forms 3, 4 and 5 at EDGAR. A filing is listed under its issuer and each of its owners, so its partition is named by its number alone.

Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces
"""

from __future__ import annotations

from jobkit.edgar.filings import FilingKind

FILINGS = FilingKind(
    dataset="sec_insider_entries",
    forms=("3", "3/A", "4", "4/A", "5", "5/A"),
    partition="accession={accession}",
    since="2003-06-30",  # earlier filings need not be XML
)
