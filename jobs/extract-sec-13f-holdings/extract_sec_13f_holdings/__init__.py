"""Extract Form 13F from SEC EDGAR. `source` lists the filings, `parser.parse` reads the holdings of one."""
