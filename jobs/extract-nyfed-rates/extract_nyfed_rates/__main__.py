"""Reference rates of the New York Fed: SOFR with its averages and index, BGCR, TGCR, EFFR and OBFR."""

from __future__ import annotations

import click
from jobkit import extractor, options

from extract_nyfed_rates import source

OPTIONS = [
    options.start(),
    options.end(),
    options.lookback_days(7, "rates are corrected on the day of their publication, and holidays delay it"),
    options.option(
        "--rates",
        type=click.Choice(tuple(source.RATES)),
        multiple=True,
        default=tuple(source.RATES),
        show_default=True,
        help="A rate, or sofrai for the averages and the index of SOFR; repeat the option for more.",
    ),
    options.base_url(source.BASE_URL),
]

main = extractor.build(
    __package__, OPTIONS, build_requests=source.build_requests, build_client=source.build_client, parse=extractor.import_parser(__package__)
)

if __name__ == "__main__":
    main()
