"""Extract series from an agency's SDMX service. `source` builds the requests, `parser.parse` reads a response."""
