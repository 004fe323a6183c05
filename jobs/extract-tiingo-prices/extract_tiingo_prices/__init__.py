"""Extract daily prices per ticker from Tiingo. `source` builds the requests, `parser.parse` reads a response."""
