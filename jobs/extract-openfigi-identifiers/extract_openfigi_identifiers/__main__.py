"""FIGIs of the securities behind declared identifiers, from OpenFIGI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import extractor, options

from extract_openfigi_identifiers import source

if TYPE_CHECKING:
    from jobkit.contracts import Columns
    from jobkit.errors import BadDataError
    from jobkit.requests import Request

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


def parse(body: bytes, request: Request) -> dict[str, Columns | BadDataError]:
    """Parse with the parser module, imported at first use: it needs msgspec, and `describe` does not."""
    from extract_openfigi_identifiers import parser  # noqa: PLC0415

    return parser.parse(body, request)


main = extractor.build(
    __package__,
    OPTIONS,
    build_requests=source.build_requests,
    build_client=source.build_client,
    parse=parse,
    fetch=source.fetch,
)

if __name__ == "__main__":
    main()
