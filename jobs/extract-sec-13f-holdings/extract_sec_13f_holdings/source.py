"""Form 13F at EDGAR, by the managers that file it.

Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces
"""

from __future__ import annotations

from jobkit.edgar.filings import FilingKind

FILINGS = FilingKind(
    dataset="sec_13f_holdings",
    forms=("13F-HR", "13F-HR/A"),
    partition="cik={cik}/accession={accession}",
    since="2013-05-20",  # tables of earlier filings are text in columns of any width
)
