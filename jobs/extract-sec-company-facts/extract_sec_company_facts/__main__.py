"""Reported facts of companies, every filed version, from SEC EDGAR."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import edgar, extractor
from jobkit.edgar import filer_documents

from extract_sec_company_facts import source

if TYPE_CHECKING:
    from jobkit.contracts import Columns, TypedRows
    from jobkit.requests import Request

BULK = "Read SEC's nightly archive, only what changed since: all filers, or those of --ciks."


def parse(body: bytes, request: Request) -> dict[str, Columns | TypedRows]:
    """Parse with `fact_table`, imported at first use: it needs msgspec and arro3, and `describe` does not."""
    from extract_sec_company_facts import fact_table  # noqa: PLC0415

    return fact_table.parse(body, request)


main = extractor.build(
    __package__,
    filer_documents.build_options(required=False, bulk=BULK),
    build_requests=source.build_requests,
    build_client=source.FACTS.build_client,
    parse=parse,
    fetch=source.fetch,
    find_lister=source.find_lister,
    meanings=edgar.MEANINGS,
)

if __name__ == "__main__":
    main()
