"""The command `finelt try`: propose the data contract of a file."""

from __future__ import annotations

from pathlib import Path

import click
from jobkit.version import version_option

from finelt import proposal, singer_proposal


@click.command("try")
@version_option()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="The dataset's name, such as acme_gold. Default: from the name of the file.")
@click.option("--stream", help="The stream, if FILE is the output of a tap with several.")
def main(file: Path, name: str | None, stream: str | None) -> None:
    """Print a data contract for FILE: types, key, limits, and in its first lines what is uncertain.

    FILE is a CSV file with a header, or what a Singer tap wrote to stdout.
    """
    body, dataset = file.read_bytes(), proposal.choose_name(name, file)
    if singer_proposal.is_output(body):
        text, doubts = singer_proposal.propose_contract(body, file.name, dataset, stream)
    else:
        text, doubts = proposal.propose_contract(body, file.name, dataset)
    click.echo(text, nl=False)
    click.echo(f"try: the contract begins with {len(doubts)} points to decide; then pass it to `finelt new job` as --contract", err=True)
