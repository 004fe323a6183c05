"""US Treasury par yield curve rates."""

from jobkit import extract, options

from extract_treasury_yields import source

OPTIONS = [options.start(), options.end(), options.base_url(source.BASE_URL)]

main = extract.build(__package__, OPTIONS, asks=source.asks, client=source.client)

if __name__ == "__main__":
    main()
