"""US Treasury par yield curve rates."""

from jobkit import extract, options

from extract_treasury_yields import shape, source

OPTIONS = [options.start(), options.end(), options.base_url(source.BASE_URL)]

main = extract.build(__package__, OPTIONS, asks=source.asks, client=source.client, shape=shape.shape)

if __name__ == "__main__":
    main()
