"""Extract Forms 3, 4 and 5 from SEC EDGAR. `source` lists the filings, `parser.parse` reads the entries of one."""
