"""Extract the issuers of ISINs from GLEIF. `source` builds a request per ISIN, `parser.parse` reads the records in its answer."""
