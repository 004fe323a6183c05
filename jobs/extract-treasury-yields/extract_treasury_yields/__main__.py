"""US Treasury par yield curve rates."""

from jobkit import extractor, options

from extract_treasury_yields import parser, source

OPTIONS = [
    options.start(),
    options.end(),
    options.lookback_days(7, "a day may be published late, and is rarely corrected"),
    options.base_url(source.BASE_URL),
]

main = extractor.build(__package__, OPTIONS, build_requests=source.build_requests, build_client=source.build_client, parse=parser.parse)

if __name__ == "__main__":
    main()
