"""Extract reference rates from the New York Fed. `source` builds the requests, `parser.parse` reads a response."""
