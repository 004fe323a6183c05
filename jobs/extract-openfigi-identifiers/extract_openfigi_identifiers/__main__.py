"""FIGIs of the securities behind declared identifiers, from OpenFIGI."""

from __future__ import annotations

from jobkit import extractor, options

from extract_openfigi_identifiers import source

OPTIONS = [
    options.option(
        "--identifiers",
        required=True,
        multiple=True,
        type=options.MatchingText(source.IDENTIFIER, "TYPE:VALUE or TYPE:VALUE:EXCHANGE, such as ID_ISIN:US4592001014 or TICKER:IBM:US"),
        help="TYPE:VALUE or TYPE:VALUE:EXCHANGE, with OpenFIGI's names of types and exchanges; repeat the option for more.",
    ),
    options.secret("--token", default="env://OPENFIGI_TOKEN", help="Where the OpenFIGI API key is."),
    options.option("--without-key", is_flag=True, help="Ask without an API key: 10 identifiers a request and 25 requests a minute."),
    options.base_url(source.BASE_URL),
]

main = extractor.build(
    __package__,
    OPTIONS,
    build_requests=source.build_requests,
    build_client=source.build_client,
    parse=extractor.import_parser(__package__),
    fetch=source.fetch,
)

if __name__ == "__main__":
    main()
