"""Extract reported facts from SEC EDGAR. `source` builds the requests, `parser.parse` reads a response."""
