"""The version of finelt. The repository's pyproject.toml defines it, and the package of each job repeats it."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

_SOURCE = Path(__file__).parents[1] / "pyproject.toml"


def read_version() -> str:
    """Return the version: of jobkit's source in a checkout or the image of a service, else of the installed package."""
    if _SOURCE.is_file():
        return str(tomllib.loads(_SOURCE.read_text(encoding="utf-8"))["project"]["version"])
    return metadata.version("jobkit")


def version_option() -> Callable[[Any], Any]:
    """Add --version to a click command. The version is read only if it is asked for."""
    return click.option(
        "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show the version and exit."
    )


def _print_version(context: click.Context, _option: click.Parameter, value: bool) -> None:  # noqa: FBT001  click's own
    if value and not context.resilient_parsing:
        click.echo(f"{context.find_root().info_name}, version {read_version()}")
        context.exit()
