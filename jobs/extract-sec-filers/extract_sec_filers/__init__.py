"""Extract tickers and their filers from SEC. `source` builds the request, `parser.parse` reads the response."""
