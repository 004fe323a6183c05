"""LEIs of the issuers of declared ISINs, from the GLEIF API."""

from __future__ import annotations

from jobkit import extractor, options

from extract_gleif_isins import source

OPTIONS = [
    options.option(
        "--identifiers",
        required=True,
        multiple=True,
        type=options.MatchingText(source.IDENTIFIER, "TYPE:VALUE, such as ID_ISIN:US4592001014"),
        help="ID_ISIN:VALUE; repeat the option for more. Other types, which extract-openfigi-identifiers takes, are left out.",
    ),
    options.base_url(source.BASE_URL),
]

main = extractor.build(
    __package__,
    OPTIONS,
    build_requests=source.build_requests,
    build_client=source.build_client,
    parse=extractor.import_parser(__package__),
)

if __name__ == "__main__":
    main()
