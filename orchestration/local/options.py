"""The option that names the directory of a local stack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_DIRECTORY = ".finelt"


def directory_option(help_text: str, default: str = DEFAULT_DIRECTORY) -> Callable[[Any], Any]:
    """Return the option --dir, which a command gets as `directory`."""
    kind = click.Path(file_okay=False, path_type=Path)
    return click.option("--dir", "directory", type=kind, default=default, show_default=True, help=help_text)
