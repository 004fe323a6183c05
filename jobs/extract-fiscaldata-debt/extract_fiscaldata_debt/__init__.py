"""Extract the US Treasury's debt and auctions from FiscalData. `source` builds the requests, `parser.parse` reads a response."""
