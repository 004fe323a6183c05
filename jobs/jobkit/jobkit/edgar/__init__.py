"""What all jobs that ask SEC's EDGAR have in common: its limit of ten requests per second, the contact in the User-Agent, its refusals.

`filings` finds the filings of some forms and requests them, `filing_list` requests a filer's lists, `submission` opens a filing,
`filer_documents` requests what EDGAR has per filer, also as members of a nightly archive.

Source: https://www.sec.gov/search-filings/edgar-search-assistance/accessing-edgar-data
"""

from __future__ import annotations

from typing import Any

from jobkit.refusals import Meaning

FAIR_ACCESS = "https://www.sec.gov/search-filings/edgar-search-assistance/accessing-edgar-data"
TEN_MINUTES_S = 600.0
MEANINGS = (
    Meaning(403, "undeclared automated tool", "refused", FAIR_ACCESS, "2025-01"),
    Meaning(403, "request rate threshold|rate limit|too many requests|traffic limit", "temporary", FAIR_ACCESS, "2021-05", TEN_MINUTES_S),
)


def client_options(contact: str) -> dict[str, Any]:
    """Return the options of a client (jobkit.http.Client) that keeps SEC's limit and sends the contact, as SEC requires."""
    from jobkit.http import Rate  # noqa: PLC0415  describe needs no network

    return {"rate": Rate(10, 1), "headers": {"User-Agent": contact}}
