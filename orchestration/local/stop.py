"""Stop what `finelt demo --keep` left running."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from jobkit.version import version_option

from orchestration.local import stack
from orchestration.local.options import directory_option

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@version_option()
@directory_option("The directory of the demo.")
def main(directory: Path) -> None:
    """Stop the Prefect server, the worker, Postgres and the site of a kept demo. Its data stays."""
    place = directory.absolute()
    stopped = stack.stop_kept(place)
    click.echo(f"stopped {' and '.join(stopped)}; the data stays in {place}" if stopped else f"nothing runs in {place}")
