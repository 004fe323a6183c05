"""Tickers and the SEC filers (CIK) behind them."""

from jobkit import extract, options

from extract_sec_filers import source

OPTIONS = [options.contact(), options.base_url(source.BASE_URL)]

main = extract.build(__package__, OPTIONS, asks=source.asks, client=source.client, answers=source.ANSWERS)

if __name__ == "__main__":
    main()
