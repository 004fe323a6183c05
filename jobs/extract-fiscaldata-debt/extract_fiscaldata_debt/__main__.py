"""Debt to the penny and auction results of the US Treasury, from FiscalData."""

from __future__ import annotations

import click
from jobkit import extractor, options

from extract_fiscaldata_debt import source

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

main = extractor.build(
    __package__,
    OPTIONS,
    build_requests=source.build_requests,
    build_client=source.build_client,
    parse=extractor.import_parser(__package__),
    fetch=source.fetch,
)

if __name__ == "__main__":
    main()
