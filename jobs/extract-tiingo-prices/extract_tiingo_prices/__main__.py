"""Daily prices, dividends and splits per ticker from Tiingo."""

import click
from jobkit import extractor, options

from extract_tiingo_prices import parser, source

OPTIONS = [
    options.tickers(),
    options.start(),
    options.end(),
    options.lookback_days(7, "exchanges correct prices, and late corporate actions are added"),
    options.secret("--token", default="env://TIINGO_TOKEN", help="Where the Tiingo API token is."),
    options.option(
        "--requests-per-hour",
        type=click.IntRange(1),
        default=50,
        show_default=True,
        help="The limit of your Tiingo plan; the free plan has 50.",
    ),
    options.base_url(source.BASE_URL),
]

main = extractor.build(
    __package__,
    OPTIONS,
    build_requests=source.build_requests,
    build_client=source.build_client,
    parse=parser.parse,
    fetch=source.fetch,
    meanings=source.MEANINGS,
)

if __name__ == "__main__":
    main()
