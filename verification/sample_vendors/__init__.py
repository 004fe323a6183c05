"""Sample vendors: an HTTP server that serves real figures of 2009 to 2013 in the formats of the real vendors."""
