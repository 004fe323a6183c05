"""Holdings of institutional managers as filed in Form 13F, with amendments, from SEC EDGAR."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import edgar, extractor, options

from extract_sec_13f_holdings import source

if TYPE_CHECKING:
    from jobkit.contracts import Columns
    from jobkit.requests import Request

OPTIONS = [
    options.start(),
    options.end(),
    options.lookback_days(7, "a filing can be listed some days after SEC accepted it"),
    options.option(
        "--managers",
        required=True,
        multiple=True,
        type=options.MatchingText(r"\d{1,10}", "an SEC filer number such as 1067983"),
        help="A manager's CIK; repeat the option for more.",
    ),
    options.contact(),
    options.base_url(source.BASE_URL),
]


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Parse with the parser module, imported at first use: it needs an XML parser and time zones, and `describe` does not."""
    from extract_sec_13f_holdings import parser  # noqa: PLC0415

    return parser.parse(body, request)


main = extractor.build(
    __package__,
    OPTIONS,
    build_requests=source.build_requests,
    build_client=source.build_client,
    fetch=source.fetch,
    parse=parse,
    find_lister=source.find_lister,
    meanings=edgar.MEANINGS,
)

if __name__ == "__main__":
    main()
