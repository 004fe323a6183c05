"""Lists of the filings of companies, funds and persons, from SEC EDGAR."""

from jobkit import edgar, extractor
from jobkit.edgar import filer_documents

from extract_sec_filings import source

main = extractor.build(
    __package__,
    filer_documents.build_options(required=True, bulk="Read SEC's nightly archive of all lists, of it only what changed since."),
    build_requests=source.LISTS.build_requests,
    build_client=source.LISTS.build_client,
    parse=extractor.import_parser(__package__),
    fetch=source.fetch,
    meanings=edgar.MEANINGS,
)

if __name__ == "__main__":
    main()
