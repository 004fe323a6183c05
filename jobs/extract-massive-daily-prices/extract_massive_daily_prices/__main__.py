"""Daily prices of the whole US market from Massive (formerly Polygon)."""

import click
from jobkit import extractor, options

from extract_massive_daily_prices import parser, source

OPTIONS = [
    options.start(),
    options.end(),
    options.lookback_days(4, "late trades change a day's bars, and an early response may be incomplete"),
    options.secret("--token", default="env://MASSIVE_TOKEN", help="Where the Massive API key is."),
    options.option(
        "--requests-per-minute",
        type=click.IntRange(1),
        default=5,
        show_default=True,
        help="The limit of your Massive plan; the free plan has 5.",
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
