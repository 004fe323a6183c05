"""Reported facts of companies, every filed version, from SEC EDGAR."""

from jobkit import extract, options

from extract_sec_company_facts import source

OPTIONS = [
    options.option(
        "--ciks",
        required=True,
        multiple=True,
        type=options.Matching(r"\d{1,10}", "an SEC filer number such as 320193"),
        help="A filer's CIK; repeat the option for more.",
    ),
    options.contact(),
    options.base_url(source.BASE_URL),
]

main = extract.build(__package__, OPTIONS, asks=source.asks, client=source.client, fetch=source.fetch, answers=source.ANSWERS)

if __name__ == "__main__":
    main()
