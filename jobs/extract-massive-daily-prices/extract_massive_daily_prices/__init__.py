"""Extract daily prices of the US market from Massive. `source` builds the requests, `parser.parse` reads a response."""
