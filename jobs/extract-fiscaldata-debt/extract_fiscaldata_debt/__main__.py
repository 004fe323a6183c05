"""Debt to the penny and auction results of the US Treasury, from FiscalData."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from jobkit import extractor, options

from extract_fiscaldata_debt import source

if TYPE_CHECKING:
    from jobkit.contracts import Columns
    from jobkit.requests import Request

OPTIONS = [
    options.start(),
    options.end(),
    options.lookback_days(14, "results of auctions are completed after the issue"),
    options.option(
        "--datasets",
        type=click.Choice(tuple(source.TABLES)),
        multiple=True,
        default=tuple(source.TABLES),
        show_default=True,
        help="What to extract; repeat the option for more.",
    ),
    options.base_url(source.BASE_URL),
]


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Parse with the parser module, imported at first use: it needs msgspec, and `describe` does not."""
    from extract_fiscaldata_debt import parser  # noqa: PLC0415

    return parser.parse(body, request)


main = extractor.build(
    __package__, OPTIONS, build_requests=source.build_requests, build_client=source.build_client, parse=parse, fetch=source.fetch
)

if __name__ == "__main__":
    main()
