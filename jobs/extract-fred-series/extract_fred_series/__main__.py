"""Economic series with all their vintages, and the calendar of their releases, from FRED."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import extractor, options

from extract_fred_series import source

if TYPE_CHECKING:
    from jobkit.contracts import Columns
    from jobkit.requests import Request

OPTIONS = [
    options.option(
        "--series",
        required=True,
        multiple=True,
        type=options.MatchingText(r"[A-Z0-9][A-Z0-9_]{0,39}", "the id of a series such as GDP or CPIAUCSL"),
        help="The id of a series; repeat the option for more.",
    ),
    options.option(
        "--releases",
        multiple=True,
        type=options.MatchingText(r"[1-9]\d{0,5}", "the number of a release such as 53"),
        help="The number of a release whose calendar is wanted, as raw/fred_series_releases has it; repeat the option for more.",
    ),
    options.secret("--token", default="env://FRED_TOKEN", help="Where the FRED API key is."),
    options.base_url(source.BASE_URL),
]


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Parse with the parser module, imported at first use: it needs msgspec, and `describe` does not."""
    from extract_fred_series import parser  # noqa: PLC0415

    return parser.parse(body, request)


main = extractor.build(
    __package__,
    OPTIONS,
    build_requests=source.build_requests,
    build_client=source.build_client,
    parse=parse,
    fetch=source.fetch,
    meanings=source.MEANINGS,
)

if __name__ == "__main__":
    main()
