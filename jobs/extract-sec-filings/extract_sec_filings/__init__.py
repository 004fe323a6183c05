"""Extract lists of filings from SEC EDGAR. `source` builds the requests, `parser.parse` reads the lists of a filer."""
