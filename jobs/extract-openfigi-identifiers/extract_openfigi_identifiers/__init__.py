"""Extract FIGIs from OpenFIGI. `source` builds the questions, `parser.parse` reads what was asked and answered."""
