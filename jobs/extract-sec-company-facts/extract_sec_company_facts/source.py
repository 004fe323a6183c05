"""How EDGAR is asked for company facts: ten requests a second in total, and a User-Agent that says who asks.

Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import extract
from jobkit.answers import Meaning
from jobkit.extract import Ask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.http import Answer, Client
    from jobkit.lake import Source

BASE_URL = "https://data.sec.gov"

FAIR_ACCESS = "https://www.sec.gov/search-filings/edgar-search-assistance/accessing-edgar-data"
TEN_MINUTES_S = 600.0
ANSWERS = (
    Meaning(403, "undeclared automated tool", "refused", FAIR_ACCESS, "2025-01"),
    Meaning(403, "request rate threshold|rate limit|too many requests|traffic limit", "temporary", FAIR_ACCESS, "2021-05", TEN_MINUTES_S),
)


def asks(*, ciks: Sequence[str], **_: object) -> list[Ask]:
    """One question per filer."""
    padded = dict.fromkeys(cik.zfill(10) for cik in ciks)
    return [Ask("sec_company_facts", (f"cik={cik}",), f"/api/xbrl/companyfacts/CIK{cik}.json") for cik in padded]


def client(hosts: Sequence[str], *, base_url: str, contact: str, **_: object) -> Client:
    """A client that names its owner, as SEC demands."""
    from jobkit.http import Client, Rate  # noqa: PLC0415  describe needs no network

    return Client(base_url, hosts=hosts, accept=("application/json",), rate=Rate(10, 1), headers={"User-Agent": contact})


def fetch(client: Client, ask: Ask, known: Source | None) -> Answer:
    """The answer; an unknown filer is told as such."""
    from jobkit.http import MissingError  # noqa: PLC0415

    try:
        return extract.fetch(client, ask, known)
    except MissingError:
        raise MissingError(f"SEC has no reported facts for {ask.partitions[0]}; look the number up with extract-sec-filers") from None
