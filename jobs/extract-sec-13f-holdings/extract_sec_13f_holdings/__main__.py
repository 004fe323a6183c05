"""Holdings of institutional managers as filed in Form 13F, with amendments, from SEC EDGAR."""

from jobkit.edgar import filings

from extract_sec_13f_holdings.source import FILINGS

main = filings.build_command(__package__, FILINGS, "--managers", "A manager's CIK; repeat the option for more.")

if __name__ == "__main__":
    main()
