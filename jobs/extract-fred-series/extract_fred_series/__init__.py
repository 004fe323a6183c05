"""Extract economic series from FRED and ALFRED. `source` builds the requests, `parser.parse` reads a response."""
