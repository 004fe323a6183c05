"""Reported facts of companies, every filed version, from SEC EDGAR."""

from __future__ import annotations

from jobkit import edgar, extractor
from jobkit.edgar import filer_documents

from extract_sec_company_facts import source

BULK = "Read SEC's nightly archive, only what changed since: all filers, or those of --ciks."

main = extractor.build(
    __package__,
    filer_documents.build_options(required=False, bulk=BULK),
    build_requests=source.build_requests,
    build_client=source.FACTS.build_client,
    parse=extractor.import_parser(__package__, "fact_table"),
    parse_module="fact_table",
    fetch=source.fetch,
    find_lister=source.find_lister,
    meanings=edgar.MEANINGS,
)

if __name__ == "__main__":
    main()
