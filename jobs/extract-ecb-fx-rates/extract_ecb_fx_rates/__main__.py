"""Euro foreign exchange reference rates of the European Central Bank."""

import click
from jobkit import extractor, options

from extract_ecb_fx_rates import parser, source

OPTIONS = [
    options.start(),
    options.end(),
    options.lookback_days(7, "a day may be published late, and is rarely corrected"),
    options.option(
        "--file",
        type=click.Choice(["history", "daily"]),
        default="history",
        show_default=True,
        help="The complete history, one partition per year; or the daily file, one partition for its day.",
    ),
    options.base_url(source.BASE_URL),
]

main = extractor.build(__package__, OPTIONS, build_requests=source.build_requests, build_client=source.build_client, parse=parser.parse)

if __name__ == "__main__":
    main()
