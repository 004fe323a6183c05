"""Extract the reference rates of the European Central Bank. `source` builds the requests, `parser.parse` reads a response."""
