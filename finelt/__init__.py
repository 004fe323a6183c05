"""The tools that people run and import. Each module is a command, started with `python -m finelt.MODULE`.

`finelt.read` reads a mart or a dataset into a data frame (finelt/reader.py); it is imported at its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finelt.reader import read

__all__ = ["read"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import what is used, so that a command starts without the libraries of another."""
    if name in __all__:
        from finelt import reader  # noqa: PLC0415

        return getattr(reader, name)
    raise AttributeError(f"module 'finelt' has no attribute {name!r}")
