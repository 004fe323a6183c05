"""Stop what `finelt demo --keep` left running."""

from __future__ import annotations

from pathlib import Path

import click
from jobkit.version import version_option

from orchestration.local import stack

DEFAULT_DIRECTORY = ".finelt"


@click.command()
@version_option()
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="The directory of the demo.",
)
def main(directory: Path) -> None:
    """Stop the Prefect server, the worker, Postgres and the site of a kept demo. Its data stays."""
    place = directory.absolute()
    stopped = stack.stop_kept(place)
    click.echo(f"stopped {' and '.join(stopped)}; the data stays in {place}" if stopped else f"nothing runs in {place}")
