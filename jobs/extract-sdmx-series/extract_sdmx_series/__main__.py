"""Series of any dataflow of an SDMX agency; by default the ECB's, and of it the euro short-term rate."""

import click
from jobkit import extractor, options

from extract_sdmx_series import parser, source

OPTIONS = [
    options.start(),
    options.end(),
    options.lookback_days(7, "the euro short-term rate is corrected on the day of its publication, and holidays delay it"),
    options.option(
        "--keys",
        multiple=True,
        default=source.EURO_SHORT_TERM_RATE,
        show_default=True,
        type=options.MatchingText(
            r"[A-Za-z][A-Za-z0-9_@-]*(\.[A-Za-z0-9_@-]+)+",
            "a dataflow and a value for each of its dimensions, such as EXR.D.USD.EUR.SP00.A",
        ),
        help="A series: its dataflow and a value for each dimension, in the order of its structure; repeat the option for more.",
    ),
    options.option(
        "--agency",
        default="ECB",
        show_default=True,
        type=options.MatchingText(r"[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z][A-Za-z0-9_-]*)*", "the id of an agency such as ECB or OECD.SDD.STES"),
        help="The agency that maintains the dataflows; set --base-url with it.",
    ),
    options.option(
        "--csv-format",
        default="csvdata",
        show_default=True,
        type=click.Choice(["csvdata", "csv", "csvfile", "SDMX-CSV"]),
        help="What the service calls SDMX-CSV: csvdata (ECB), csv (BIS), csvfile (OECD) or SDMX-CSV (Eurostat).",
    ),
    options.option(
        "--older-years",
        default="updated",
        show_default=True,
        type=click.Choice(["updated", "none"]),
        help="Also request the years of the lake before the range that the agency has updated; with a Monday in the range, all of them.",
    ),
    options.base_url(source.BASE_URL),
]

main = extractor.build(
    __package__,
    OPTIONS,
    build_requests=source.build_requests,
    build_client=source.build_client,
    parse=parser.parse,
    find_lister=source.find_lister,
    meanings=source.MEANINGS,
)

if __name__ == "__main__":
    main()
