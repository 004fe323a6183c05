"""Python source, written so that a person can read it."""

from __future__ import annotations

import json
from datetime import timedelta
from textwrap import indent
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH = 100


def identifier(name: str) -> str:
    """A job's name as a name of Python's."""
    return name.replace("-", "_")


def literal(value: object) -> str:
    """A value, over several lines where one would be too long."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, timedelta):
        return f"timedelta(seconds={value.total_seconds():.0f})"
    if not isinstance(value, dict | list):
        return repr(value)
    parts = (
        [f"{literal(key)}: {literal(one)}" for key, one in value.items()] if isinstance(value, dict) else [literal(one) for one in value]
    )
    opened, closed = ("{", "}") if isinstance(value, dict) else ("[", "]")
    line = f"{opened}{', '.join(parts)}{closed}"
    return line if len(line) <= WIDTH and "\n" not in line else f"{opened}\n{_inside(parts)},\n{closed}"


def arguments(given: Mapping[str, object]) -> str:
    """Keyword arguments, a line each, with the line ends around them."""
    return f"\n{_inside([f'{name}={literal(value)}' for name, value in given.items()])},\n"


def _inside(lines: Sequence[str]) -> str:
    return indent(",\n".join(lines), "    ")
