"""Economic series with all their vintages, and the calendar of their releases, from FRED."""

from __future__ import annotations

from jobkit import extractor, options

from extract_fred_series import source

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

main = extractor.build(
    __package__,
    OPTIONS,
    build_requests=source.build_requests,
    build_client=source.build_client,
    parse=extractor.import_parser(__package__),
    fetch=source.fetch,
    meanings=source.MEANINGS,
)

if __name__ == "__main__":
    main()
