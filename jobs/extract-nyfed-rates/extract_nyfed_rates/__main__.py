"""Reference rates of the New York Fed: SOFR with its averages and index, BGCR, TGCR, EFFR and OBFR."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from jobkit import extractor, options

from extract_nyfed_rates import source

if TYPE_CHECKING:
    from jobkit.contracts import Columns
    from jobkit.requests import Request

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


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Parse with the parser module, imported at first use: it needs msgspec, and `describe` does not."""
    from extract_nyfed_rates import parser  # noqa: PLC0415

    return parser.parse(body, request)


main = extractor.build(__package__, OPTIONS, build_requests=source.build_requests, build_client=source.build_client, parse=parse)

if __name__ == "__main__":
    main()
