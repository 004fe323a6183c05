"""Extract legal entities from GLEIF. `golden_copy` reads a file as a stream, `parser.parse` a part of it, `runner` commits the parts."""
