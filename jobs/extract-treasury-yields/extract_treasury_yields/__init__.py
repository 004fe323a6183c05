"""Extract par yields from the US Treasury. `source` builds the requests, `parser.parse` reads a response."""
