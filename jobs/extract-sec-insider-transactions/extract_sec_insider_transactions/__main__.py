"""Transactions and holdings of insiders as filed in Forms 3, 4 and 5, with amendments, from SEC EDGAR."""

from jobkit.edgar import filings

from extract_sec_insider_transactions.source import FILINGS

main = filings.build_command(
    __package__, FILINGS, "--issuers", "An issuer's CIK; repeat the option for more. That of an owner gives all that it filed."
)

if __name__ == "__main__":
    main()
