"""US Treasury par yield curve rates."""

from jobkit import extract, options

from extract_treasury_yields import source

OPTIONS = [
    options.start(),
    options.end(),
    options.lookback_days(7, "a day may be published late, and is rarely corrected"),
    options.base_url(source.BASE_URL),
]

main = extract.build(__package__, OPTIONS, asks=source.asks, client=source.client)

if __name__ == "__main__":
    main()
