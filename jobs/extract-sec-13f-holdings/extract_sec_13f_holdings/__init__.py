"""Extract Form 13F from SEC EDGAR. `source` lists and requests filings, `submission` opens one, `parser.parse` reads its holdings."""
