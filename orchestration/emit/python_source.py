"""Format values as Python source that people can read: double quotes, one item per line if a line would be too long.

ruff would format a repr as well, but it is no dependency of the commands.
"""

from __future__ import annotations

import json
from datetime import timedelta
from textwrap import indent
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH = 100


def to_identifier(name: str) -> str:
    """Return a job's name as a Python identifier."""
    return name.replace("-", "_")


def format_literal(value: object) -> str:
    """Return a value as a literal, over several lines if one would be too long."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, timedelta):
        return f"timedelta(seconds={value.total_seconds():.0f})"
    if not isinstance(value, dict | list):
        return repr(value)
    parts = (
        [f"{format_literal(key)}: {format_literal(item)}" for key, item in value.items()]
        if isinstance(value, dict)
        else [format_literal(item) for item in value]
    )
    opened, closed = ("{", "}") if isinstance(value, dict) else ("[", "]")
    line = f"{opened}{', '.join(parts)}{closed}"
    return line if len(line) <= WIDTH and "\n" not in line else f"{opened}\n{_indent_lines(parts)},\n{closed}"


def format_arguments(values: Mapping[str, object]) -> str:
    """Keyword format_arguments, a line each, with the line ends around them."""
    return f"\n{_indent_lines([f'{name}={format_literal(value)}' for name, value in values.items()])},\n"


def _indent_lines(lines: Sequence[str]) -> str:
    return indent(",\n".join(lines), "    ")
