"""Tickers and the SEC filers (CIK) behind them."""

from jobkit import edgar, extractor, options

from extract_sec_filers import parser, source

OPTIONS = [options.contact(), options.base_url(source.BASE_URL)]

main = extractor.build(
    __package__,
    OPTIONS,
    build_requests=source.build_requests,
    build_client=source.build_client,
    parse=parser.parse,
    meanings=edgar.MEANINGS,
)

if __name__ == "__main__":
    main()
