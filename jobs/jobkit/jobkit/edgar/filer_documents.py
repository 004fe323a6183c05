"""Documents of which EDGAR has one per filer: each by a request of its own, or as members of an archive that SEC builds nightly.

Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from jobkit import edgar, options
from jobkit.requests import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click import Option

    from jobkit.http import Client

BASE_URL, BULK_URL = "https://data.sec.gov", "https://www.sec.gov"
CIK = options.MatchingText(r"\d{1,10}", "an SEC filer number such as 320193")
ZIP_TYPES = ("application/zip", "application/x-zip-compressed", "application/octet-stream")


class FilerDocuments(NamedTuple):
    """What a job extracts: of each filer a document, which becomes a partition of a dataset.

    `folder` is the path of the documents at the API, `archive` that of the zip file. `member` is a regular expression of the names in it
    that can be requested; its first group is the filer's number.
    """

    dataset: str
    folder: str
    archive: str
    member: str

    def build_requests(self, *, ciks: Sequence[str], bulk: bool, **_: object) -> list[Request]:
        """Build one request per named filer."""
        folder, padded = self.archive if bulk else self.folder, dict.fromkeys(cik.zfill(10) for cik in ciks)
        return [Request(self.dataset, (f"cik={cik}",), f"{folder}/CIK{cik}.json") for cik in padded]

    def build_client(self, hosts: Sequence[str], *, base_url: str, contact: str, ciks: Sequence[str], bulk: bool, **_: object) -> Client:
        """Build a client that keeps SEC's limit and names the contact; of the archive it keeps named filers, or all if none is named."""
        from jobkit.archives import ArchiveClient  # noqa: PLC0415  describe needs no network
        from jobkit.http import Client  # noqa: PLC0415

        if not bulk:
            return Client(base_url, hosts=hosts, accept=("application/json",), **edgar.client_options(contact))
        wanted, member = {cik.zfill(10) for cik in ciks}, re.compile(self.member)

        def is_wanted(name: str) -> bool:
            found = member.fullmatch(name)
            return found is not None and (not wanted or found[1] in wanted)

        url = BULK_URL if base_url == BASE_URL else base_url
        return ArchiveClient(url, archive=self.archive, wants=is_wanted, hosts=hosts, accept=ZIP_TYPES, **edgar.client_options(contact))


def build_options(*, required: bool, bulk: str) -> list[Option]:
    """Return the options of such a job. `bulk` is the help of --bulk."""
    return [
        options.option("--ciks", required=required, multiple=True, type=CIK, help="A filer's CIK; repeat the option for more."),
        options.option("--bulk", is_flag=True, help=bulk),
        options.contact(),
        options.base_url(BASE_URL),
    ]
