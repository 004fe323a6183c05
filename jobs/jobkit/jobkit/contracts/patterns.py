"""Regular expressions of contracts: ECMA 262, as the Open Data Contract Standard and JSON Schema prescribe, in Python."""

from __future__ import annotations

import re


def compile_pattern(pattern: str) -> re.Pattern[str]:
    r"""Compile an ECMA 262 pattern: `$` is the end of the text only, \d and \w are ASCII, a match may be anywhere. Raises re.error."""
    tokens = r"\\.|\[(?:\\.|[^\]\\])*\]|\(\?<(?![=!])|\$"
    python = {"$": r"\Z", "(?<": "(?P<"}
    source: str = re.sub(tokens, lambda token: python.get(str(token[0]), str(token[0])), pattern, flags=re.DOTALL)
    return re.compile(source, re.ASCII)
